"""A run that goes on with another engine than it was on, or with the same: every way."""

import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.console import Console
from relic_rl.records.checkpoint import Checkpoint, CheckpointStore
from relic_rl.runtime.engine import resumed_incarnation
from relic_rl.runtime.engines import ENGINES
from relic_rl.runtime.ray_cluster import Cluster
from relic_rl.stop import StopRequest
from relic_rl.train import Training

pytestmark = pytest.mark.xdist_group("ray")  # one Ray for all of them

FRAMES = 800


def make_config(engine: str, frames: int) -> Config:
    # A Ray actor takes seconds to begin: one is enough here.
    actors = 1 if ENGINES[engine].needs_cluster else ENGINES[engine].max_actors or 2
    overrides = {
        "run.engine": engine,
        "run.frames": frames,
        "run.threads": 1,
        "replay.min_steps": 100,
        "actor.actors": actors,
    }
    return configuration.resolve("smoke", overrides).config


def train(folder: Path, engine: str, frames: int, checkpoint: Checkpoint | None = None) -> Training:
    """A session, up to a checkpoint at its end."""
    config, console = make_config(engine, frames), Console(stream=io.StringIO())
    training = Training(folder, config, "toy_memory", 0, console, checkpoint)
    try:
        training.train(StopRequest())
        training.save()
    finally:
        training.close()
    return training


@pytest.fixture(scope="module")
def first_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The folder of a run on an engine, trained once."""
    folders: dict[str, Path] = {}

    def session(engine: str) -> Path:
        if engine not in folders:
            folders[engine] = tmp_path_factory.mktemp(engine)
            train(folders[engine], engine, FRAMES)
        return folders[engine]

    return session


def every_change() -> list[Any]:
    """Of the changes to and from a cluster, which take long, one each is in the default tier."""
    clusters = {name for name, kind in ENGINES.items() if kind.needs_cluster}

    def marks(*change: str) -> Any:
        return pytest.mark.slow if clusters & {*change} and "threads" not in change else ()

    return [
        pytest.param(before, after, marks=marks(before, after))
        for before in ENGINES
        for after in ENGINES
    ]


@pytest.mark.parametrize(("before", "after"), every_change())
def test_a_run_goes_on_with_any_engine(
    request: pytest.FixtureRequest,
    first_session: Callable[[str], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    before: str,
    after: str,
) -> None:
    if ENGINES[before].needs_cluster or ENGINES[after].needs_cluster:
        request.getfixturevalue("local_ray")
    folder = shutil.copytree(first_session(before), tmp_path / "run")
    checkpoint = CheckpointStore(folder).load()
    old = checkpoint.state

    with caplog.at_level(logging.INFO):
        training = train(folder, after, 2 * FRAMES, checkpoint)

    assert training.progress.env_frames >= 2 * FRAMES
    assert training.progress.updates > old["progress"]["updates"] > 0
    new = training.replay.segments_since(len(old["replay"]["names"]))  # none is evicted yet
    assert len(new) > 20
    # The run's one counter goes on: ages of samples are told from it.
    assert all(s.created_env_steps > old["progress"]["env_steps"] for s in new)
    goes_on_exactly = before == after and ENGINES[after].resumes_exactly
    assert {s.name.incarnation for s in new} == {0 if goes_on_exactly else 1}
    assert ("resume=episode_restart" in caplog.text) == (not goes_on_exactly)
    names = training.replay.state()["names"]
    assert len(np.unique(names, axis=0)) == len(names)


def state_of(
    incarnation: int, in_replay: tuple[int, ...], engine: dict[str, Any]
) -> dict[str, Any]:
    """A checkpoint's state, as far as it tells of incarnations."""
    names = np.array([(0, number, 0, 0, 0) for number in in_replay], np.int64).reshape(-1, 5)
    return {"incarnation": incarnation, "replay": {"names": names}, "engine": engine}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (state_of(0, (), {}), 1),
        (state_of(2, (0, 1, 2), {}), 3),
        # An actor that died five times, and is among those that a resume in between had not.
        (state_of(1, (0, 5, 1), {"incarnations": [1, 1]}), 6),
        (state_of(1, (0, 1), {"incarnations": [1, 7]}), 8),  # nothing of it is left
        (state_of(1, (1, 4), {"actor": {}}), 5),
    ],
)
@pytest.mark.parametrize("engine", [n for n, kind in ENGINES.items() if not kind.resumes_exactly])
def test_actors_that_start_anew_are_above_every_incarnation_of_the_run(
    engine: str, state: dict[str, Any], expected: int
) -> None:
    assert resumed_incarnation(engine, state) == expected


def test_the_inline_engine_starts_anew_only_after_another_engine() -> None:
    assert resumed_incarnation("inline", state_of(3, (0, 3), {"actor": {}})) == 3
    assert resumed_incarnation("inline", state_of(3, (0, 5), {})) == 6


def test_a_resumed_run_begins_above_what_its_checkpoint_tells(
    first_session: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(first_session("threads"), tmp_path / "run")
    checkpoint = CheckpointStore(folder).load()
    checkpoint.state["engine"] = {"incarnations": [0, 5]}

    training = train(folder, "threads", FRAMES + 400, checkpoint)

    assert training.incarnation == 6
    assert CheckpointStore(folder).load().state["incarnation"] == 6
    assert set(training.replay.state()["names"][:, 1].tolist()) == {0, 6}


def test_a_refused_checkpoint_leaves_no_actor_in_the_cluster(
    local_ray: Cluster, first_session: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(first_session("threads"), tmp_path / "run")
    checkpoint = CheckpointStore(folder).load()
    del checkpoint.state["learner"]

    with pytest.raises(KeyError, match="learner") as refusal:
        train(folder, "ray", 2 * FRAMES, checkpoint)

    # As in a notebook, the error keeps what was made: nothing ends the actor by the way.
    refused = next(
        entry.locals["self"]
        for entry in refusal.traceback
        if isinstance(entry.locals.get("self"), Training)
    )
    (seat,) = refused.engine._seats
    with pytest.raises(local_ray.ray.exceptions.ActorDiedError):
        local_ray.ray.get(seat.handle.fingerprint.remote("toy_memory"), timeout=60)
