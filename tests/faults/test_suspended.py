"""A run that is suspended: Ctrl-Z, a batch system that makes room, a frozen container."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

MINUTES = 0.1
SUSPENDED_SECONDS = 8.0


@pytest.mark.slow
def test_the_time_in_which_a_run_was_suspended_is_not_training_time(
    launcher: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = launcher.train("toy_memory", run, "--frames", "1000000000", "--minutes", str(MINUTES))
    metrics = run / "metrics.jsonl"
    process.wait_until(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 2)
    process.kill(signal.SIGSTOP)
    rows_before = metrics.read_bytes().count(b"\n")
    time.sleep(SUSPENDED_SECONDS)
    process.kill(signal.SIGCONT)

    assert process.wait() == 0, process.text
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert len(rows) > 3 * rows_before
    assert 60 * rows[-1]["minutes"] < 60 * MINUTES + 0.5
    after = [row["window_seconds"] for row in rows[rows_before + 1 :]]
    assert sum(after) > 60 * MINUTES / 3
