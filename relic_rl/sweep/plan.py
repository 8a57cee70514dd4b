"""What a sweep will take: hours, cores, memory and disk, from trial runs on this machine.

A trial is a run of the sweep, started as the sweep would start it, as many at once, in a folder
that is thrown away. It ends when it has learned for a while: from then on a run keeps its speed.
What no trial can know is how long the games of the evaluations will last.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from relic_rl.config import Config
from relic_rl.console import counted, duration, size
from relic_rl.errors import UserError
from relic_rl.machine.capacity import available_bytes
from relic_rl.machine.resources import (
    disk_bytes,
    existing_parent,
    free_disk_bytes,
    left_bytes,
    memory_bytes,
)
from relic_rl.records.metrics import METRICS_FILE
from relic_rl.records.run_status import RunStatus
from relic_rl.stop import StopRequest
from relic_rl.sweep.request import PlannedRun
from relic_rl.sweep.runs import Backend, Job

TRIAL_SECONDS = 20.0
"""Of learning, in each trial."""
TRIAL_SETTINGS = {
    "run.metrics_every_updates": "10",
    "run.probe_every_frames": "0",
    "run.track": "off",
    "evaluation.every_minutes": "0",
    "evaluation.every_frames": "0",
}
"""Beside a run's own; none changes its speed."""
_EPISODE_STEPS = 4_000
"""Of the longest of an evaluation's episodes, which are played side by side: a guess."""
_POLL_SECONDS = 0.2
_TRIAL = ".relic-rl-trial-"
"""Begins the name of a trial's folder."""
_LEFT_SECONDS = 3600.0
"""A trial takes minutes; its folder, where it is older, was left behind."""


