"""The threads engine beyond the contract of all engines (`test_engines.py`), on the toy game."""

import threading
import time
from collections.abc import Callable

import pytest
import torch

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.runtime.threads import Published, ThreadsEngine

GAME = "toy_memory"


def make_config(**changes: object) -> Config:
    overrides = {"run.engine": "threads", "actor.actors": 2, "replay.min_steps": 100}
    overrides |= {"run.threads": 1, **changes}
    return configuration.resolve("smoke", overrides).config


def make_agent(config: Config) -> R2D2Agent:
    spec = build.env_spec(config, GAME)
    return build.make_agent(config, spec, seed=0, device=torch.device("cpu"))


def make_engine(config: Config) -> ThreadsEngine:
    agent = make_agent(config)
    engine = build.make_engine(config, GAME, agent, seed=0, incarnation=0, stopwatch=Stopwatch())
    assert isinstance(engine, ThreadsEngine)
    return engine


def collect_for_ever(engine: ThreadsEngine) -> None:
    while True:
        engine.collect()


def steps_of(engine: ThreadsEngine) -> int:
    """How many steps its actors have taken, each of the lanes that are its own."""
    return sum(actor.env_steps // 4 for actor in engine._actors)


def actor_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("actor-")]


def test_its_metrics_tell_how_long_its_actors_acted_since_the_last_time() -> None:
    engine = make_engine(make_config())
    for _ in range(6):
        engine.collect()
    first = engine.metrics()
    again = engine.metrics()
    engine.close()

    assert first.keys() == {"environment_seconds", "inference_seconds", "recording_seconds"}
    assert all(seconds > 0 for seconds in first.values())
    assert sum(again.values()) < sum(first.values())


def test_actors_wait_when_nobody_collects(wait_until: Callable[..., None]) -> None:
    engine = make_engine(make_config())
    try:
        engine.collect()
        wait_until(lambda: steps_of(engine) >= 1 + 4)  # the queue fills
        time.sleep(0.2)
        taken = steps_of(engine)
    finally:
        engine.close()

    # The queue holds 2 steps an actor; each actor may have one more in its hands.
    assert taken <= 1 + 4 + 2


def test_an_error_in_an_actor_ends_the_run_with_that_error():
    engine = make_engine(make_config())
    engine._actors[1]._env._started = False  # as an environment that was never reset

    with pytest.raises(RuntimeError, match="reset"):
        collect_for_ever(engine)
    engine.close()

    assert actor_threads() == []


def test_what_is_published_stays_as_it_was_while_the_learner_goes_on() -> None:
    agent = make_agent(make_config())
    published = Published(agent)
    before = {name: tensor.clone() for name, tensor in agent.online.state_dict().items()}

    with torch.no_grad():
        for parameter in agent.online.parameters():
            parameter.add_(1.0)

    found = published.on_this_stream()["online"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.items())
