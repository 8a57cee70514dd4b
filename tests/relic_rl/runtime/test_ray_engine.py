"""The ray engine on a local Ray, one session for all; long fault runs: test_ray_faults."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from relic_rl import build
from relic_rl import config as configuration
from relic_rl.cli import main
from relic_rl.machine.versions import difference, fingerprint, source_digest
from relic_rl.replay.segment import Segment
from relic_rl.runtime import ray_cluster
from relic_rl.runtime.actor import Actor
from relic_rl.runtime.ray_cluster import Cluster, ClusterError
from relic_rl.runtime.ray_engine import RayEngine, StalledError
from relic_rl.runtime.stopwatch import Stopwatch

GAME = "toy_memory"


pytestmark = pytest.mark.xdist_group("ray")  # one Ray for all of them


@pytest.fixture
def give_place(local_ray: Cluster) -> Iterator[Callable[[], None]]:
    """A cluster whose CPUs are all taken, until this is called."""

    class Taker:
        def has_begun(self) -> None:
            pass

    taker = local_ray.ray.remote(num_cpus=2)(Taker).remote()
    local_ray.ray.get(taker.has_begun.remote())
    yield lambda: local_ray.ray.kill(taker)
    local_ray.ray.kill(taker)


@pytest.fixture
def engine(local_ray: Cluster) -> Iterator[RayEngine]:
    config = configuration.resolve("smoke", {"run.engine": "ray"}).config
    spec = build.env_spec(config, GAME)
    agent = build.make_agent(config, spec, seed=0, device=torch.device("cpu"))
    engine = build.make_engine(config, GAME, agent, seed=0, incarnation=0, stopwatch=Stopwatch())
    assert isinstance(engine, RayEngine)
    yield engine
    engine.close()


def collect_segments(engine: RayEngine, incarnation: int) -> list[Segment]:
    """All that comes in until segments of that incarnation do."""
    segments: list[Segment] = []
    until = time.monotonic() + 120
    while not segments or segments[-1].name.incarnation != incarnation:
        assert time.monotonic() < until, f"no segment of incarnation {incarnation}"
        segments += engine.collect().segments
    return segments


def collect_while(engine: RayEngine, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while condition():
        assert time.monotonic() < until, "it stays so"
        engine.collect()


def limit_patience(patch: pytest.MonkeyPatch, seconds: float) -> None:
    patch.setattr("relic_rl.runtime.ray_engine.STALL_SECONDS", seconds)
    patch.setattr("relic_rl.runtime.ray_engine._CHECK_SECONDS", 0.0)


def test_a_killed_actor_is_started_anew_under_names_of_its_own(engine: RayEngine) -> None:
    first = collect_segments(engine, incarnation=0)
    place = engine._seats[0].place
    assert place is not None

    os.kill(place.pid, signal.SIGKILL)
    second = collect_segments(engine, incarnation=1)

    assert engine.metrics()["actor_restarts"] == 1
    assert engine.state() == {"incarnations": [1]}  # for a resume to begin above
    names = [segment.name for segment in first + second]
    assert len(set(names)) == len(names)
    begun = [s for s in second if s.name.incarnation == 1 and s.name.episode == 0]
    assert {s.name.lane for s in begun} == {0, 1, 2, 3}
    assert engine._seats[0].place not in (place, None)


def test_an_actor_that_hangs_is_ended_and_started_anew(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect_segments(engine, incarnation=0)
    place = engine._seats[0].place
    assert place is not None

    os.kill(place.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as impatience:  # the next one may take long to begin
            limit_patience(impatience, 2.0)
            collect_while(engine, lambda: engine._seats[0].incarnation == 0)
        collect_segments(engine, incarnation=1)
    finally:
        if psutil.pid_exists(place.pid):  # not even Ray ends a process that is held
            os.kill(place.pid, signal.SIGKILL)

    assert engine.metrics()["actor_restarts"] == 1


@pytest.mark.slow
def test_an_actor_that_hangs_as_it_begins_is_ended_and_started_anew(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_actor = engine._make_actor

    def hang_at_first(number: int, incarnation: int, stopwatch: Stopwatch) -> Actor:
        if incarnation == 0:
            time.sleep(600)
        return make_actor(number, incarnation, stopwatch)

    engine._make_actor = hang_at_first
    with monkeypatch.context() as impatience:
        limit_patience(impatience, 2.0)
        collect_while(engine, lambda: engine._seats[0].incarnation == 0)
    collect_segments(engine, incarnation=1)

    assert engine.metrics()["actor_restarts"] == 1


@pytest.mark.slow
def test_the_wait_for_a_place_does_not_count_as_hanging(
    give_place: Callable[[], None], engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_is_given_at = time.monotonic() + 6.0
    collect_while(engine, lambda: time.monotonic() < place_is_given_at)
    give_place()
    collect_while(engine, lambda: engine._seats[0].place is None)
    limit_patience(monkeypatch, 5.0)
    env_steps = engine._env_steps
    collect_while(engine, lambda: engine._env_steps == env_steps)

    assert engine.metrics()["actor_restarts"] == 0


def test_a_cluster_without_a_place_ends_the_run_and_says_so(
    give_place: Callable[[], None], engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relic_rl.runtime.ray_engine.START_SECONDS", 2.0)
    with pytest.raises(StalledError, match="none of 1 actors has started in 2 s"):
        collect_while(engine, lambda: True)


@pytest.mark.slow
def test_actors_that_bring_no_step_end_the_run_though_they_have_a_place(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect_segments(engine, incarnation=0)
    place = engine._seats[0].place
    assert place is not None
    monkeypatch.setattr("relic_rl.runtime.ray_engine.START_SECONDS", 2.0)
    os.kill(place.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StalledError, match="no step came in 2 s, 1 of 1 actors have a place"):
            collect_while(engine, lambda: True)
    finally:
        os.kill(place.pid, signal.SIGKILL)


def test_a_resumed_run_goes_on_counting_its_steps_and_asks_for_no_more_rounds_than_are_taken(
    engine: RayEngine,
) -> None:
    engine.load_state({}, env_steps=400)
    segments = collect_segments(engine, incarnation=0)

    assert all(segment.created_env_steps > 400 for segment in segments)
    for _ in range(20):
        engine.collect()
        assert all(len(seat.rounds) <= 2 for seat in engine._seats)


def test_a_node_of_another_version_is_refused_in_one_line(engine: RayEngine) -> None:
    engine._fingerprint = engine._fingerprint | {"torch": "0.1"}

    with pytest.raises(ClusterError) as refusal:
        collect_segments(engine, incarnation=0)

    assert str(refusal.value).startswith("a node of the cluster does not fit this run: torch is ")
    assert str(refusal.value).endswith(" there, 0.1 here")


def test_a_local_ray_is_reached_from_this_machine_only(local_ray: Cluster) -> None:
    names, addresses = set(), set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # workers come and go
            names.add(process.name().lower())
            listening = [
                one.laddr.ip
                for one in process.net_connections(kind="inet")
                if one.status == psutil.CONN_LISTEN
            ]
            addresses |= {ip.removeprefix("::ffff:") for ip in listening}

    assert addresses == {"127.0.0.1"}
    assert "dashboard" not in names


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto"])
def test_an_absent_cluster_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    pytest.importorskip("ray")
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # as in a process of its own

    with pytest.raises(ClusterError, match=r"no Ray cluster answers at .*127\.0\.0\.1:1"):
        ray_cluster.join(address, cpus=1)


def test_the_fingerprint_tells_versions_sources_and_cartridge() -> None:
    found = fingerprint("Pong")

    assert found.keys() == {"relic-rl", "torch", "ale-py", "source of relic-rl", "ROM md5"}
    assert found["source of relic-rl"] == source_digest()
    assert difference(found, dict(found)) is None
    assert difference(found, found | {"ROM md5": "0"}) == (
        f"ROM md5 is 0 there, {found['ROM md5']} here"
    )
    assert difference(found, {}) == "; ".join(
        f"{name} is missing there, {value} here" for name, value in found.items()
    )


def test_without_the_extra_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not there
    run = f"{tmp_path}/run"

    status = main(["train", GAME, "--preset", "smoke", "--engine", "ray", "--run-dir", run])

    assert status == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("relic-rl: Ray is not installed: `pip install ")
    assert main(["sweep", f"{tmp_path}/s", "--backend", "ray", "--preset", "smoke"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("relic-rl: Ray is not installed: `pip install ")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`")
def test_modules_of_the_callers_folder_are_not_the_actors(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    for stranger in ("agents/__init__.py", "random.py"):
        (tmp_path / stranger).write_text("raise ImportError('a stranger')\n")
    command = [sys.executable, "-P", "-m", "relic_rl.cli", "train", GAME, "--preset", "smoke"]
    command += ["--engine", "ray", "--frames", "100", "--run-dir", "run", "--run.threads", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
