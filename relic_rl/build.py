"""Builds the parts of a run from its configuration."""

import zlib
from contextlib import closing
from functools import partial

import numpy as np
import torch

from agents.agent import R2D2Agent
from agents.exploration import epsilon_ladder
from agents.interface import EnvShape
from envs.atari import RESEED_STEPS
from envs.interface import EnvSpec, VectorEnv
from envs.registry import Wanted, find_environment
from relic_rl.config import Config
from relic_rl.machine import devices
from relic_rl.machine.capacity import cores
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.runtime.actor import Actor
from relic_rl.runtime.batches import Batches, BatchesAhead, BatchesInTurn
from relic_rl.runtime.engine import Engine
from relic_rl.runtime.engines import ENGINES, Crew
from relic_rl.runtime.player import Player
from relic_rl.runtime.recorder import Recorder
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.stop import native_code


def named_seed(seed: int, name: str) -> int:
    """An independent 63-bit seed for each named generator of a run."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def make_env(
    config: Config,
    game: str,
    *,
    lanes: int,
    seed: int,
    threads: int = 0,
    reseed_steps: int = RESEED_STEPS,
) -> VectorEnv:
    """The game's vector environment, as the run's options have it.

    `env.threads` beats `threads`, which are as many as there are cores if it is 0.
    """
    threads = config.env.threads or threads or min(cores(), lanes)
    return find_environment(game).make(config.env, Wanted(lanes, seed, threads, reseed_steps))


def env_spec(config: Config, game: str) -> EnvSpec:
    """What the game is, as the run's options have it.

    Raises:
      RomError: its ROM is missing or damaged.
    """
    with closing(make_env(config, game, lanes=1, seed=0)) as env:
        return env.spec


def make_agent(config: Config, spec: EnvSpec, *, seed: int, device: torch.device) -> R2D2Agent:
    """The agent for an environment's frames and actions."""
    return R2D2Agent(
        EnvShape(spec.actions, spec.frame_height, spec.frame_width),
        config.network,
        config.learner,
        config.representation,
        priority_mix=config.replay.priority_mix,
        device=device,
        seed=named_seed(seed, "agent"),
    )


def make_epsilons(config: Config) -> torch.Tensor:
    """Returns float32[lanes]: each lane's rate of exploration, over all the run's actors."""
    actor = config.actor
    return epsilon_ladder(actor.lanes, actor.epsilon_base, actor.epsilon_exponent)


def make_replay(config: Config, *, seed: int) -> ReplayBuffer:
    """An empty replay."""
    return ReplayBuffer(
        config.replay,
        config.learner,
        frame_stack=config.network.frame_stack,
        rng=np.random.Generator(np.random.PCG64(named_seed(seed, "replay"))),
    )


def make_batches(config: Config, replay: ReplayBuffer, device: torch.device) -> Batches:
    """What the learner takes its batches from."""
    make = BatchesAhead if ENGINES[config.run.engine].samples_ahead else BatchesInTurn
    return make(replay, config.learner.batch_sequences, device)


def make_engine(
    config: Config,
    game: str,
    agent: R2D2Agent,
    *,
    seed: int,
    incarnation: int,
    stopwatch: Stopwatch,
) -> Engine:
    """The engine that `run.engine` names.

    Raises:
      ClusterError: there is no Ray, or no cluster.
    """
    crew = Crew(
        actors=config.actor,
        beside_learner=partial(
            make_actor,
            config,
            game,
            agent,
            seed=seed,
            threads=max(_emulators_cores(agent) // config.actor.actors, 1),
        ),
        alone=partial(
            make_actor, devices.without_gpu_options(config), game, None, seed=seed, threads=1
        ),
        game=game,
        segment_steps=config.learner.segment_steps,
        incarnation=incarnation,
        ray_address=config.run.ray_address,
        stopwatch=stopwatch,
    )
    return ENGINES[config.run.engine].make(crew)


def _emulators_cores(agent: R2D2Agent) -> int:
    """Cores for emulators beside the learner; the threads that ask a GPU for work need a fifth."""
    return cores() - (max(1, cores() // 5) if agent.device.type == "cuda" else 0)


def make_actor(
    config: Config,
    game: str,
    agent: R2D2Agent | None,
    number: int,
    incarnation: int,
    stopwatch: Stopwatch,
    *,
    seed: int,
    threads: int,
) -> Actor:
    """One actor with its lanes.

    Args:
      config: the run's.
      game: a game's or a toy's name.
      agent: whose policy it acts with; None: one of its own on the CPU, for parameters to come.
      number: of the actor among the run's; its lanes begin at so many times their number.
      incarnation: how often it was started before.
      stopwatch: of its thread.
      seed: the run's; the first actor uses it, until a resume starts new episodes.
      threads: of its emulators, unless the configuration says.
    """
    lanes = config.actor.lanes_per_actor
    is_first = number == incarnation == 0
    env_seed = seed if is_first else named_seed(seed, f"{number} {incarnation}")
    with native_code():  # to load 256 emulators takes a minute
        env = make_env(config, game, lanes=lanes, seed=env_seed, threads=threads)
        frames = env.reset()
    agent = agent or make_agent(config, env.spec, seed=seed, device=torch.device("cpu"))
    first = number * lanes
    player = Player(
        agent.policy(),
        frames,
        frame_stack=config.network.frame_stack,
        epsilons=make_epsilons(config)[first : first + lanes],
        device=agent.device,
        seed=named_seed(seed, f"exploration {number} {incarnation}"),
        cuda_graph=config.actor.cuda_graph,
    )
    recorder = Recorder(
        frames, config.network, config.learner, actor=number, incarnation=incarnation
    )
    return Actor(
        env,
        player,
        recorder,
        first_lane=first,
        run_lanes=config.actor.lanes,
        stopwatch=stopwatch,
    )
