"""The ray engine on a cluster of two nodes, one of which holds only actors, and what it survives.

The nodes are started as a user starts them: docs/cluster.md. `pytest -m slow -s` shows the figures.
"""

import importlib.util
import json
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from relic_rl.records.checkpoint import CheckpointStore
from relic_rl.records.run_status import read_status
from relic_rl.runtime.ray_cluster import LOCAL_ENVIRONMENT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),  # one counts all bytes of the loopback device
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"
    ),
]

COMMAND = [sys.executable, "-m", "relic_rl.cli"]
START = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
SMALL = ["--object-store-memory", str(120 << 20), "--node-ip-address", "127.0.0.1"]


@dataclass
class Cluster:
    """A head without a place for actors."""

    address: str
    client_address: str
    """For those who are no node of it."""
    node_command: list[str]
    """Starts the node that has two."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    log = tmp_path_factory.mktemp("ray") / "head.log"
    # The head takes a port that is free, and says which one once it can be joined.
    options = ["--head", "--port", "0", "--num-cpus", "0", "--include-dashboard", "false"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        client_port = str(free.getsockname()[1])
    options += ["--ray-client-server-port", client_port]
    with pytest.MonkeyPatch.context() as environment:
        for name in LOCAL_ENVIRONMENT:  # of a local Ray of this process, which nobody else can join
            environment.delenv(name, raising=False)
        environment.setenv("RAY_AUTH_MODE", "token")
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        environment.setenv("RAY_worker_niceness", "0")  # the machine may have other work
        with started([*START, *SMALL, *options], log) as head:
            wait_until(lambda: address_in(log) or head.poll() is not None, 120)
            address = address_in(log)
            assert address, log.read_text()
            yield Cluster(
                address,
                f"ray://127.0.0.1:{client_port}",
                [*START, *SMALL, "--address", address, "--num-cpus", "2"],
            )


@pytest.fixture
def node(cluster: Cluster, tmp_path: Path) -> Iterator[psutil.Process]:
    """The other node, alive."""
    with started(cluster.node_command, tmp_path / "node.log") as node:
        yield psutil.Process(node.pid)


@contextmanager
def started(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A node, until the block ends."""
    with log.open("wb") as output:
        node = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield node
    finally:
        if node.poll() is None:
            process = psutil.Process(node.pid)
            family = [*process.children(recursive=True), process]
            process.terminate()
            psutil.wait_procs([process], timeout=30)
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            node.wait()


def address_in(log: Path) -> str | None:
    found = re.search(r"ray start --address='(.+)'", log.read_text())
    return found and found[1]


@contextmanager
def killed_after(arguments: list[str]) -> Iterator[None]:
    """A command that runs during the block, and is then killed."""
    driver = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        driver.kill()
        driver.wait()


def actors_of(node: psutil.Process) -> list[psutil.Process]:
    actors = []
    for process in node.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # workers come and go
            if process.name().startswith("ray::RemoteAct"):  # the kernel cuts it at 15 letters
                actors.append(process)
    return actors


