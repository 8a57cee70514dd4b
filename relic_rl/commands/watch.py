"""Film a run's agent at play, with its last checkpoint."""

from pathlib import Path
from typing import Any

from relic_rl.commands import arguments
from relic_rl.records.tracking import TRACKERS, TrackerName


def add_to(verbs: Any) -> None:
    """Adds `relic-rl watch`."""
    parser = arguments.add_verb(
        verbs, "watch", run, usage="RUN_DIR --video FILE.mp4|FILE.gif [flags]", doc=__doc__
    )
    arguments.add_run_dir(parser)
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
    parser.add_argument(
        "--episodes", metavar="N", type=arguments.positive_number, help="How many; by default 1"
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=arguments.whole_number,
        help="Of the episodes: the first is that of `relic-rl evaluate --episodes 1`; by default 0",
    )
    parser.add_argument(
        "--max-frames",
        metavar="N",
        type=arguments.positive_number,
        help="Of the film; 60 are a second",
    )
    parser.add_argument(
        "--track",
        choices=list(TRACKERS),
        help="Whether the film goes to the run's place in wandb; by default off",
    )


def run(
    run_dir: Path,
    *,
    video: Path,
    overlay: bool = False,
    episodes: int = 1,
    seed: int = 0,
    max_frames: int | None = None,
    track: TrackerName = "off",
) -> None:
    """Films."""
    from relic_rl.evaluation import watch

    watch.watch(
        run_dir,
        video,
        overlay=overlay,
        episodes=episodes,
        seed=seed,
        max_frames=max_frames,
        track=track,
    )
