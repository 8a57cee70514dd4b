"""Experience of the real game, by an actor of random weights, for the parts to work on."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache

import torch

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl import config as configuration
from relic_rl.bench.ceilings import GAME
from relic_rl.config import Config
from relic_rl.machine import devices
from relic_rl.replay.segment import Segment
from relic_rl.runtime.actor import Actor
from relic_rl.runtime.batches import BatchesInTurn
from relic_rl.runtime.engine import Engine
from relic_rl.runtime.learner import Learner
from relic_rl.runtime.stopwatch import Stopwatch


def paper_config() -> Config:
    """The preset `paper`."""
    return configuration.resolve("paper", {}).config


@contextmanager
def random_actor(
    config: Config, device: torch.device, game: str = GAME, lanes: int | None = None
) -> Iterator[Actor]:
    """An actor of random weights on the real game."""
    lanes = lanes or config.actor.lanes
    config = replace(config, actor=replace(config.actor, lanes=lanes, actors=1))
    agent = build.make_agent(config, build.env_spec(config, game), seed=0, device=device)
    actor = build.make_actor(config, game, agent, 0, 0, Stopwatch(), seed=0, threads=0)
    with closing(actor):
        yield actor


@contextmanager
def random_engine(config: Config, device: torch.device) -> Iterator[tuple[Engine, R2D2Agent]]:
    """The engine that the configuration names, on the real game, and whose weights it acts with."""
    agent = build.make_agent(config, build.env_spec(config, GAME), seed=0, device=device)
    engine = build.make_engine(config, GAME, agent, seed=0, incarnation=0, stopwatch=Stopwatch())
    with closing(engine):
        yield engine, agent


def random_learner(config: Config, agent: R2D2Agent) -> Learner:
    """A learner of the agent, in turn, on 4,000 steps of the real game."""
    replay = build.make_replay(config, seed=0)
    for segment in real_segments(config, steps=4_000):
        replay.insert(segment)
    batches = BatchesInTurn(replay, config.learner.batch_sequences, agent.device)
    return Learner(agent=agent, replay=replay, batches=batches, stopwatch=Stopwatch())


def real_segments(
    config: Config, steps: int, game: str = GAME, lanes: int | None = None
) -> list[Segment]:
    """Segments of at least so many steps, played by lanes on the whole ladder of epsilons."""
    config, device = devices.without_gpu_options(config), torch.device("cpu")
    segments: list[Segment] = []
    with random_actor(config, device, game, lanes or 32) as actor:
        taken = 0
        while taken < steps or not segments:
            collected = actor.step()
            taken += collected.steps
            segments += collected.segments
    return segments


@cache
def paper_segments() -> tuple[Segment, ...]:
    """Some 8,000 steps at the paper's sizes. Its network acts slowly, so the parts share them."""
    return tuple(real_segments(paper_config(), steps=8_000))
