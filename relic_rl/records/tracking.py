"""The trackers by name: mirrors of a run, such as Weights & Biases.

The run folder is the truth (`records.metrics`). A tracker only repeats it elsewhere; it can neither
stop nor slow a run. A new one is a class that is a `Tracker`, a function that makes it, and a line
in `TRACKERS`. What it needs is imported when it is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

CLOSE_SECONDS = 8.0
"""How long the end of a run may wait for a tracker."""


class TrackedRun(NamedTuple):
    """What a tracker is told of the run that it mirrors."""

    folder: Path
    name: str
    """The run's name at the tracker."""
    config: Mapping[str, object] = MappingProxyType({})
    """All that defines the run, by name: `section.field`, game and seed."""
    group: str | None = None
    """What it is shown together with: its sweep."""
    job_type: str = "train"
    """What kind of run of its group it is."""
    tags: tuple[str, ...] = ()
    """Such as the game and the arm."""
    run_id: str | None = None
    """The id of an earlier session of the same run, which is then continued."""
    resumed: bool = False
    """Whether an earlier session's mirror is continued, rather than a run begun."""
    close_seconds: float = CLOSE_SECONDS
    """How long `Tracker.close` may wait."""


class Tracker:
    """What a run tells its mirror; this one, for the name "off", listens to nothing.

    Attributes:
      id: names the run at the tracker; store it, and give it back on resume. None for "off".
      mode: what it became, final once it is closed: "online" may end as "offline" or "off".
      dropped_items: how many rows or files were not mirrored.
    """

    id: str | None = None
    mode: str = "off"
    dropped_items: int = 0

    @property
    def left_to_do(self) -> str | None:
        """What the user may do once it is closed, in a line; None if it is all done."""
        return None

    def log(self, row: Mapping[str, object]) -> None:
        """Mirrors one row of `metrics.jsonl`; it must hold `env_frames`, the x-axis."""

    def file(self, path: Path) -> None:
        """Uploads a file, at once or later, as it is then.

        It keeps its path in the run folder; from elsewhere, its bare name.
        """

    def close(self) -> None:
        """Ends the mirror; waits `close_seconds` at most."""


class Trackers(Tracker):
    """Several mirrors of one run; `mode` and `dropped_items` are those of each, and none here."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers
        self.id = next((tracker.id for tracker in trackers if tracker.id), None)

    def log(self, row: Mapping[str, object]) -> None:
        """See `Tracker.log`."""
        for tracker in self._trackers:
            tracker.log(row)

    def file(self, path: Path) -> None:
        """See `Tracker.file`."""
        for tracker in self._trackers:
            tracker.file(path)

    def close(self) -> None:
        """See `Tracker.close`."""
        for tracker in self._trackers:
            tracker.close()

    @property
    def left_to_do(self) -> str | None:
        """See `Tracker.left_to_do`."""
        lines = [tracker.left_to_do for tracker in self._trackers]
        return "\n".join(line for line in lines if line) or None


def _wandb(run: TrackedRun, mode: Literal["offline", "online"]) -> Tracker:
    from relic_rl.records.wandb_tracker import WandbTracker

    return WandbTracker(mode, run)


def _tensorboard(run: TrackedRun) -> Tracker:
    from relic_rl.records.tensorboard_tracker import TensorBoardTracker

    return TensorBoardTracker(run)


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "off": lambda run: Tracker(),
    "offline": partial(_wandb, mode="offline"),
    "online": partial(_wandb, mode="online"),
    "tensorboard": _tensorboard,
}
"""`offline` and `online` are wandb's: the one writes below `RUN_DIR/wandb` for `wandb sync`."""
FILE_TRACKERS = ("off", "offline", "online")
"""Those that keep films and reports."""
if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Literal[tuple(TRACKERS)]


def make_tracker(trackers: Sequence[TrackerName], run: TrackedRun) -> Tracker:
    """Returns the run's trackers as one; never fails, never waits."""
    made = [TRACKERS[name](run) for name in dict.fromkeys(trackers)]
    return made[0] if len(made) == 1 else Trackers(made)
