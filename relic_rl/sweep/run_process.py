"""One run of a sweep as a process: an ordinary `train`, or `resume` if its folder holds a run.

The same on this machine and on a node of a cluster: what it needs to know is in the sweep's folder.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from envs.games import slug_of
from relic_rl.records import run_folder
from relic_rl.sweep.request import PlannedRun

LOGS = "logs"
_REASON_LETTERS = 300


class RunProcess:
    """A run's process, started by the constructor.

    Args:
      path: the sweep's folder.
      run: which of its runs.
      preset: a shipped one's name, or the sweep's copy of a file.
      environment: beside this process's own.
      prepare: called in the new process before it becomes the run.

    Raises:
      OSError: it cannot be started.
      subprocess.SubprocessError: `prepare` failed.
    """

    def __init__(
        self,
        path: Path,
        run: PlannedRun,
        preset: str,
        *,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], None],
    ) -> None:
        folder = path / run.folder
        self.log = path / LOGS / f"{run.folder}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_bytes = output.tell()
            self._process = subprocess.Popen(
                # -P: modules of the caller's folder are not ours, whatever their names.
                [sys.executable, "-P", "-m", "relic_rl.cli", *_arguments(run, preset, folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # The log is read back: in UTF-8, whatever the caller's terminal has.
                env={**os.environ, **(environment or {}), "PYTHONIOENCODING": "utf-8"},
                start_new_session=True,  # the terminal's Ctrl-C is for us; we pass it on, once
                preexec_fn=prepare,
            )

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Asks it to end with a checkpoint."""
        self._process.terminate()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait()

    def why(self) -> str:
        """Why it failed: the signal that ended it, and the last line that it wrote."""
        status = self.wait()
        try:
            content = self.log.read_bytes()[self._log_bytes :]
        except OSError:  # somebody has removed it
            content = b""
        lines = map(str.strip, content.decode(errors="replace").splitlines())
        said = [line for line in lines if line]
        last = said[-1].removeprefix("relic-rl: ") if said else ""
        if status < 0:
            last = f"killed by {signal.Signals(-status).name}{', after: ' * bool(last)}{last}"
        return last[:_REASON_LETTERS] or f"exit status {status}"


def command_line(run: PlannedRun, preset: str, folder: Path) -> str:
    """`relic-rl train GAME --run-dir FOLDER` and the rest, or `resume`, as a shell takes it."""
    return f"relic-rl {shlex.join(_arguments(run, preset, folder))}"


def _arguments(run: PlannedRun, preset: str, folder: Path) -> list[str]:
    # Also with what never came to a checkpoint: `resume` decides, as the folder's owner.
    if run_folder.holds_run(folder):
        return ["resume", str(folder)]
    flags = [f"--{name}={value}" for name, value in run.settings.items()]
    options = ["--run-dir", str(folder), "--preset", preset, "--seed", str(run.seed)]
    return ["train", slug_of(run.game), *options, *flags]
