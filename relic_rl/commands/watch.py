"""Film a trained agent at play: a run's last checkpoint, a policy file, --trained."""

from functools import partial
from pathlib import Path

from relic_rl.commands import arguments
from relic_rl.console import beside_results, counted, print_line
from relic_rl.errors import UsageError
from relic_rl.records.identity import check_seed
from relic_rl.records.tracking import FILE_TRACKERS, TrackerName

USAGE = "RUN_DIR --video FILE.mp4|FILE.gif [flags]"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_agent(parser)
    arguments.add_path(
        parser,
        "--video",
        metavar="FILE",
        required=True,
        help="Where to write: an .mp4 with every frame, or a .gif with one picture a step",
    )
    parser.add_argument(
        "--overlay",
        action="store_true",
        help="Draw action, value, score, and where a change of the picture would change the value",
    )
    arguments.add_number(parser, "--episodes", help="Episodes to film")
    arguments.add_number(
        parser,
        "--seed",
        least=0,
        help="Seed of the episodes: the first is `relic-rl evaluate --episodes 1`'s",
    )
    for what in ("mode", "difficulty"):
        arguments.add_number(
            parser,
            f"--{what}",
            least=0,
            help=f"Film another {what} of the game, by ale-py's number",
        )
    arguments.add_number(
        parser,
        "--max-frames",
        help="Length of the film; 60 frames are a second. By default whole episodes, of a .gif the "
        "first minute",
    )
    parser.add_argument(
        "--track",
        choices=FILE_TRACKERS,
        help="Whether the film goes to the run's place in wandb; by default off",
    )


def run(
    run_dir: Path,
    *,
    video: Path,
    trained: bool = False,
    overlay: bool = False,
    episodes: int = 1,
    seed: int = 0,
    mode: int | None = None,
    difficulty: int | None = None,
    max_frames: int | None = None,
    track: TrackerName = "off",
) -> None:
    """Films a run's last checkpoint.

    Raises:
      UsageError: another suffix, a mode that the game lacks, or a run that was not tracked.
      UserError: no sound checkpoint.
    """
    from relic_rl.evaluation.film import GIF_FRAMES, SUFFIXES, film, is_gif
    from relic_rl.evaluation.robustness import one_condition
    from relic_rl.evaluation.trained import load_trained, shipped_agent
    from relic_rl.records.uploads import upload_film

    if video.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--video is {str(video)!r}: it must end with {' or '.join(SUFFIXES)}")
    check_seed(seed)
    loaded = load_trained(shipped_agent(str(run_dir)) if trained else run_dir)
    if track != "off" and loaded.tracker_id is None:
        raise UsageError(
            f"{run_dir} was not tracked, or only its policy is left: its film has no place at the "
            "tracker"
        )
    is_cut = max_frames is None and is_gif(video)
    asked = one_condition(loaded.spec.name, mode=mode, difficulty=difficulty)
    with beside_results() as console:
        made = film(
            loaded,
            video,
            overlay=overlay,
            episodes=episodes,
            seed=seed,
            max_frames=GIF_FRAMES if is_cut else max_frames,
            flavour=asked.flavour,
            tell=partial(console.playing, "filming"),
        )
    scores = ", ".join(f"{score:.0f}" for score in made.scores)
    played = f"scores {scores}" if scores else f"score so far {made.score_so_far:.0f}"
    ending = ""
    if is_cut and made.frames == GIF_FRAMES:
        ending = f"; a .gif ends after {GIF_FRAMES:,} frames unless --max-frames says more"
    print_line(
        f"{loaded.spec.name} after {loaded.env_frames:,} frames of training: filmed "
        f"{counted(made.frames, 'frame')}, {played}, in {video}{ending}"
    )
    if track != "off" and loaded.tracker_id is not None:
        upload_film(run_dir, video, track, loaded.tracker_id)
