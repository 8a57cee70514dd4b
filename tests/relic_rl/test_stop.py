"""Real signals to a real process that puts things in order until it is told that it has."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

IN_ORDER = """
import sys, time
from relic_rl.stop import StopRequest, whole_process
with whole_process(), StopRequest().listening() as stop:
    print("listening", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print("asked", flush=True)
    sys.stdin.readline()
print("in order", flush=True)
"""


def start(*before: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [*before, sys.executable, "-c", IN_ORDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Not what `nohup make test` would hand down.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    return process


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[str]]":
    process = start()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGUSR1,  # Slurm's --signal, SGE's -notify
        signal.SIGUSR2,  # submitit, LSF, SGE
        signal.SIGXCPU,  # a limit of processor time
    ],
)
def test_a_signal_lets_the_process_put_things_in_order(number: signal.Signals) -> None:
    process = start()
    process.send_signal(number)
    out, err = process.communicate("done\n", timeout=20)

    assert (process.returncode, out, err) == (0, "asked\nin order\n", "")


def test_two_signals_of_one_moment_are_one_request(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate("done\n", timeout=20)

    assert (process.returncode, out) == (0, "in order\n")


def test_signals_that_are_pending_together_are_one_request(
    process: "subprocess.Popen[str]",
) -> None:
    # As where a group and its leader are signalled: both wait when the process goes on.
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate("done\n", timeout=20)

    assert (process.returncode, out) == (0, "asked\nin order\n")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_leaves_at_once(
    process: "subprocess.Popen[str]", second: signal.Signals
) -> None:
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    time.sleep(1.3)  # those within a second are one request
    process.send_signal(second)
    out, _ = process.communicate(timeout=20)

    assert (process.returncode, out) == (128 + second, "")


@pytest.mark.parametrize("second", [signal.SIGXCPU, signal.SIGTERM])
def test_what_follows_a_batch_systems_warning_does_not_cut_off_what_is_put_in_order(
    process: "subprocess.Popen[str]", second: signal.Signals
) -> None:
    process.send_signal(signal.SIGXCPU)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    time.sleep(1.3)
    process.send_signal(second)
    out, _ = process.communicate("done\n", timeout=20)

    assert (process.returncode, out) == (0, "in order\n")


def test_under_nohup_a_closing_terminal_is_nothing_to_stop_for() -> None:
    process = start("nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate("done\n", timeout=20)

    assert (process.returncode, out) == (0, "asked\nin order\n")


IN_A_NOTEBOOK = """
import os, signal, sys, time
from relic_rl.stop import SAME_REQUEST_SECONDS, StopRequest, native_code, whole_process
from contextlib import nullcontext

with whole_process() if sys.argv[1] == "command line" else nullcontext():
    with StopRequest().listening() as stop:
        try:
            with stop.nothing_to_lose(), native_code():
                os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            print("early", flush=True)
        time.sleep(SAME_REQUEST_SECONDS + 0.1)
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            print("at once", flush=True)
print("alive", flush=True)
"""


@pytest.mark.parametrize(
    ("where", "status", "said"),
    [("notebook", 0, "early\nat once\nalive\n"), ("command line", -signal.SIGINT, "")],
)
def test_only_the_command_line_ends_the_process_that_it_is_in(
    where: str, status: int, said: str
) -> None:
    command = [sys.executable, "-c", IN_A_NOTEBOOK, where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (status, said)


@pytest.mark.parametrize(
    ("out", "err"),
    [("terminal", "nowhere"), ("nowhere", "terminal")],  # the results, or the status, redirected
)
def test_who_leaves_at_once_gives_the_terminal_its_cursor_back(out: str, err: str) -> None:
    reader, writer = pty.openpty()
    streams = {"terminal": writer, "nowhere": subprocess.DEVNULL}
    command = [sys.executable, "-c", "from relic_rl.machine import process; process.leave(3)"]
    status = subprocess.run(
        command, stdout=streams[out], stderr=streams[err], check=False
    ).returncode
    os.close(writer)

    assert (status, os.read(reader, 100)) == (3, b"\x1b[?25h")
    os.close(reader)
