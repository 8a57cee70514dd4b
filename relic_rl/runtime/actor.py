"""The actor: steps its lanes, explores, and closes segments.

The same actor serves every engine. One forward pass serves all lanes; recording is one indexed
write for all lanes; only closing a segment is work per lane, once in `segment_steps` steps.

A closed segment waits until its lane has seen n more steps (or the episode's end), so that the
actor's own n-step TD errors, which give the segment its first priority, are complete; and a little
longer, because many are encoded faster together than one by one.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.exploration import epsilon_greedy
from agents.interface import PolicyInput, RecurrentState
from agents.policy import Policy
from agents.returns import n_step_double_q_targets
from envs.interface import EpisodeRecord, StepResult, VectorEnv
from relic_rl.errors import UserError
from relic_rl.replay.segment import Segment
from relic_rl.runtime.lane_runs import LaneRuns
from relic_rl.runtime.stopwatch import Stopwatch


class Collected(NamedTuple):
    """What one step of all lanes brought."""

    steps: int
    """Agent steps taken: one a lane."""
    segments: list[Segment]
    episodes: list[EpisodeRecord]


class NotFiniteError(UserError):
    """A reward or a value is no number: nothing made of it would be worth keeping."""


class Actor:
    """Acts in a vector environment with a policy.

    Args:
      env: the lanes.
      policy: acts; the learner's engine loads newer parameters into it.
      epsilons: float32[N], each lane's exploration rate.
      actor: this actor's number, part of each segment's name.
      incarnation: how often this actor has been started.
      first_lane: where its lanes begin among the run's, in what it reports of episodes.
      run_lanes: lanes of all actors together.
      segment_steps: K.
      n_steps: of the TD errors that give first priorities; at most K.
      frame_stack: S.
      discount: γ.
      rescaling_epsilon: ε of h.
      life_loss_ends_return: a lost life ends a run of segments as if terminated, so that nothing is
        bootstrapped over it; the policy's memory and its stack of frames go on with the episode.
      seed: of exploration.
      device: where the policy computes.
      stopwatch: times "environment", "inference" and "recording".
    """

    def __init__(
        self,
        *,
        env: VectorEnv,
        policy: Policy,
        epsilons: Tensor,
        actor: int,
        incarnation: int,
        first_lane: int,
        run_lanes: int,
        segment_steps: int,
        n_steps: int,
        frame_stack: int,
        discount: float,
        rescaling_epsilon: float,
        life_loss_ends_return: bool,
        seed: int,
        device: torch.device,
        stopwatch: Stopwatch,
    ) -> None:
        self.policy = policy
        self.env_steps = 0
        """The run's agent steps, as if all actors kept pace with this one; stamps its segments."""
        self._env = env
        self._epsilons = epsilons.to(device)
        self._first_lane = first_lane
        self._run_lanes = run_lanes
        self._name = {"actor": actor, "incarnation": incarnation}
        self._segment_steps = segment_steps
        self._n_steps = n_steps
        self._history = frame_stack - 1
        self._window = np.arange(frame_stack)
        self._discount = discount
        self._rescaling_epsilon = rescaling_epsilon
        self._life_loss_ends_return = life_loss_ends_return
        self._device = device
        self._stopwatch = stopwatch
        self._generator = torch.Generator(device).manual_seed(seed)
        self._lanes = np.arange(env.lanes)
        shape = (env.frame_height, env.frame_width)
        self._previous_action = np.full(env.lanes, -1, np.int64)
        self._previous_reward = np.zeros(env.lanes, np.float32)
        self._state = policy.initial_state(env.lanes)
        runs: dict[str, Any] = {
            "segment_steps": segment_steps,
            "history_frames": self._history,
            "frame_shape": shape,
            "state_size": self._state.hidden.shape[1],
        }
        self._current = LaneRuns.empty(env.lanes, **runs)
        self._waiting = LaneRuns.empty(env.lanes, **runs)
        self._current.frames[:, self._history] = env.reset()

    def step(self) -> Collected:
        """Takes one step in every lane.

        Raises:
          NotFiniteError: a Q-value or a reward is NaN or infinite.
        """
        with self._stopwatch.time("inference"):
            q, state = self._policy_step()
            actions = epsilon_greedy(q, self._epsilons, self._generator).cpu().numpy()
            q_values = q.cpu().numpy()
        self._expect_finite("Q-values", q_values)
        with self._stopwatch.time("recording"):
            self._record_before(actions, q_values)
        self._state = state
        with self._stopwatch.time("environment"):
            result = self._env.step(actions)
        self._expect_finite("reward", result.rewards)
        self.env_steps += self._run_lanes
        with self._stopwatch.time("recording"):
            segments = self._record_after(actions, result)
        episodes = [e._replace(lane=e.lane + self._first_lane) for e in result.episodes]
        return Collected(len(actions), segments, episodes)

    def _expect_finite(self, what: str, values: NDArray[np.float32]) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            lane = int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            raise NotFiniteError(
                f"{what} of lane {self._first_lane + lane} at agent step {self.env_steps}: "
                f"{values[lane]} is not finite, so the run stops; its last checkpoint is sound"
            )

    def _policy_step(self) -> tuple[Tensor, RecurrentState]:
        # A lane's frame stack lies in its run already: the frames up to the one of this step.
        runs = self._current
        stacks = runs.frames[self._lanes[:, None], runs.steps[:, None] + self._window]
        seen = PolicyInput(
            torch.from_numpy(stacks).to(self._device),
            torch.from_numpy(self._previous_action).to(self._device),
            torch.from_numpy(self._previous_reward).to(self._device),
            self._state,
        )
        return self.policy.q_values(seen)

    def _record_before(self, actions: NDArray[np.int64], q: NDArray[np.float32]) -> None:
        """What is known before the environment answers: where a run begins, action, Q."""
        runs, lanes, at = self._current, self._lanes, self._current.steps
        starting = lanes[at == 0]
        if len(starting):
            runs.recurrent_state[starting] = torch.stack(
                [self._state.hidden, self._state.cell], dim=1
            ).numpy(force=True)[starting]
            runs.previous_action[starting] = self._previous_action[starting]
            runs.previous_reward[starting] = self._previous_reward[starting]
        runs.actions[lanes, at] = actions
        runs.chosen_q[lanes, at] = q[lanes, actions]
        runs.greedy_q[lanes, at] = q.max(axis=1)

    def _record_after(self, actions: NDArray[np.int64], result: StepResult) -> list[Segment]:
        """Rewards, ends and frames; returns the segments that are complete now."""
        runs, lanes = self._current, self._lanes
        runs.rewards[lanes, runs.steps] = result.rewards
        runs.steps += 1
        ended = result.terminated | result.truncated
        returned = result.life_lost if self._life_loss_ends_return else np.zeros_like(ended)
        runs.terminated[:], runs.truncated[:] = result.terminated | returned, result.truncated
        over = lanes[ended]
        newest = self._history + runs.steps
        runs.frames[lanes, newest] = result.frames
        runs.frames[over, newest[over]] = result.final_frames[over]

        segments = self._close()
        self._previous_action[:], self._previous_reward[:] = actions, result.rewards
        if len(over):
            self._start_episodes(over, result.frames[over])
        return segments

    def _start_episodes(self, over: NDArray[np.int64], frames: NDArray[np.uint8]) -> None:
        self._current.frames[over, : self._history] = 0
        self._current.frames[over, self._history] = frames
        self._previous_action[over] = -1
        self._previous_reward[over] = 0.0
        fresh = torch.zeros(len(self._lanes), dtype=torch.bool)
        fresh[torch.from_numpy(over)] = True
        zeros = self.policy.initial_state(len(self._lanes))
        self._state = RecurrentState.where(fresh.to(self._device), zeros, self._state)

    def _close(self) -> list[Segment]:
        """Moves full and ended runs to the waiting side; returns segments that are complete."""
        current, waiting, lanes = self._current, self._waiting, self._lanes
        ended = current.ended
        closing = (current.steps == self._segment_steps) | ended
        followed = (current.steps >= self._n_steps) | ended | waiting.ended
        complete = (waiting.steps > 0) & followed
        # Encoded together, for hardly more than the time of one: half of the lanes at once, or
        # all that are complete when one has to make room.
        needed = (complete & closing).any() or 2 * np.count_nonzero(complete) >= len(lanes)
        segments = self._encode(lanes[complete]) if needed else []
        if closing.any():
            closed = lanes[closing]
            waiting.take(current, closed)
            # A run's last stack is the next one's first, unless a new episode's takes its place.
            stack = current.steps[closed, None] + self._window
            current.frames[closed[:, None], self._window] = current.frames[closed[:, None], stack]
            current.steps[closed] = 0
            current.index[closed] += 1
            current.episode[ended] += 1
            current.index[ended] = 0
        return segments

    def _encode(self, ready: NDArray[np.int64]) -> list[Segment]:
        """Segments of the waiting runs of those lanes, which are then free again."""
        errors = self._td_errors(ready)
        segments = [
            self._waiting.segment(
                lane,
                **self._name,
                history_frames=self._history,
                td_errors=errors[: self._waiting.steps[lane], column],
                created_env_steps=self.env_steps,
            )
            for column, lane in enumerate(ready.tolist())
        ]
        self._waiting.steps[ready] = 0
        return segments

    def _td_errors(self, ready: NDArray[np.int64]) -> NDArray[np.float32]:
        """|TD errors| of the waiting runs, float32[K, len(ready)], by the actor's own values.

        The value of a truncated episode's final observation, which no actor evaluates, is taken
        to be the last step's: only a first priority rests on it.
        """
        waiting, current = self._waiting, self._current
        K, n = self._segment_steps, self._n_steps
        rows = np.arange(K + n)[:, None]
        steps = waiting.steps[ready]
        ended = waiting.ended[ready]
        following = np.where(ended, 0, np.minimum(current.steps[ready], n))
        is_step = rows < steps + following
        rewards, greedy_q = np.zeros((2, K + n, len(ready)), np.float32)
        rewards[:K], greedy_q[:K] = waiting.rewards[ready].T, waiting.greedy_q[ready].T
        rewards[K:], greedy_q[K:] = current.rewards[ready, :n].T, current.greedy_q[ready, :n].T
        total = steps + following
        last = np.maximum(total - 1, 0)
        columns = np.arange(len(ready))
        beyond = total < K + n
        greedy_q[total[beyond], columns[beyond]] = greedy_q[last[beyond], columns[beyond]]
        terminated = np.zeros((K + n, len(ready)), np.bool_)
        ends_after = current.terminated[ready] & (current.steps[ready] <= n)
        is_over = np.where(ended, waiting.terminated[ready], ends_after)
        terminated[last, columns] = is_over & (total > 0)
        values = torch.from_numpy(greedy_q).unsqueeze(-1)
        targets = n_step_double_q_targets(
            rewards=torch.from_numpy(rewards),
            terminated=torch.from_numpy(terminated),
            is_step=torch.from_numpy(is_step),
            online_q=values,
            target_q=values,
            discount=self._discount,
            n_steps=n,
            epsilon=self._rescaling_epsilon,
        ).numpy()
        errors = np.abs(targets - waiting.chosen_q[ready].T)
        return np.where(is_step[:K], errors, 0.0).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Everything that an exact resume needs: arrays, numbers and nested dicts of them."""
        return {
            "env": self._env.state(),
            "policy": self.policy.state(),
            "env_steps": self.env_steps,
            "generator": self._generator.get_state().numpy(),
            "previous_action": self._previous_action.copy(),
            "previous_reward": self._previous_reward.copy(),
            "hidden": self._state.hidden.cpu().numpy(),
            "cell": self._state.cell.cpu().numpy(),
            "current": self._current.state(),
            "waiting": self._waiting.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave; the emulators are rebuilt to the exact moment."""
        self._env.restore(state["env"])
        self.policy.load_state(state["policy"])
        self.env_steps = int(state["env_steps"])
        self._generator.set_state(torch.from_numpy(state["generator"]))
        self._previous_action[:] = state["previous_action"]
        self._previous_reward[:] = state["previous_reward"]
        self._state = RecurrentState(
            torch.from_numpy(state["hidden"]).to(self._device),
            torch.from_numpy(state["cell"]).to(self._device),
        )
        self._current.load_state(state["current"])
        self._waiting.load_state(state["waiting"])

    def close(self) -> None:
        """Releases the emulators."""
        self._env.close()
