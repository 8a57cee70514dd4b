"""The verbs of the command line and their arguments: one class each, whose fields are its flags.

Settings are given as `--SECTION.FIELD VALUE` and belong to the configuration; everything else is
the verb's own and parsed by tyro. Heavy imports wait until a verb runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from relic_rl.commands.arguments import lanes_of_actors, with_flags
from relic_rl.errors import UsageError
from relic_rl.runtime.engines import EngineName
from relic_rl.runtime.options import TrackingMode

Game = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="GAME")]
RunDir = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
SweepDir = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SWEEP_DIR")]


@dataclass(frozen=True)
class Train:
    """Train an agent on one game.

    Any setting can be given as --SECTION.FIELD VALUE; `relic-rl config` lists them all.
    """

    game: Game
    """`pong`, `Pong`, `ms_pacman`, `MsPacman` or `ALE/Pong-v5`."""
    preset: str | None = None
    """A shipped preset or a .toml file; by default the one that fits the machine."""
    seed: int = 0
    """Of everything random."""
    run_dir: Path | None = None
    """Where to write; by default runs/GAME-PRESET-sSEED-TIME."""
    frames: int | None = None
    """Environment frames to train for, or until the preset's minutes (0: no limit) are over."""
    minutes: float | None = None
    """Minutes to train for; same as --run.minutes."""
    engine: EngineName | None = None
    """Who acts where; same as --run.engine."""
    actors: int | None = None
    """Actors that share the lanes; same as --actor.actors."""
    lanes_per_actor: int | None = None
    """With --actors: environments of each; --actor.lanes is their product."""
    ray_address: str | None = None
    """local, auto, HOST:PORT or ray://HOST:PORT; same as --run.ray_address."""
    track: TrackingMode | None = None
    """Whether wandb mirrors the metrics; same as --run.track."""

    def run(self, overrides: dict[str, str]) -> None:
        """Trains."""
        from relic_rl.commands import session

        lanes = lanes_of_actors(self.actors, self.lanes_per_actor, overrides)
        flags = {**_run_flags(self, *_RUN_FLAGS, "ray_address"), **lanes}
        settings = with_flags(overrides, flags)
        session.train(self.game, self.preset, self.seed, self.run_dir, settings)


def _run_flags(command: "Train | Resume | Sweep", *names: str) -> dict[str, str]:
    """Those of the verb's own arguments that are settings."""
    flags = {f"run.{name}": getattr(command, name) for name in names}
    return {name: str(value) for name, value in flags.items() if value is not None}


_RUN_FLAGS = ("frames", "minutes", "engine", "track")


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its last checkpoint.

    Other settings than the run's (--SECTION.FIELD VALUE) need --allow-change SECTION.FIELD too.
    """

    run_dir: RunDir
    """The run's folder."""
    frames: int | None = None
    """New total of environment frames."""
    minutes: float | None = None
    """New total of minutes."""
    allow_change: tuple[str, ...] = ()
    """SECTION.FIELDs that may differ from what the checkpoint was trained with."""

    def run(self, overrides: dict[str, str]) -> None:
        """Resumes."""
        from relic_rl.commands import session

        settings = with_flags(overrides, _run_flags(self, "frames", "minutes"))
        session.resume(self.run_dir, settings, self.allow_change)


@dataclass(frozen=True)
class Evaluate:
    """Play full episodes with a run's last checkpoint."""

    run_dir: RunDir
    """The run's folder."""
    episodes: int | None = None
    """How many; by default as many as at the run's end."""
    seed: int = 0
    """Of the episodes; the same seed gives the same episodes."""
    json: bool = False
    """Print one JSON object instead of text."""

    def run(self, overrides: dict[str, str]) -> None:
        """Evaluates."""
        from relic_rl.commands import session

        _expect_no_settings(overrides)
        _expect_positive("--episodes", self.episodes)
        session.evaluate(self.run_dir, self.episodes, self.seed, as_json=self.json)


@dataclass(frozen=True)
class Sweep:
    """Train games x seeds x settings, each in a process of its own; again: go on with it.

    A setting with several values (--representation.arm relic none) makes a grid.
    """

    sweep_dir: SweepDir
    """The sweep's folder, given first; alone, it goes on with what it holds."""
    games: tuple[str, ...] = ()
    """`all`, or any of the 57; by default all."""
    seeds: tuple[int, ...] = ()
    """Of each game; by default 0."""
    preset: str | None = None
    """A shipped preset or a .toml file; by default the one that fits the machine."""
    frames: int | None = None
    """Environment frames of each run, or until the preset's minutes (0: no limit) are over."""
    minutes: float | None = None
    """Minutes of each run; same as --run.minutes."""
    engine: EngineName | None = None
    """Who acts where; same as --run.engine."""
    track: TrackingMode | None = None
    """Whether wandb mirrors the metrics, grouped by sweep; same as --run.track."""
    backend: Literal["local", "ray"] | None = None
    """Processes here, or of a cluster that shares the folder; by default as begun, first local."""
    ray_address: str | None = None
    """Of the backend ray: auto, HOST:PORT or ray://HOST:PORT; by default local."""
    max_parallel: int | None = None
    """Runs at once; by default as many as cores, memory and GPUs carry."""
    retry_failed: bool = False
    """Also start the runs that failed before."""

    def run(self, overrides: dict[str, str]) -> None:
        """Runs the sweep."""
        from relic_rl.sweep import sweep

        _expect_positive("--max-parallel", self.max_parallel)
        sweep.sweep(
            self.sweep_dir,
            games=self.games,
            seeds=self.seeds,
            preset=self.preset,
            settings=with_flags(overrides, _run_flags(self, *_RUN_FLAGS)),
            retry_failed=self.retry_failed,
            backend=self.backend,
            ray_address=self.ray_address,
            max_parallel=self.max_parallel,
        )


