"""The clock of a run's minutes, in a process of its own that is suspended for a while."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relic_rl.runtime.training_clock import LOOK_SECONDS, MAX_COUNTED_SECONDS, TrainingClock

SCRIPT = """
import sys, time
from relic_rl.runtime.training_clock import TrainingClock
clock = TrainingClock(0.0)
with clock.running():
    print("running", flush=True)
    sys.stdin.readline()
    print(60 * clock.minutes())
"""


def seconds_counted(*, suspended_seconds: float) -> float:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(suspended_seconds)
    os.kill(process.pid, signal.SIGCONT)
    out, _ = process.communicate("\n")
    return float(out)


def test_the_time_in_which_the_process_was_suspended_does_not_count() -> None:
    assert 1.0 <= seconds_counted(suspended_seconds=6.5) <= 1.0 + MAX_COUNTED_SECONDS + 3.0


def test_a_long_call_counts_whole() -> None:
    clock = TrainingClock(0.0)
    begun = time.monotonic()
    with clock.running():
        time.sleep(MAX_COUNTED_SECONDS + 1.0)
        seconds = 60.0 * clock.minutes()
    took = time.monotonic() - begun

    assert seconds == pytest.approx(took, abs=0.1)


def test_it_adds_to_the_minutes_of_earlier_sessions_and_stands_between_them() -> None:
    clock = TrainingClock(2.0)
    time.sleep(2 * LOOK_SECONDS)
    assert clock.minutes() == 2.0
    with clock.running():
        time.sleep(0.1)
    stood = clock.minutes()
    time.sleep(0.1)

    assert stood == clock.minutes() > 2.0 + 0.1 / 60
