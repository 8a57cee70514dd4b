"""A disk that fills up in a run: it goes on, says once what waits, keeps its last checkpoint."""

import json
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relic_rl.records.checkpoint import CheckpointStore

pytestmark = pytest.mark.slow

DISK_BYTES = 64 * 2**20
PERIOD = (
    *("--run.checkpoint_every_minutes", str(0.5 / 60), "--frames", "1000000000"),
    *("--run.log_every_seconds", "0.5"),
)
LARGEST_FILE_BYTES = 200_000
"""Enough for logs and metrics, not for a checkpoint's arrays."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk; the file-size limit is tested anyway")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("[0-9]*"))


def starve(
    launcher: Any, run: Path, fill: Callable[[Any], None], free: Callable[[Any], None]
) -> str:
    """Lets a run begin, takes its disk away for a while, and gives it back."""
    process = launcher.train("toy_memory", run, *PERIOD)
    process.wait_until(lambda: len(checkpoints(run)) == 2, 0.02)
    fill(process)
    process.wait_until(lambda: "warning" in process.text, 0.02)
    kept = CheckpointStore(run).load(read_only=True)
    log = run / "log.txt"
    lines = process.text.count("frames")
    process.wait_until(lambda: process.text.count("frames") >= lines + 4, 0.05)  # it goes on
    assert kept.path.name == checkpoints(run)[-1]
    assert CheckpointStore(run).load(read_only=True).state["progress"]["updates"] > 0
    free(process)
    before = checkpoints(run)[-1]
    process.wait_until(lambda: checkpoints(run)[-1] > before, 0.02)
    process.kill(signal.SIGTERM)
    assert process.wait() == 0, process.text
    warnings = [line for line in process.text.splitlines() if line.startswith("warning: ")]
    assert len(set(warnings)) == len(warnings), warnings  # each file that waits is told of once
    assert sum("cannot write checkpoint" in line for line in warnings) == 1, warnings
    assert "Traceback" not in process.text + log.read_text()
    frames = int(checkpoints(run)[-1])
    status, text = launcher.run("resume", str(run), "--frames", str(frames + 1000))
    assert status == 0, text
    lines = (run / "metrics.jsonl").read_text().splitlines()
    updates = [json.loads(line)["updates"] for line in lines]
    assert updates == list(range(2, 2 * len(updates) + 1, 2))  # those that had to wait, too
    assert updates
    return f"ran on to frame {frames:,}, {len(warnings)} different warnings, resumed"


def test_a_full_disk_costs_checkpoints_but_neither_the_run_nor_the_last_one(
    launcher: Any, small_disk: Path
) -> None:
    filler = small_disk / "filler"

    def fill(process: Any) -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(2**16)):
                    pass
            except OSError:
                pass

    told = starve(launcher, small_disk / "run", fill, lambda process: filler.unlink())

    print(f"full disk of {DISK_BYTES >> 20} MiB: {told}")


def test_files_that_may_not_grow_cost_checkpoints_but_not_the_run(
    launcher: Any, tmp_path: Path
) -> None:
    def limit(process: Any, size: int) -> None:
        unlimited = resource.RLIM_INFINITY
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, unlimited))

    told = starve(
        launcher,
        tmp_path / "run",
        lambda process: limit(process, LARGEST_FILE_BYTES),
        lambda process: limit(process, resource.RLIM_INFINITY),
    )

    print(f"file-size limit of {LARGEST_FILE_BYTES:,} bytes: {told}")


def test_a_disk_that_will_not_hold_the_checkpoints_is_refused_before_the_start(
    launcher: Any, small_disk: Path
) -> None:
    status, text = launcher.run("train", "pong", "--run-dir", str(small_disk / "run"))

    print(text.strip())
    assert (status, text.count("\n")) == (1, 1)
    assert "of disk" in text
    assert list(small_disk.iterdir()) == []
