"""A policy at play: keeps what it acts on, lane by lane, and explores.

Actors, evaluation, films and the benchmark all act by it. It records nothing.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.exploration import epsilon_greedy
from agents.graphs import Graphed
from agents.interface import PolicyInput, RecurrentState
from agents.policy import Policy
from envs.interface import Frames, StepResult
from relic_rl.runtime.transfers import Fetched, moved


class Decision(NamedTuple):
    """One step of all lanes, before the environment answers."""

    seen: PolicyInput
    """What the policy acted on, on the CPU: views that the next `Player.observe` overwrites."""
    q: NDArray[np.float32]
    """float32[N, A], in rescaled space."""
    actions: NDArray[np.int64]
    """int64[N]: greedy, or random at the lane's rate."""
    after: NDArray[np.float32]
    """float32[2, N, D]: hidden and cell state of the LSTM after the step."""


class Player:
    """Acts in N lanes.

    Args:
      policy: chooses.
      frames: uint8[N, H, W], the first of every lane's episode.
      frame_stack: S.
      epsilons: float32[N], each lane's probability of a random action.
      device: where the policy computes.
      seed: of the random actions.
      cuda_graph: whether a step is asked of the device, a GPU, as one piece.
    """

    def __init__(
        self,
        policy: Policy,
        frames: Frames,
        *,
        frame_stack: int,
        epsilons: Tensor,
        device: torch.device,
        seed: int,
        cuda_graph: bool = False,
    ) -> None:
        lanes, height, width = frames.shape
        self.policy = policy
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._epsilons = epsilons.to(device)
        self._stacks = np.zeros((lanes, frame_stack, height, width), np.uint8)
        self._stacks[:, -1] = frames
        self._previous_actions = np.full(lanes, -1, np.int64)
        self._previous_rewards = np.zeros(lanes, np.float32)
        state = [part.numpy(force=True) for part in policy.initial_state(lanes)]
        self._state = self._next_state = np.stack(state)  # hidden and cell: float32[2, N, D]
        self._step: Callable[[PolicyInput], Tensor] = self._stepped
        if cuda_graph:
            self._step = Graphed(self._stepped, self._generator, "an acting step")

    def act(self) -> Decision:
        """Chooses the next action of every lane, by one pass of the policy.

        All that it acts on goes to the device in one copy, all that comes of it back in another.
        """
        given = [self._stacks, self._previous_actions, self._previous_rewards, *self._state]
        found = Fetched(self._step(_policy_input(moved(given, self.device)))).numpy()
        D = self._state.shape[2]
        A = found.shape[1] - 1 - 2 * D
        q_values, chosen, hidden, cell = np.split(found, [A, A + 1, A + 1 + D], axis=1)
        self._next_state = np.stack([hidden, cell])
        seen = _policy_input([torch.from_numpy(array) for array in given])
        return Decision(seen, q_values, chosen[:, 0].astype(np.int64), self._next_state)

    def _stepped(self, seen: PolicyInput) -> Tensor:
        """Q-values, the actions chosen by them, and both states after: float32[N, A + 1 + 2 D]."""
        q, after = self.policy.q_values(seen)
        actions = epsilon_greedy(q, self._epsilons, self._generator)
        return torch.cat([q, actions[:, None].to(q.dtype), after.hidden, after.cell], dim=1)

    def observe(self, actions: NDArray[np.int64], result: StepResult) -> None:
        """Takes in what the actions led to; a lane whose episode ended forgets it."""
        for older, newer in pairwise(range(self._stacks.shape[1])):
            self._stacks[:, older] = self._stacks[:, newer]
        self._stacks[:, -1] = result.frames
        self._previous_actions[:], self._previous_rewards[:] = actions, result.rewards
        ended = result.terminated | result.truncated
        if ended.any():
            self._stacks[ended, :-1] = 0
            self._previous_actions[ended] = -1
            self._previous_rewards[ended] = 0.0
            self._next_state[:, ended] = 0.0
        self._state = self._next_state

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything between two steps but the policy's parameters: copies, by name."""
        return {
            "stacks": self._stacks.copy(),
            "previous_actions": self._previous_actions.copy(),
            "previous_rewards": self._previous_rewards.copy(),
            "hidden": self._state[0].copy(),
            "cell": self._state[1].copy(),
            "generator": self._generator.get_state().numpy(),
        }

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Takes over what `state` gave: of as many lanes, and of such frames."""
        self._stacks[:] = state["stacks"]
        self._previous_actions[:] = state["previous_actions"]
        self._previous_rewards[:] = state["previous_rewards"]
        self._state = np.stack([state["hidden"], state["cell"]])
        self._generator.set_state(torch.from_numpy(state["generator"]))


def _policy_input(parts: list[Tensor]) -> PolicyInput:
    stacks, previous_actions, previous_rewards, hidden, cell = parts
    return PolicyInput(stacks, previous_actions, previous_rewards, RecurrentState(hidden, cell))
