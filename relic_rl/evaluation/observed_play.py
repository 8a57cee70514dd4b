"""An agent at play, observed: what was seen, what was made of it, and what the game had in memory.

The emulators' memory is read beside the lanes, step by step, and belongs to the frames that are
acted on. A fifth of the actions are random: greedy episodes would be alike, and what is learned on
one would be known of the next.
"""

import hashlib
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from agents.policy import Policy
from envs.interface import Ram, VectorEnv
from relic_rl import build
from relic_rl.errors import UserError
from relic_rl.evaluation.evaluate import make_player
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.runtime.player import Decision, Player
from relic_rl.runtime.watchdog import Watchdog
from relic_rl.stop import StopRequest

LANES = 16
EPSILON = 0.2
"""Probability of a random action. [Anand et al., 2019, of trained agents]"""
PIXEL_BLOCK = 2
"""Pixels a side that are averaged into one feature: probes of 7,056 are slow on a laptop."""


class ObservedPlay(NamedTuple):
    """N steps, in order of time and then of lane."""

    memory: Tensor
    """uint8[N, bytes]: the games' memory."""
    episodes: NDArray[np.int64]
    """int64[N]: which one a step is of."""
    digests: NDArray[np.uint64]
    """uint64[N]: of equal stacks equal."""
    representations: dict[str, Tensor]
    """float32[N, features] by name: `encoder`, `lstm` (hidden and cell state after the step; not
    of a feed-forward network), `random_encoder`, `pixels` (of the newest frame)."""
    sampled: Tensor
    """int64[M]: steps whose stacks are kept: one in each step of all lanes, and no stack twice."""
    stacks: Tensor
    """uint8[M, S, H, W]"""


def observe_play(
    trained: TrainedAgent,
    control: Policy,
    *,
    seed: int,
    steps: int,
    stop: StopRequest,
    tell: Callable[[int], None],
) -> ObservedPlay | None:
    """Plays in lanes of fresh episodes; None if stopped.

    Args:
      trained: plays with its `evaluation_policy`, but for the random actions.
      control: whose features are kept as `random_encoder`.
      seed: of the episodes.
      steps: over all lanes, rounded up to whole steps of all.
      stop: looked at before each step.
      tell: how many steps are done.

    Raises:
      UserError: the emulators beside the lanes went another way.
    """
    agent, config = trained.agent, trained.config
    episodes = build.named_seed(seed, f"observed play {agent.updates}")
    env = build.make_env(config, trained.spec.name, lanes=LANES, seed=episodes, reseed_steps=0)
    notes = _Notes(control, recurrent=config.network.recurrent)
    with closing(env), closing(Watchdog()) as watchdog:
        with watchdog.watching("the start of the probe's emulators"):
            frames = env.reset()
        player = make_player(trained, frames, seed=seed, epsilon=EPSILON)
        ram = env.ram()
        for done in range(0, steps, LANES):
            if stop.requested:
                return None
            tell(done)
            _step(env, ram, player, notes, watchdog)
    return notes.bound()


def _step(env: VectorEnv, ram: Ram, player: Player, notes: "_Notes", watchdog: Watchdog) -> None:
    decision, memory = player.act(), ram.read()
    notes.take(decision, memory, player)
    with watchdog.watching("a step of the probe's emulators"):
        result = env.step(decision.actions)
    notes.ended(result.terminated | result.truncated)
    try:
        ram.follow(decision.actions, result)
    except RuntimeError as error:
        raise UserError(f"{error}: please report the game, the seed and ale-py's version") from None
    player.observe(decision.actions, result)


class _Notes:
    """What is kept of each step of all lanes."""

    def __init__(self, control: Policy, *, recurrent: bool) -> None:
        self._control = control
        self._recurrent = recurrent
        self._episode = np.arange(LANES)
        self._memory: list[Tensor] = []
        self._episodes: list[NDArray[np.int64]] = []
        self._digests: list[int] = []
        self._representations: dict[str, list[Tensor]] = {}
        self._stacks: dict[int, tuple[int, Tensor]] = {}  # step and stack by digest

    def take(self, decision: Decision, memory: NDArray[np.uint8], player: Player) -> None:
        """Before the step is taken: what it was decided on."""
        stacks, first = decision.seen.stacks, len(self._digests)
        self._memory.append(torch.from_numpy(memory))
        self._episodes.append(self._episode.copy())
        self._digests += [_digest(stack) for stack in stacks]
        lane = len(self._memory) % LANES
        self._stacks.setdefault(self._digests[first + lane], (first + lane, stacks[lane].clone()))

        there = stacks.to(player.device)
        found = {"encoder": player.policy.features(there).cpu()}
        if self._recurrent:
            found["lstm"] = torch.from_numpy(np.concatenate(decision.after, axis=1))
        found["random_encoder"] = self._control.features(there).cpu()
        found["pixels"] = F.avg_pool2d(stacks[:, -1:].float(), PIXEL_BLOCK).flatten(1)
        for name, features in found.items():
            self._representations.setdefault(name, []).append(features)

    def ended(self, lanes: NDArray[np.bool_]) -> None:
        """Other episodes have begun there: bool[N]."""
        self._episode[lanes] += LANES

    def bound(self) -> ObservedPlay:
        return ObservedPlay(
            memory=torch.cat(self._memory),
            episodes=np.concatenate(self._episodes),
            digests=np.array(self._digests, np.uint64),
            representations={
                name: torch.cat(features) for name, features in self._representations.items()
            },
            sampled=torch.tensor([step for step, _ in self._stacks.values()]),
            stacks=torch.stack([stack for _, stack in self._stacks.values()]),
        )


def _digest(stack: Tensor) -> int:
    content = hashlib.blake2b(stack.numpy().tobytes(), digest_size=8).digest()
    return int.from_bytes(content, "little")
