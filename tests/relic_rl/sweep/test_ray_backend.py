"""A sweep on a Ray cluster whose workers are killed: every run ends, each exactly once."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from relic_rl.records.run_status import read_status
from relic_rl.sweep.manifest import read_states

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),  # never beside test_ray_faults, which counts bytes
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"
    ),
]

GAMES = ("pong", "breakout", "boxing", "freeway", "skiing", "tennis")
COMMAND = [sys.executable, "-m", "relic_rl.cli", "sweep"]
SETTINGS = [
    *("--backend", "ray", "--games", *GAMES, "--preset", "smoke", "--frames", "6000"),
    *("--run.checkpoint_every_minutes", "0.02", "--max-parallel", "2"),
    *("--evaluation.epsilon", "1.0", "--representation.arm", "none"),
]


def start(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, str(folder), *SETTINGS], stdout=subprocess.PIPE, text=True, bufsize=1
    )


def states(folder: Path) -> list[str]:
    return [state for state, _ in read_states(folder).values()]


def worker_of_a_run(sweep: "subprocess.Popen[str]", folder: Path) -> psutil.Process:
    """The Ray worker of a run that has a checkpoint to go on from."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        for process in psutil.Process(sweep.pid).children(recursive=True):
            try:
                command, parent = process.cmdline(), process.parent()
            except psutil.NoSuchProcess:
                continue
            runs = [Path(word) for word in command if word.startswith(str(folder / "runs"))]
            if runs and parent is not None and any(runs[0].glob("checkpoints/0*")):
                return parent
        time.sleep(0.05)
    raise AssertionError("no run came to its first checkpoint")


def test_a_sweep_survives_the_death_of_a_worker_and_goes_on_after_an_interrupt(
    wait_until: Callable[..., None], tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    first = start(folder)
    worker = worker_of_a_run(first, folder)
    assert worker.name().startswith("ray::run_to_its")
    worker.kill()
    wait_until(lambda: states(folder).count("done") >= 3, first, seconds=300)
    os.kill(first.pid, signal.SIGINT)
    said = first.communicate(timeout=100)[0]

    assert "stopped with checkpoints" in said, said
    assert "failed" not in states(folder)
    assert "running" not in states(folder)

    second = start(folder)
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 0, said
    assert f"{len(GAMES)} of {len(GAMES)} runs are done" in said
    assert states(folder) == ["done"] * len(GAMES)
    assert all(read_status(folder / "runs" / f"{game}-s0").finished for game in GAMES)


def test_a_run_that_cannot_be_started_is_not_called_a_worker_that_died(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "logs").write_text("in the way")
    said = start(folder).communicate(timeout=200)[0]

    failed = states(folder).count("failed")  # after three in a row no other is started
    assert failed >= 3
    assert states(folder) == ["failed"] * failed + ["queued"] * (len(GAMES) - failed)
    assert "failed: cannot be started: " in said
    assert "died" not in said