@dataclass(frozen=True)
class Status:
    """Show how the runs of a sweep stand."""

    sweep_dir: SweepDir
    """The sweep's folder."""
    watch: bool = False
    """Keep showing, until the sweep ends or Ctrl-C."""

    def run(self, overrides: dict[str, str]) -> None:
        """Prints the table."""
        from relic_rl.sweep import status

        _expect_no_settings(overrides)
        status.show(self.sweep_dir, live=self.watch)


@dataclass(frozen=True)
class Watch:
    """Film a run's agent at play, with its last checkpoint."""

    run_dir: RunDir
    """The run's folder."""
    video: Path
    """Where to write: an .mp4 with every frame, or a .gif with one picture a step."""
    overlay: bool = False
    """Draw action, value, score, and where a change of the picture would change the value."""
    episodes: int = 1
    """How many."""
    seed: int = 0
    """Of the episodes: the first is that of `relic-rl evaluate --episodes 1`."""
    max_frames: int | None = None
    """Of the film; 60 are a second."""
    track: TrackingMode = "off"
    """Whether the film goes to the run's place in wandb."""

    def run(self, overrides: dict[str, str]) -> None:
        """Films."""
        from relic_rl.evaluation import watch

        _expect_no_settings(overrides)
        _expect_positive("--episodes", self.episodes)
        _expect_positive("--max-frames", self.max_frames)
        watch.watch(
            self.run_dir,
            self.video,
            overlay=self.overlay,
            episodes=self.episodes,
            seed=self.seed,
            max_frames=self.max_frames,
            track=self.track,
        )


@dataclass(frozen=True)
class Config:
    """Show every setting: its value, where it comes from, and the source of its default."""

    game: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[GAME]")] = "pong"
    """Any of the 57."""
    preset: str | None = None
    """A shipped preset or a .toml file; by default the one that fits the machine."""

    def run(self, overrides: dict[str, str]) -> None:
        """Prints the resolved configuration."""
        from relic_rl.commands import listings

        listings.show_config(self.game, self.preset, overrides)


@dataclass(frozen=True)
class Games:
    """List the 57 games with their random and human scores."""

    def run(self, overrides: dict[str, str]) -> None:
        """Prints the table."""
        from relic_rl.commands import listings

        _expect_no_settings(overrides)
        listings.show_games()


@dataclass(frozen=True)
class Bench:
    """Measure this machine's ceilings and the product against them.

    Settings change the laptop preset that is measured.
    """

    json: Path | None = None
    """Where to write the figures as JSON."""
    parts: tuple[str, ...] = ()
    """Only these: replay_full, ceilings, acting, replay, learner, end_to_end, bytes_per_game."""
    engine: Literal["ray"] | None = None
    """ray: instead of these, actors on Ray against threads, and what they predict at size."""

    def run(self, overrides: dict[str, str]) -> None:
        """Measures."""
        from relic_rl.bench import run as bench

        bench.run(self.parts, self.json, overrides, on_ray=self.engine == "ray")


@dataclass(frozen=True)
class Doctor:
    """Show what this machine has and whether a preset fits it."""

    preset: str | None = None
    """A shipped preset or a .toml file; by default all shipped ones."""

    def run(self, overrides: dict[str, str]) -> None:
        """Prints the findings; fails if something needed is missing."""
        from relic_rl.commands import doctor

        _expect_no_settings(overrides)
        doctor.examine(self.preset)


@dataclass(frozen=True)
class Report:
    """Tables, pictures and one HTML page over runs and sweeps, against published numbers."""

    dirs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR [DIR ...]")]
    """Run folders, and folders that hold some; each folder of runs is a column."""
    out: Path
    """Where to write report.html and the rest."""
    against: tuple[str, ...] = ("relic", "r2d2")
    """Published methods to compare with."""
    allow_mixed: bool = False
    """Accept runs of different protocols or emulator versions, or of different settings in one
    column, and say so in the report."""
    track: TrackingMode = "off"
    """Whether the report's files go to wandb, in the group of the sweep."""

    def run(self, overrides: dict[str, str]) -> None:
        """Writes the report."""
        from relic_rl.analysis.report import write_report
        from relic_rl.records.uploads import upload_report

        _expect_no_settings(overrides)
        if not self.dirs:
            raise UsageError("report: give run folders or sweeps, before --against")
        try:
            report = write_report(self.dirs, self.out, self.against, allow_mixed=self.allow_mixed)
        except ValueError as error:
            raise UsageError(str(error)) from None
        print("\n".join([*(f"warning: {w}" for w in report.warnings), f"report in {report.page}"]))
        upload_report(self.dirs, report.files, self.track)


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "resume": Resume,
    "evaluate": Evaluate,
    "watch": Watch,
    "sweep": Sweep,
    "status": Status,
    "config": Config,
    "report": Report,
    "games": Games,
    "bench": Bench,
    "doctor": Doctor,
}


def _expect_positive(flag: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise UsageError(f"{flag} is {value}, must be at least 1")


def _expect_no_settings(overrides: dict[str, str]) -> None:
    if overrides:
        raise UsageError(f"this command takes no settings, but --{next(iter(overrides))} is given")
