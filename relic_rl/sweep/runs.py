"""The runs of a sweep: which wait, which run, how they end. Where they run is a backend's business.

A command starts each run once at most; what it starts ends with it.
"""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from relic_rl.console import Console, counted, duration
from relic_rl.errors import UserError, command
from relic_rl.records.folders import is_in_use
from relic_rl.records.run_folder import holds_run
from relic_rl.records.run_status import read_status
from relic_rl.stop import StopRequest
from relic_rl.sweep.manifest import Entry, Manifest, State
from relic_rl.sweep.request import PlannedRun

_POLL_SECONDS = 0.2
_STOPPED = "stopped; the same command resumes it"
_MOST_FAILED_IN_A_ROW = 3
"""Before they had played anything: what ails them, a full disk or a broken installation, would fail
all that wait as well."""


class Job(Protocol):
    """A run that was started."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""

    def stop(self) -> None:
        """Asks it to end with a checkpoint."""

    def why(self) -> str:
        """Why it failed, once it has."""


class Backend(Protocol):
    """Where runs run."""

    def slots(self) -> int:
        """How many there may be at once, now."""

    def describe(self) -> str:
        """The same for the user: `2 at once on 1 of the cores each`."""

    def start(self, run: PlannedRun) -> Job:
        """Starts a run.

        Raises:
          OSError: it cannot be started.
          subprocess.SubprocessError: the same, on the cores that it was to keep to.
        """

    def close(self) -> None:
        """Frees what it holds, when no job is left."""


class SweepRuns:
    """The runs of one sweep.

    Args:
      path: the sweep's folder, locked by the caller.
      preset: a shipped one's name, or the sweep's copy of a file.
      runs: that follow from what was asked.
      backend: where they run.
      console: says what happens.
      retry_failed: start those that failed before, too.
    """

    def __init__(
        self,
        path: Path,
        preset: str,
        runs: list[PlannedRun],
        backend: Backend,
        console: Console,
        *,
        retry_failed: bool,
    ) -> None:
        self._path = path
        self._preset = preset
        self._backend = backend
        self._console = console
        self._warned = False
        self._jobs: list[tuple[Entry, Job]] = []
        self._begun_frames: dict[str, int] = {}
        """What runs at work had played when they were started, by folder."""
        self._failed_in_a_row = 0
        self._cut_off: list[Entry] = []
        """Runs that were to stop with a checkpoint, and ended with an error instead."""
        self._waiting: list[Entry] = []
        self._elsewhere: list[Entry] = []
        """Runs that a killed sweep's processes still write to."""
        self.manifest = Manifest(path, runs)
        for entry in self.manifest.entries:
            self._take_up(entry, retry_failed=retry_failed)
        self._write_manifest()

    def _take_up(self, entry: Entry, *, retry_failed: bool) -> None:
        folder = self._path / entry.run.folder
        if is_in_use(folder):
            entry.state = "running"
            self._elsewhere.append(entry)
        elif read_status(folder).finished:
            entry.state, entry.why = "done", ""
        elif entry.state != "failed" or retry_failed:
            entry.state = "queued"
            self._waiting.append(entry)

    # --- the loop -------------------------------------------------------------------------------

    def run(self, stop: StopRequest) -> None:
        """Starts and reaps until nothing is left, or until all have stopped."""
        self._say_plan()
        stopping = False
        while self._jobs or (not stop.requested and (self._may_start() or self._elsewhere)):
            if stop.requested and not stopping:
                stopping = True
                self._console.say(f"stopping {counted(len(self._jobs), 'run')}, with checkpoints")
                for _, job in self._jobs:
                    job.stop()
            if not stop.requested:
                self._start_waiting()
            time.sleep(_POLL_SECONDS)
            for entry, job in list(self._jobs):
                status = job.poll()
                if status is not None:
                    self._jobs.remove((entry, job))
                    self._reap(entry, job, status, stopping=stop.requested)
            self._look_elsewhere()

    def _may_start(self) -> bool:
        return bool(self._waiting) and self._failed_in_a_row < _MOST_FAILED_IN_A_ROW

    def _start_waiting(self) -> None:
        while self._may_start() and self._backend.slots() > len(self._jobs) + len(self._elsewhere):
            self._start(self._waiting.pop(0))

    def _start(self, entry: Entry) -> None:
        folder = self._path / entry.run.folder
        if is_in_use(folder):  # somebody resumes it by hand
            self._take_up(entry, retry_failed=False)
            return
        self._begun_frames[entry.run.folder] = read_status(folder).env_frames
        try:
            begins = "resumes" if holds_run(folder) else "starts"
            job = self._backend.start(entry.run)
        except (OSError, subprocess.SubprocessError) as error:
            self._fail(entry, f"cannot be started: {error}")
            return
        self._console.say(f"{entry.run.folder} {begins}")
        self._jobs.append((entry, job))
        self._set(entry, "running", "")

    def _reap(self, entry: Entry, job: Job, status: int, *, stopping: bool) -> None:
        progress = read_status(self._path / entry.run.folder)
        if progress.finished:
            self._failed_in_a_row = 0
            self._set(entry, "done", job.why() if status else "")
            but = f"; it could not tidy up: {entry.why}" if entry.why else ""
            self._console.say(
                f"{entry.run.folder} is done after {duration(60 * progress.minutes)}: "
                f"score {progress.score:,.1f}{but}"
            )
        # Ended by our signal itself, it was still being imported: it had nothing to lose.
        elif stopping and status not in (0, -signal.SIGTERM):
            self._cut_off.append(entry)
            self._set(entry, "queued", job.why())
            self._console.say(f"{entry.run.folder} ended without a new checkpoint: {entry.why}")
        elif stopping or status == 0:
            self._set(entry, "queued", _STOPPED)
            if not stopping:
                self._console.say(f"{entry.run.folder} was stopped by another process")
        else:
            has_played = progress.env_frames > self._begun_frames[entry.run.folder]
            self._fail(entry, job.why(), has_played=has_played)

    def _fail(self, entry: Entry, why: str, *, has_played: bool = False) -> None:
        self._failed_in_a_row = 0 if has_played else self._failed_in_a_row + 1
        self._set(entry, "failed", why)
        self._console.say(f"{entry.run.folder} failed: {why}")

    def _look_elsewhere(self) -> None:
        for entry in list(self._elsewhere):
            if not is_in_use(self._path / entry.run.folder):
                self._elsewhere.remove(entry)
                self._take_up(entry, retry_failed=False)
                self._write_manifest()

    # --- what is said and written ---------------------------------------------------------------

    def _say_plan(self) -> None:
        done, failed = self.manifest.count("done"), self.manifest.count("failed")
        self._console.say(
            f"sweep of {counted(len(self.manifest.entries), 'run')} in {self._path}: {done} done, "
            f"{failed} failed before; preset {self._preset}, {self._backend.describe()}; "
            "Ctrl-C stops all in order"
        )
        if self._elsewhere:
            names = ", ".join(entry.run.folder for entry in self._elsewhere)
            self._console.say(f"waiting for processes of an earlier sweep: {names}")

    def say_end(self, stop: StopRequest) -> None:
        """Says how the sweep stands.

        Raises:
          UserError: runs failed or were stopped by another process, though the sweep was not; or
            it was stopped, and not all could write a checkpoint.
        """
        entries = self.manifest.entries
        failed = [entry for entry in entries if entry.state == "failed"]
        left = [entry for entry in entries if entry.state != "done"]
        self._console.say(f"{len(entries) - len(left)} of {len(entries)} runs are done")
        if self._cut_off:
            what = "kept no checkpoint of their last moments when they were stopped"
            then = "; the same command continues from the checkpoints before"
            raise self._error(self._cut_off, what, then)
        if stop.requested:
            self._console.say("stopped with checkpoints; the same command continues")
        elif failed:
            waits = f"; {len(self._waiting)} were not started, as the last failed at once"
            then = waits * bool(self._waiting) + "; --retry-failed tries them again"
            raise self._error(failed, "failed", then)
        elif left:
            raise self._error(left, "are not done")
        elif untidy := [entry for entry in entries if entry.why]:
            what = (
                "ended with an error after their last evaluation, and may have left more on the "
                "disk than run.keep says"
            )
            raise self._error(untidy, what)
        else:
            report = command("report", self._path, "--out", self._path / "report")
            self._console.say(f"{report} tabulates them")

    def _error(self, entries: Sequence[Entry], what: str, then: str = "") -> UserError:
        """Of some of the runs, and why the first of them."""
        count, first = f"{len(entries)} of {len(self.manifest.entries)}", entries[0]
        return UserError(f"{count} runs {what}, first {first.run.folder}: {first.why}{then}")

    def _set(self, entry: Entry, state: State, why: str) -> None:
        entry.state, entry.why = state, why
        self._write_manifest()

    def _write_manifest(self) -> None:
        try:
            self.manifest.write()
            self._warned = False
        except OSError as error:  # a full disk must not stop the runs
            if not self._warned:
                self._console.say(f"warning: cannot write the manifest: {error}")
            self._warned = True
