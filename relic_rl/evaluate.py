"""Evaluation: full episodes, unclipped, nearly greedy, under the run's protocol.

Each lane plays the same number of episodes: taking the first to finish of many would favour short
ones.
"""

import numpy as np
import torch
from torch import Tensor

from agents.exploration import epsilon_greedy
from agents.interface import RecurrentState
from agents.policy import Policy
from envs.interface import VectorEnv
from relic_rl.stop import StopRequest

MAX_LANES = 16


def evaluation_lanes(episodes: int) -> int:
    """The largest number of lanes, at most 16, that divides the episodes evenly."""
    return max(n for n in range(1, MAX_LANES + 1) if episodes % n == 0)


def play_episodes(
    policy: Policy,
    env: VectorEnv,
    *,
    episodes: int,
    epsilon: float,
    frame_stack: int,
    device: torch.device,
    seed: int,
    stop: StopRequest,
) -> list[float]:
    """Scores of full episodes, in order of lane and then of time; none if stopped before the end.

    Args:
      policy: acts.
      env: freshly made; its lanes divide the episodes.
      episodes: how many.
      epsilon: probability of a random action.
      frame_stack: S.
      device: where the policy computes.
      seed: of the random actions.
      stop: looked at before each step.

    Raises:
      ValueError: the episodes do not divide by the lanes.
    """
    if episodes % env.lanes:
        raise ValueError(f"episodes is {episodes}, must be a multiple of {env.lanes} lanes")
    wanted = episodes // env.lanes
    generator = torch.Generator(device).manual_seed(seed)
    epsilons = torch.full((env.lanes,), epsilon, device=device)
    stacks = np.zeros((env.lanes, env.frame_height, env.frame_width, frame_stack), np.uint8)
    stacks[..., -1] = env.reset()
    previous_action = np.full(env.lanes, -1, np.int64)
    previous_reward = np.zeros(env.lanes, np.float32)
    state = policy.initial_state(env.lanes)
    scores: list[list[float]] = [[] for _ in range(env.lanes)]
    while min(map(len, scores)) < wanted:
        if stop.requested:
            return []
        q, state = policy.q_values(
            torch.from_numpy(stacks).permute(0, 3, 1, 2).to(device),
            torch.from_numpy(previous_action).to(device),
            torch.from_numpy(previous_reward).to(device),
            state,
        )
        actions = epsilon_greedy(q, epsilons, generator).cpu().numpy()
        result = env.step(actions)
        ended = result.terminated | result.truncated
        for record in result.episodes:
            scores[record.lane].append(record.score)
        stacks[..., :-1] = stacks[..., 1:]
        stacks[ended, :, :, :-1] = 0
        stacks[..., -1] = result.frames
        previous_action = np.where(ended, -1, actions)
        previous_reward = np.where(ended, np.float32(0), result.rewards)
        state = _reset(state, torch.from_numpy(ended).to(device))
    return [score for lane in scores for score in lane[:wanted]]


def _reset(state: RecurrentState, ended: Tensor) -> RecurrentState:
    zeros = RecurrentState(torch.zeros_like(state.hidden), torch.zeros_like(state.cell))
    return RecurrentState.where(ended, zeros, state)
