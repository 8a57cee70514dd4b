"""Faults on real runs: every test kills, damages or starves real processes and real files.

Tests print their figures, which belong into docs/reliability.md; pytest shows them by -rP.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LAUNCHER = Path(__file__).with_name("launcher.py")

SMALL = (
    *("--preset", "smoke", "--run.threads", "1", "--run.metrics_every_updates", "2"),
    *("--replay.min_steps", "64", "--replay.capacity_steps", "2000", "--evaluation.episodes", "1"),
    *("--evaluation.every_minutes", "0"),
)
"""Updates of some 10 ms, checkpoints of some 100 KB, evaluation only at the end."""


class Process:
    """One command line at work."""

    def __init__(self, launcher: "Launcher", pid: int, output: Path) -> None:
        self._launcher, self.pid, self.output = launcher, pid, output
        self.status: int | None = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal to the whole group."""
        os.killpg(self.pid, number)

    def wait(self) -> int:
        """Its exit status, negative for a signal; afterwards its group must be empty."""
        if self.status is None:
            self.status = self._launcher.read()["status"]
            self.wait_until(lambda: not self._is_any_left())
        return self.status

    def _is_any_left(self) -> bool:
        """Whether the group has a member, if only a dead one that nobody has asked for its end."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def wait_for_text(self, *texts: str) -> None:
        """Waits until it has printed one of them."""
        self.wait_until(lambda: any(text in self.text for text in texts), 0.002)

    def wait_until(self, condition: Callable[[], bool], pause_seconds: float = 0.001) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < deadline, self.text
            time.sleep(pause_seconds)


class Launcher:
    """Starts one command line after the other; see launcher.py."""

    def __init__(self) -> None:
        self.folder = Path()
        self._process = subprocess.Popen(
            [sys.executable, str(LAUNCHER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.read() == {"ready": True}

    def read(self) -> dict[str, Any]:
        """The launcher's next answer."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(self, *arguments: str) -> Process:
        """Starts a command line; the one before must have been waited for."""
        assert self._process.stdin is not None
        output = self.folder / f"output-{time.monotonic_ns()}.txt"
        request = {"arguments": arguments, "cwd": str(self.folder), "output": str(output)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Process(self, self.read()["pid"], output)

    def train(self, game: str, run: Path, *arguments: str) -> Process:
        """Starts a small run."""
        return self.start("train", game, "--run-dir", str(run), *SMALL, *arguments)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs a command line to its end: exit status and all that it printed."""
        process = self.start(*arguments)
        return process.wait(), process.text

    def close(self) -> None:
        """Ends it, and what it may still run."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="session")
def one_launcher() -> Iterator[Launcher]:
    """The session's; set its folder."""
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def launcher(one_launcher: Launcher, tmp_path: Path) -> Launcher:
    """Runs command lines in `tmp_path`."""
    one_launcher.folder = tmp_path
    return one_launcher
