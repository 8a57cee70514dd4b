"""Evaluation: full episodes, unclipped, nearly greedy, under the run's protocol.

Each lane plays the same number of episodes: taking the first to finish of many would favour short
ones.
"""

from collections.abc import Callable
from contextlib import closing
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.agent import R2D2Agent
from agents.exploration import epsilon_greedy
from agents.interface import PolicyInput, RecurrentState
from agents.policy import Policy
from envs.interface import Frames, StepResult, VectorEnv
from relic_rl import build
from relic_rl.config import Config
from relic_rl.runtime.watchdog import Watchdog
from relic_rl.stop import StopRequest

MAX_LANES = 16


def evaluation_lanes(episodes: int) -> int:
    """The largest number of lanes, at most 16, that divides the episodes evenly."""
    return max(n for n in range(1, MAX_LANES + 1) if episodes % n == 0)


class Player:
    """A policy at play: keeps the stacks, the state and the previous step of every lane.

    Args:
      policy: acts.
      frames: uint8[N, H, W], the first of every lane's episode.
      frame_stack: S.
      epsilon: probability of a random action.
      device: where the policy computes.
      seed: of the random actions.

    Attributes:
      policy: as given.
      seen: what the next action is chosen from.
    """

    def __init__(
        self,
        policy: Policy,
        frames: Frames,
        *,
        frame_stack: int,
        epsilon: float,
        device: torch.device,
        seed: int,
    ) -> None:
        lanes, height, width = frames.shape
        self.policy = policy
        self._device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._epsilons = torch.full((lanes,), epsilon, device=device)
        self._stacks = np.zeros((lanes, height, width, frame_stack), np.uint8)
        self._stacks[..., -1] = frames
        self._previous_actions = np.full(lanes, -1, np.int64)
        self._previous_rewards = np.zeros(lanes, np.float32)
        self._state = policy.initial_state(lanes)

    @property
    def seen(self) -> PolicyInput:
        """See the class."""
        stacks = torch.from_numpy(self._stacks).permute(0, 3, 1, 2)
        return PolicyInput(
            stacks.to(self._device),
            torch.from_numpy(self._previous_actions).to(self._device),
            torch.from_numpy(self._previous_rewards).to(self._device),
            self._state,
        )

    def act(self) -> tuple[NDArray[np.int64], Tensor]:
        """The next action of every lane, int64[N], and the Q-values, float32[N, A], rescaled."""
        q, self._state = self.policy.q_values(self.seen)
        return epsilon_greedy(q, self._epsilons, self._generator).cpu().numpy(), q

    def observe(self, actions: NDArray[np.int64], result: StepResult) -> None:
        """Takes in what the actions led to."""
        ended = result.terminated | result.truncated
        self._stacks[..., :-1] = self._stacks[..., 1:]
        self._stacks[ended, :, :, :-1] = 0
        self._stacks[..., -1] = result.frames
        self._previous_actions = np.where(ended, -1, actions)
        self._previous_rewards = np.where(ended, np.float32(0), result.rewards)
        fresh = self.policy.initial_state(len(ended))
        is_over = torch.from_numpy(ended).to(self._device)
        self._state = RecurrentState.where(is_over, fresh, self._state)


def evaluate_agent(
    agent: R2D2Agent,
    config: Config,
    game: str,
    *,
    seed: int,
    episodes: int,
    stop: StopRequest,
) -> list[float]:
    """Scores of full episodes with an agent's `evaluation_policy`; none if stopped."""
    env = build.make_evaluation_env(
        config, game, lanes=evaluation_lanes(episodes), seed=seed, updates=agent.updates
    )
    try:
        start = partial(make_player, agent, config, seed=seed)
        return play_episodes(env, start, episodes=episodes, stop=stop)
    finally:
        env.close()


def make_player(agent: R2D2Agent, config: Config, frames: Frames, *, seed: int) -> Player:
    """An agent at play as it is judged: scored or filmed, the same `seed` gives the same actions.

    Args:
      agent: plays with its `evaluation_policy`.
      config: the run's.
      frames: uint8[N, H, W], the first of every lane's episode.
      seed: of the evaluation.
    """
    return Player(
        agent.evaluation_policy(),
        frames,
        frame_stack=config.network.frame_stack,
        epsilon=config.evaluation.epsilon,
        device=agent.device,
        seed=build.named_seed(seed, "evaluation actions"),
    )


def play_episodes(
    env: VectorEnv, start: Callable[[Frames], Player], *, episodes: int, stop: StopRequest
) -> list[float]:
    """Scores of full episodes, in order of lane and then of time; none if stopped before the end.

    Args:
      env: freshly made; its lanes divide the episodes.
      start: the first frames of every lane, uint8[N, H, W], to who plays on from them.
      episodes: how many.
      stop: looked at before each step.

    Raises:
      ValueError: the episodes do not divide by the lanes.
    """
    if episodes % env.lanes:
        raise ValueError(f"episodes is {episodes}, must be a multiple of {env.lanes} lanes")
    wanted = episodes // env.lanes
    scores: list[list[float]] = [[] for _ in range(env.lanes)]
    with closing(Watchdog()) as watchdog:
        with watchdog.watching("the start of the evaluation's emulators"):
            frames = env.reset()
        player = start(frames)
        while min(map(len, scores)) < wanted:
            if stop.requested:
                return []
            actions, _ = player.act()
            with watchdog.watching("a step of the evaluation's emulators"):
                result = env.step(actions)
            for record in result.episodes:
                scores[record.lane].append(record.score)
            player.observe(actions, result)
    return [score for lane in scores for score in lane[:wanted]]