class Rate(NamedTuple):
    """How fast a run goes."""

    begun_seconds: float
    """From its start until it had learned for a while."""
    begun_frames: int
    """That it had played by then."""
    frames_per_second: float
    """From then on."""
    acting_seconds_per_step: float
    """Of one lane among many: what an evaluation takes."""

    @classmethod
    def mean(cls, rates: Sequence["Rate"]) -> "Rate":
        """Of several trials."""
        return cls(*(type(column[0])(fmean(column)) for column in zip(*rates, strict=True)))

    def seconds(self, config: Config, done: RunStatus) -> float:
        """What a run still takes, from what it has done to the end of its last evaluation."""
        budget, options = config.run.budget, config.evaluation
        frames = max(0, budget.frames - done.env_frames)
        training = self.begun_seconds + max(0, frames - self.begun_frames) / self.frames_per_second
        interim = 0
        if options.every_minutes:
            interim += int(training / (60.0 * options.every_minutes))
        if options.every_frames:  # one at the end is the last
            last = (budget.frames - 1) // options.every_frames
            interim += max(0, last - done.env_frames // options.every_frames)
        episode_seconds = _EPISODE_STEPS * self.acting_seconds_per_step
        seconds = training + interim * options.interim_episodes * episode_seconds
        if budget.minutes:  # the clock runs in evaluations on the way, too
            seconds = min(seconds, max(0.0, 60.0 * (budget.minutes - done.minutes)))
        return seconds + options.episodes * episode_seconds


@dataclass(frozen=True)
class Work:
    """A run that is not done."""

    run: PlannedRun
    config: Config
    done: RunStatus


def needed_disk_bytes(configs: Sequence[Config], at_once: int) -> int:
    """Disk until all runs are done: what each leaves, and what those at work have beside.

    Args:
      configs: of each run that is not done.
      at_once: how many are at work.
    """
    beside = sorted((disk_bytes(config) - left_bytes(config) for config in configs), reverse=True)
    return sum(map(left_bytes, configs)) + sum(beside[:at_once])


def expected_seconds(works: Sequence[Work], rates: dict[Config, Rate], at_once: int) -> float:
    """Until the last run ends: they start in turn, each where one has ended."""
    ends = [0.0] * at_once
    for work in works:
        ends[ends.index(min(ends))] += rates[work.config].seconds(work.config, work.done)
    return max(ends)


def plan(
    path: Path,
    works: Sequence[Work],
    make_backend: Callable[[Path], Backend],
    stop: StopRequest,
    say: Callable[[str], None],
) -> list[str]:
    """Tries the runs for a while and says, line by line, what all of them will take.

    Args:
      path: the sweep's folder; trials have one of their own in it, or beside it, for a while.
      works: the runs that are not done.
      make_backend: for a folder.
      stop: ends the trials.
      say: what happens meanwhile.

    Raises:
      UserError: a trial failed, or was stopped.
    """
    if not works:
        return [f"all runs in {path} are done"]
    rates: dict[Config, Rate] = {}
    for config in dict.fromkeys(work.config for work in works):
        runs = [work.run for work in works if work.config == config]
        with _trial_folder(path) as folder, closing(make_backend(Path(folder))) as backend:
            rates[config] = _trial(Path(folder), backend, runs, stop, say)
    with closing(make_backend(path)) as backend:
        at_once, where = backend.slots(), backend.describe()
    configs = [work.config for work in works]
    speeds = sorted(rate.frames_per_second for rate in rates.values())
    speed = " to ".join(dict.fromkeys(f"{one:,.0f}" for one in (speeds[0], speeds[-1])))
    seconds = expected_seconds(works, rates, at_once)
    memory = at_once * max(map(memory_bytes, configs))
    disk = needed_disk_bytes(configs, at_once)
    has_probes = any(config.run.probe_every_frames for config in configs)
    return [
        f"{counted(len(works), 'run')} to do in {path}, {where}",
        f"speed   {speed} frames a second and run",
        f"time    {duration(seconds)}; the length of the evaluations' episodes is a guess"
        + ", and probes on the way are not counted" * has_probes,
        f"memory  {size(memory)}, {size(available_bytes())} are free",
        f"disk    {size(disk)}, {size(free_disk_bytes(path))} are free",
    ]


def _trial_folder(path: Path) -> "tempfile.TemporaryDirectory[str]":
    """For the runs of a trial, on the disk that the sweep will be on."""
    beside = existing_parent(path)
    for left in beside.glob(f"{_TRIAL}*"):  # by a trial that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left)
    return tempfile.TemporaryDirectory(prefix=_TRIAL, dir=beside)


def _trial(
    path: Path,
    backend: Backend,
    runs: Sequence[PlannedRun],
    stop: StopRequest,
    say: Callable[[str], None],
) -> Rate:
    """How fast runs of one combination of settings go."""
    count = min(backend.slots(), len(runs))
    spread = [runs[i * len(runs) // count] for i in range(count)]  # over the games
    chosen = [replace(run, settings={**run.settings, **TRIAL_SETTINGS}) for run in spread]
    say(f"trial: {', '.join(run.folder for run in chosen)}, {TRIAL_SECONDS:.0f} s of learning")
    started = time.monotonic()
    jobs = [(path / run.folder, backend.start(run)) for run in chosen]
    found: dict[Path, Rate] = {}
    try:
        while len(found) < count and not stop.requested:
            time.sleep(_POLL_SECONDS)
            seconds = time.monotonic() - started
            for folder, job in jobs:
                is_over = job.poll() is not None
                if is_over and job.poll() != 0:
                    raise UserError(f"the trial of {folder.name} failed: {job.why()}")
                rate = _rate(_rows(folder), seconds, is_over=is_over)
                if rate is not None:
                    found.setdefault(folder, rate)
                elif is_over:
                    raise UserError(
                        f"the trial of {folder.name} was over before its speed could be measured:"
                        " ask for more --frames or --minutes"
                    )
    finally:
        _end([job for _, job in jobs])
    if stop.requested:
        raise UserError("stopped before the trial was over")
    return Rate.mean(list(found.values()))


def _end(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.poll() is None:
            job.stop()
    while any(job.poll() is None for job in jobs):
        time.sleep(_POLL_SECONDS)


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        lines = (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _rate(rows: Sequence[dict[str, Any]], seconds: float, *, is_over: bool) -> Rate | None:
    """Of a run that began so many seconds ago; None until it has learned for long enough."""
    learned = rows[1:] if len(rows) > 1 else rows  # the first window has the replay filled, too
    window_seconds = sum(row["window_seconds"] for row in learned)
    if not rows or (window_seconds < TRIAL_SECONDS and not is_over):
        return None
    steps = sum(row["steps_per_second"] * row["window_seconds"] for row in learned)
    frames = sum(row["frames_per_second"] * row["window_seconds"] for row in learned)
    acting = sum(
        row.get("environment_seconds", 0.0) + row.get("inference_seconds", 0.0) for row in learned
    )
    return Rate(seconds, rows[-1]["env_frames"], frames / window_seconds, acting / steps)
