"""The runs of a sweep as processes of this machine.

With P at once, each is confined to cores of its own, and asks the system how many those are;
learners on GPUs take them in turn. Runs end with the sweep: stopped in order when it is, and by the
kernel's word when it is killed. A command starts each run once at most.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from relic_rl import run_folder
from relic_rl.console import Console, duration
from relic_rl.errors import UserError
from relic_rl.progress import read_progress
from relic_rl.stop import StopRequest
from relic_rl.sweep_manifest import Entry, Manifest, PlannedRun, State, SweepRequest

LOGS = "logs"
_POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1
_STOPPED = "stopped; the same command goes on with it"
_REASON_LETTERS = 300


class SweepError(UserError):
    """Some runs failed."""


@dataclass(frozen=True)
class Machine:
    """What each of the runs at once may use.

    Attributes:
      cores: of each place, disjoint unless there are more places than cores.
      gpus: of each place, as `CUDA_VISIBLE_DEVICES` names them; None: whatever there is.
    """

    cores: tuple[frozenset[int], ...]
    gpus: tuple[str | None, ...]

    @classmethod
    def share(cls, parallel: int, *, uses_gpu: bool) -> "Machine":
        """Splits what this process may use into so many places."""
        cores = sorted(os.sched_getaffinity(0))
        places = range(parallel)
        shares = tuple(frozenset(cores[place % len(cores) :: parallel]) for place in places)
        gpus: list[str | None] = [None]
        if uses_gpu:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            gpus = [
                *(visible.split(",") if visible else map(str, range(torch.cuda.device_count())))
            ]
        return cls(shares, tuple(gpus[place % len(gpus)] for place in places))


@dataclass
class _Child:
    entry: Entry
    process: "subprocess.Popen[bytes]"
    place: int
    log: Path
    log_bytes: int
    """Of the log before this session."""


class LocalSweep:
    """The runs of one sweep as processes of this machine.

    Args:
      path: the sweep's folder, locked by the caller.
      request: what was asked.
      runs: that follow from it.
      machine: a place for each of the runs at once.
      console: says what happens.
      retry_failed: start those that failed before, too.
    """

    def __init__(
        self,
        path: Path,
        request: SweepRequest,
        runs: list[PlannedRun],
        machine: Machine,
        console: Console,
        *,
        retry_failed: bool,
    ) -> None:
        self._path = path
        self._preset = request.preset
        self._machine = machine
        self._console = console
        self._warned = False
        self._children: list[_Child] = []
        self._waiting: list[Entry] = []
        self._elsewhere: list[Entry] = []
        """Runs that a killed sweep's processes still write to."""
        self.manifest = Manifest(path, runs)
        for entry in self.manifest.entries:
            self._take_up(entry, retry_failed=retry_failed)
        self._write_manifest()

    def _take_up(self, entry: Entry, *, retry_failed: bool) -> None:
        folder = self._path / entry.run.folder
        if run_folder.is_in_use(folder):
            entry.state = "running"
            self._elsewhere.append(entry)
        elif read_progress(folder).finished:
            entry.state, entry.why = "done", ""
        elif entry.state != "failed" or retry_failed:
            entry.state = "queued"
            self._waiting.append(entry)

    # --- the loop -------------------------------------------------------------------------------

    def run(self, stop: StopRequest) -> None:
        """Starts and reaps until nothing is left, or until all have stopped."""
        self._say_plan()
        stopping = False
        while self._children or (not stop.requested and (self._waiting or self._elsewhere)):
            if stop.requested and not stopping:
                stopping = True
                self._console.say(f"stopping {len(self._children)} runs with their checkpoints")
                for child in self._children:
                    child.process.terminate()
            if not stop.requested:
                self._start_waiting()
            time.sleep(_POLL_SECONDS)
            for child in list(self._children):
                status = child.process.poll()
                if status is not None:
                    self._children.remove(child)
                    self._reap(child, status, stopping=stopping)
            self._look_elsewhere()

    def _start_waiting(self) -> None:
        busy = {child.place for child in self._children}
        places = [place for place in range(len(self._machine.cores)) if place not in busy]
        for place in places[: max(0, len(places) - len(self._elsewhere))]:
            if self._waiting:
                self._start(self._waiting.pop(0), place)

    def _start(self, entry: Entry, place: int) -> None:
        try:
            child = self._launch(entry, place)
        except OSError as error:
            self._set(entry, "failed", f"cannot be started: {error}")
            self._console.say(f"{entry.run.folder} failed: {entry.why}")
            return
        self._children.append(child)
        self._set(entry, "running", "")

    def _launch(self, entry: Entry, place: int) -> _Child:
        run, folder = entry.run, self._path / entry.run.folder
        log = self._path / LOGS / f"{run.folder}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        goes_on = read_progress(folder).has_checkpoint
        if not goes_on and (folder / run_folder.CONFIG_FILE).exists():
            shutil.rmtree(folder)  # broken off before its first checkpoint
        arguments = ["resume", str(folder)] if goes_on else self._train_arguments(run, folder)
        environment = {**os.environ}
        gpu = self._machine.gpus[place]
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        with log.open("ab") as output:
            log_bytes = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "relic_rl.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # the terminal's Ctrl-C is for us; we pass it on, once
                preexec_fn=_prepared(self._machine.cores[place]),
            )
        self._console.say(f"{run.folder} {'goes on' if goes_on else 'starts'}")
        return _Child(entry, process, place, log, log_bytes)

    def _train_arguments(self, run: PlannedRun, folder: Path) -> list[str]:
        settings = [f"--{name}={value}" for name, value in run.settings.items()]
        options = ["--preset", self._preset, "--seed", str(run.seed), "--run-dir", str(folder)]
        return ["train", run.game, *options, *settings]

    def _reap(self, child: _Child, status: int, *, stopping: bool) -> None:
        entry = child.entry
        progress = read_progress(self._path / entry.run.folder)
        if progress.finished:
            self._set(entry, "done", "")
            self._console.say(
                f"{entry.run.folder} is done after {duration(60 * progress.minutes)}: "
                f"score {progress.score:,.1f}"
            )
        elif stopping or status == 0:
            self._set(entry, "queued", _STOPPED)
            if not stopping:
                self._console.say(f"{entry.run.folder} was stopped by somebody else")
        else:
            self._set(entry, "failed", _reason(child, status))
            self._console.say(f"{entry.run.folder} failed: {entry.why}")

    def _look_elsewhere(self) -> None:
        for entry in list(self._elsewhere):
            if not run_folder.is_in_use(self._path / entry.run.folder):
                self._elsewhere.remove(entry)
                self._take_up(entry, retry_failed=False)
                self._write_manifest()

    # --- what is said and written ---------------------------------------------------------------

    def _say_plan(self) -> None:
        done, failed = self.manifest.count("done"), self.manifest.count("failed")
        shares = sorted({len(cores) for cores in self._machine.cores})
        self._console.say(
            f"sweep of {len(self.manifest.entries)} runs in {self._path}: {done} done, "
            f"{failed} failed before; preset {self._preset}, {len(self._machine.cores)} at once "
            f"on {' or '.join(map(str, shares))} of the cores each; Ctrl-C stops all in order"
        )
        if self._elsewhere:
            names = ", ".join(entry.run.folder for entry in self._elsewhere)
            self._console.say(f"waiting for processes of an earlier sweep: {names}")

    def say_end(self, stop: StopRequest) -> None:
        """Says how the sweep stands.

        Raises:
          SweepError: runs failed, and nobody stopped the others.
        """
        failed = [entry for entry in self.manifest.entries if entry.state == "failed"]
        total, done = len(self.manifest.entries), self.manifest.count("done")
        self._console.say(f"{done} of {total} runs are done")
        if stop.requested:
            self._console.say("stopped with checkpoints; the same command goes on")
        elif failed:
            raise SweepError(
                f"{len(failed)} of {total} runs failed, first {failed[0].run.folder}: "
                f"{failed[0].why}; --retry-failed tries them again"
            )
        elif done == total:
            report = self._path / "report"
            self._console.say(f"`relic-rl report {self._path} --out {report}` tabulates them")

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


def _prepared(cores: frozenset[int]) -> Callable[[], None]:
    """What a child does before it becomes a run: keeps to its cores, and to its parent's life."""
    sweep, libc = os.getpid(), ctypes.CDLL(None)

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != sweep:  # it died just before
            os._exit(1)

    return prepare


def _reason(child: _Child, status: int) -> str:
    """Why a run failed: the signal that ended it, or the last line that it wrote."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}; see {child.log}"
    with child.log.open("rb") as log:
        log.seek(child.log_bytes)
        lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    said = [line for line in lines if line]
    last = said[-1].removeprefix("relic-rl: ") if said else f"exit status {status}"
    return last[:_REASON_LETTERS]
