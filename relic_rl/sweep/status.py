"""How the runs of a sweep stand, read from its manifest and its run folders."""

from pathlib import Path
from typing import Literal, NamedTuple

from relic_rl.records.folders import is_in_use
from relic_rl.records.run_status import RunStatus, read_status
from relic_rl.sweep.manifest import Entry, Manifest
from relic_rl.sweep.request import PlannedRun, SweepRequest

State = Literal["queued", "running", "done", "failed", "interrupted"]


class RunInSweep(NamedTuple):
    """How a run of a sweep stands."""

    run: PlannedRun
    state: State
    why: str
    """It failed, or waits again; empty otherwise."""
    status: RunStatus


class SweepStatus(NamedTuple):
    """How a sweep stands."""

    runs: list[RunInSweep]
    is_active: bool
    """Whether a process works on it."""

    @property
    def seconds_left(self) -> float | None:
        """Until the last run ends, if the waiting ones take as long as those that are known.

        None while nothing runs, or before any run has told how long it takes.
        """
        done = [60.0 * one.status.minutes for one in self.runs if one.state == "done"]
        running = [one.status for one in self.runs if one.state == "running"]
        left = [one.seconds_left for one in running if one.seconds_left is not None]
        whole = done or [
            60.0 * one.minutes + one.seconds_left for one in running if one.seconds_left is not None
        ]
        if not running or not whole:
            return None
        a_run = sum(whole) / len(whole)
        waiting = sum(one.state in ("queued", "interrupted") for one in self.runs)
        unknown = len(running) - len(left)
        return (sum(left) + a_run * (waiting + unknown)) / len(running)


def read_sweep(path: Path) -> SweepStatus:
    """Reads how a sweep stands; it may be running.

    Raises:
      UserError: the folder holds no sweep.
    """
    planned = SweepRequest.read(path).runs()
    is_active = is_in_use(path)  # first: a sweep that ends now has written all it knows
    runs = []
    for entry in Manifest(path, planned).entries:
        status = read_status(path / entry.run.folder)
        state = _state(path, entry, status, is_active=is_active)
        why = "" if state in ("running", "done") else entry.why
        runs.append(RunInSweep(entry.run, state, why, status))
    return SweepStatus(runs, is_active)


def _state(path: Path, entry: Entry, status: RunStatus, *, is_active: bool) -> State:
    """What the run's folder says, as another process may have resumed it; else the manifest."""
    if is_in_use(path / entry.run.folder):
        return "running"
    if status.finished:
        return "done"
    if entry.state == "done" or (entry.state == "running" and not is_active):
        return "interrupted"
    return entry.state
