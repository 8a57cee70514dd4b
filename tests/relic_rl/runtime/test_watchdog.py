"""An emulator that really hangs: an action out of range makes ale-py's wait for ever."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HANGING = """
import sys
import threading
import numpy as np
from relic_rl import cli
from relic_rl.runtime import watchdog
from relic_rl.evaluation import evaluate
watchdog.Watchdog.__init__.__defaults__ = (5.0,)  # more than a busy machine's first step takes
evaluate.STALL_SECONDS = 1.0
from envs import atari
step, count = atari.AtariLanes.step, 0

def hang(self, actions):
    global count
    if threading.current_thread().name == "{thread}" and {when}:
        count += 1
        if count == 30:
            self._emulators.step(np.full(self.lanes, 99))  # past the check that would refuse it
    return step(self, actions)

atari.AtariLanes.step = hang
sys.exit(cli.main(["train", "pong", "--preset", "smoke", "--run.engine", "{engine}",
    "--actor.actors", "{actors}", "--frames", "{frames}", "--run.threads", "1",
    "--run-dir", sys.argv[1]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "actors", "frames", "thread", "when", "words"),
    [
        ("inline", 1, 4000, "MainThread", "True", "a step of the emulators"),
        ("threads", 1, 4000, "actor-0", "True", "a step of actor 0"),
        # The other one goes on meanwhile: it must not get to the end of the run.
        ("threads", 2, 4_000_000, "actor-1", "True", "a step of actor 1"),
        ("inline", 1, 4000, "MainThread", "self.lanes < 4", "a step of the evaluation's emulators"),
    ],
)
def test_a_run_whose_emulator_hangs_ends_and_says_so(
    tmp_path: Path, engine: str, actors: int, frames: int, thread: str, when: str, words: str
) -> None:
    code = HANGING.format(engine=engine, actors=actors, frames=frames, thread=thread, when=when)
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
    )

    said = result.stderr.splitlines()

    assert result.returncode == 1
    assert said[0].startswith("relic-rl: ")
    assert words in said[0]
    assert "hang" in said[0]
    assert "Traceback" not in result.stderr  # ale-py may complain that its thread never ended


SPEECHLESS = """
import sys, time
from relic_rl.runtime.watchdog import Watchdog
from relic_rl.stop import whole_process
sys.stderr = open("/dev/full", "w")
with whole_process(), Watchdog(0.5).watching("a step"):
    time.sleep(60.0)
"""


def test_a_process_that_hangs_ends_also_where_nothing_can_be_said() -> None:
    result = subprocess.run([sys.executable, "-c", SPEECHLESS], timeout=30, check=False)

    assert result.returncode == 1


IN_A_NOTEBOOK = """
import time
from relic_rl.runtime.watchdog import Watchdog
with Watchdog(0.5).watching("a step"):
    time.sleep(1.5)
print("the variables are there")
"""


def test_a_notebook_is_told_what_hangs_and_goes_on() -> None:
    result = subprocess.run(
        [sys.executable, "-c", IN_A_NOTEBOOK],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert result.stdout == "the variables are there\n"
    assert result.stderr.count("relic-rl: a step did not answer for 0.5 s") == 1
    assert "end this process" in result.stderr


STEPPING = """
import sys, threading, time
from relic_rl.runtime.watchdog import Watchdog
from relic_rl.stop import whole_process
watchdog = Watchdog(1.0)
told_to_end = threading.Thread(target=sys.stdin.read)
told_to_end.start()
print("stepping", flush=True)
with whole_process():
    while told_to_end.is_alive():
        with watchdog.watching("a step"):
            time.sleep(0.05)
"""


def test_a_process_that_was_suspended_is_not_taken_for_one_that_hangs() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STEPPING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stepping\n"
    for _ in range(2):
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.6)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
    _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, "")


IN_TIME = """
import time
from relic_rl.runtime.watchdog import Watchdog
from relic_rl.stop import whole_process
watchdog = Watchdog(1.0)
with whole_process():
    for _ in range(15):
        with watchdog.watching("a nap"):
            time.sleep(0.1)
    time.sleep(1.4)  # unwatched
watchdog.close()
"""


def test_calls_that_end_in_time_are_let_be() -> None:
    # In a process of its own: that is what a watchdog ends.
    result = subprocess.run([sys.executable, "-c", IN_TIME], timeout=60, check=False)

    assert result.returncode == 0