def wait_until(condition: Callable[[], object], seconds: float) -> float:
    """Returns how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come true in time"
        time.sleep(0.1)
    return time.monotonic() - started


def test_a_run_survives_the_death_of_actors_and_nodes(cluster: Cluster, tmp_path: Path) -> None:
    script = Path(__file__).with_name("ray_chaos.py")
    node_command = " ".join(cluster.node_command)

    result = subprocess.run(
        [sys.executable, str(script), cluster.address, str(tmp_path), node_command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    found = json.loads(result.stdout.splitlines()[-1])
    assert found["error"] is None, found
    for kind, seconds in found.pop("recovery_seconds").items():
        p50, p95 = np.percentile(seconds, [50, 95])
        print(f"\nrecovery from {len(seconds)} {kind} kills: p50 {p50:.1f} s, p95 {p95:.1f} s")
    print(found)
    assert found["env_frames"] >= found["target_frames"]
    assert found["restarts"] >= 20 + 2 * 3
    assert found["incarnations"] > 20
    for fault in (
        *("acknowledged_twice", "stored_twice", "missing", "unknown", "torn"),
        "episodes_with_gaps",
    ):
        assert found[fault] == 0, fault


@pytest.mark.parametrize(("kind", "gone_seconds"), [("address", 30), ("client_address", 90)])
def test_the_command_trains_evaluates_and_resumes_even_after_its_own_death(
    kind: str, gone_seconds: int, cluster: Cluster, node: psutil.Process, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = ["--engine", "ray", "--actors", "2", "--ray-address", getattr(cluster, kind)]
    flags += ["--preset", "smoke", "--run.checkpoint_every_minutes", "0.05"]
    with killed_after(["train", "pong", "--run-dir", str(run), "--frames", "4000000", *flags]):
        wait_until(lambda: any(run.glob("checkpoints/0*")) and read_status(run).env_frames, 240)
        assert actors_of(node)
    gone = wait_until(lambda: not actors_of(node), gone_seconds)
    print(f"\nno actor is left {gone:.1f} s after the driver's death")
    before = read_status(run)
    resumed = subprocess.run(
        [*COMMAND, "resume", str(run), "--frames", str(before.env_frames + 20_000)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert resumed.returncode == 0, resumed.stderr
    assert "finished: mean score" in resumed.stdout
    after = read_status(run)
    assert after.finished
    assert after.env_frames >= before.env_frames + 20_000
    state = CheckpointStore(run).load(read_only=True).state
    assert state["incarnation"] == 1
    names = state["replay"]["names"]
    assert len(np.unique(names, axis=0)) == len(names)
    assert not actors_of(node)


def test_a_client_without_the_token_is_told_so_in_one_line(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    flags = ["--preset", "smoke", "--engine", "ray", "--ray-address", cluster.client_address]
    refused = subprocess.run(
        [*COMMAND, "train", "pong", "--run-dir", str(tmp_path / "run"), *flags],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "has this machine its token?" in refused.stderr


def test_actors_that_answered_while_the_driver_was_away_are_not_ended(
    cluster: Cluster, node: psutil.Process
) -> None:
    script = Path(__file__).with_name("ray_pause.py")

    result = subprocess.run(
        [sys.executable, str(script), cluster.address],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert float(result.stdout.splitlines()[-1]) == 0.0


def test_at_most_800_bytes_per_step_cross_the_border_of_a_node(
    cluster: Cluster, node: psutil.Process, tmp_path: Path
) -> None:
    """All that the loopback device carries, parameters, calls and heartbeats included.

    What others send meanwhile counts too, so that at most too much is counted.
    """
    run = tmp_path / "run"
    flags = ["--preset", "laptop", "--engine", "ray", "--actors", "2", "--lanes-per-actor", "8"]
    # Parameters change several times between two refreshes; more learning would only take longer.
    flags += ["--replay.min_steps", "1000", "--replay.replay_ratio", "0.5"]
    flags += ["--run.metrics_every_updates", "1", "--ray-address", cluster.address]

    def steps_and_bytes() -> tuple[int, int]:
        steps = read_status(run).env_frames // 4
        return steps, psutil.net_io_counters(pernic=True)["lo"].bytes_sent

    with killed_after(["train", "pong", "--run-dir", str(run), *flags]):
        wait_until(lambda: read_status(run).env_frames > 4 * 2_000, 240)
        first = steps_and_bytes()
        wait_until(lambda: steps_and_bytes()[0] > first[0] + 2 * 16 * 400, 240)  # two refreshes
        last = steps_and_bytes()
    per_step = (last[1] - first[1]) / (last[0] - first[0])
    print(f"\n{per_step:.0f} bytes per step over {last[0] - first[0]:,} steps")
    assert per_step <= 800
