"""What is counted on the simulated device: an agent and an actor as the presets have them."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl.config import resolve
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.runtime.actor import Actor
from relic_rl.runtime.stopwatch import Stopwatch


@pytest.fixture
def recorded() -> Callable[[], AbstractContextManager[Any]]:
    """Counts what is asked of the device."""
    if os.environ.get("RELIC_RL_TEST_CUDA") != "simulated":
        pytest.skip("counts on the simulated device: RELIC_RL_TEST_CUDA=simulated")
    import simulated_cuda

    found: Callable[[], AbstractContextManager[Any]] = simulated_cuda.recorded
    return found


@dataclass
class Setting:
    """Parts of a run on the device, with a replay that can be sampled."""

    agent: R2D2Agent
    actor: Actor
    replay: ReplayBuffer


@pytest.fixture
def make_setting() -> Iterator[Callable[..., Setting]]:
    """Of a preset, with tiny networks: no count depends on a width."""
    actors = []

    def make(preset: str, **overrides: str) -> Setting:
        given = {name.replace("__", "."): value for name, value in overrides.items()}
        config = resolve(preset, {"learner.diagnostics_every_updates": "0"} | given).config
        tiny = replace(config.network, channels=(4, 8, 8), features=16, lstm=16, hidden=16)
        config = replace(
            config,
            network=tiny,
            actor=replace(config.actor, lanes=8, actors=1),
            learner=replace(config.learner, batch_sequences=4),
        )
        spec = build.env_spec(config, "Breakout")
        agent = build.make_agent(config, spec, seed=0, device=torch.device("cuda"))
        actor = build.make_actor(
            config,
            "Breakout",
            agent,
            0,
            0,
            Stopwatch(),
            seed=0,
            threads=1,
        )
        actors.append(actor)
        replay = build.make_replay(config, seed=0)
        while len(replay) < 6:
            for segment in actor.step().segments:
                replay.insert(segment)
        return Setting(agent, actor, replay)

    yield make
    for actor in actors:
        actor.close()
