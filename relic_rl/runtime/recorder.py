"""The recorder: writes down what an actor's lanes do, and closes segments.

A record a lane holds its steps since its last segment. So recording is one indexed write for all
lanes, and an exact resume is a copy; only closing a segment is work per lane, once in
`segment_steps` steps.

A closed segment waits until its lane has seen n more steps (or the episode's end), so that the
actor's own n-step TD errors, which give the segment its first priority, are complete; and a little
longer, because many are encoded faster together than one by one.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.interface import PolicyInput
from agents.options import LearnerOptions, NetworkOptions
from agents.returns import n_step_double_q_targets
from envs.interface import Frames, StepResult
from relic_rl.replay.segment import Segment, SegmentName, encode_segment


class Recorder:
    """Makes segments of the steps of N lanes.

    Args:
      frames: uint8[N, H, W], the first of every lane's episode.
      network: whose frame stacks and recurrent states it keeps.
      learner: for whom: the length of segments, and what their TD errors are made of.
      actor: this actor's number, part of each segment's name.
      incarnation: how often this actor has been started.
    """

    def __init__(
        self,
        frames: Frames,
        network: NetworkOptions,
        learner: LearnerOptions,
        *,
        actor: int,
        incarnation: int,
    ) -> None:
        self._actor = (actor, incarnation)
        self._learner = learner
        self._history = network.frame_stack - 1
        self._window = np.arange(network.frame_stack)
        lanes, *frame_shape = frames.shape
        self._lanes = np.arange(lanes)
        K = learner.segment_steps
        fields: list[tuple[Any, ...]] = [  # of a lane's steps since its last segment
            ("frames", np.uint8, (self._history + K + 1, *frame_shape)),  # and an episode's last
            ("actions", np.int64, K),
            ("rewards", np.float32, K),
            ("chosen_q", np.float32, K),  # of the action taken, as the actor saw it
            ("greedy_q", np.float32, K),  # the largest
            ("recurrent_state", np.float32, (2, network.lstm)),  # before them, as the next two
            ("previous_action", np.int64),
            ("previous_reward", np.float32),
            ("steps", np.int64),  # recorded
            ("episode", np.int64),
            ("index", np.int64),  # of the segment in its episode
            ("terminated", np.bool_),
            ("truncated", np.bool_),
        ]
        self._current = np.zeros(lanes, np.dtype(fields))
        self._waiting = self._current.copy()
        self._current["frames"][:, self._history] = frames

    def acted(self, seen: PolicyInput, q: NDArray[np.float32], actions: NDArray[np.int64]) -> None:
        """Takes in what is known before the environment answers.

        Args:
          seen: what was acted on.
          q: float32[N, A]
          actions: int64[N]
        """
        runs, lanes, at = self._current, self._lanes, self._current["steps"]
        starting = lanes[at == 0]
        if len(starting):
            state = torch.stack([*seen.state], dim=1).numpy()
            runs["recurrent_state"][starting] = state[starting]
            runs["previous_action"][starting] = seen.previous_actions.numpy()[starting]
            runs["previous_reward"][starting] = seen.previous_rewards.numpy()[starting]
        runs["actions"][lanes, at] = actions
        runs["chosen_q"][lanes, at] = q[lanes, actions]
        runs["greedy_q"][lanes, at] = q.max(axis=1)

    def observed(self, result: StepResult, env_steps: int) -> list[Segment]:
        """Takes in rewards, ends and frames; returns the segments that are complete now.

        Args:
          result: of the actions last told.
          env_steps: the run's counter, which stamps segments.
        """
        runs, lanes = self._current, self._lanes
        runs["rewards"][lanes, runs["steps"]] = result.rewards
        runs["steps"] += 1
        ended = result.terminated | result.truncated
        returned = result.life_lost if self._learner.life_loss_ends_return else np.zeros_like(ended)
        runs["terminated"][:], runs["truncated"][:] = result.terminated | returned, result.truncated
        over = lanes[ended]
        newest = self._history + runs["steps"]
        runs["frames"][lanes, newest] = result.frames
        runs["frames"][over, newest[over]] = result.final_frames[over]

        segments = self._close(env_steps)
        if len(over):
            runs["frames"][over, : self._history] = 0
            runs["frames"][over, self._history] = result.frames[over]
        return segments

    def _close(self, env_steps: int) -> list[Segment]:
        """Moves full and ended runs to the waiting side; returns segments that are complete."""
        current, waiting, lanes = self._current, self._waiting, self._lanes
        ended = _ended(current)
        closing = (current["steps"] == self._learner.segment_steps) | ended
        followed = (current["steps"] >= self._learner.n_steps) | ended | _ended(waiting)
        complete = (waiting["steps"] > 0) & followed
        # Encoded together, for hardly more than the time of one: half of the lanes at once, or
        # all that are complete when one has to make room.
        needed = (complete & closing).any() or 2 * np.count_nonzero(complete) >= len(lanes)
        segments = self._encode(lanes[complete], env_steps) if needed else []
        if closing.any():
            closed = lanes[closing]
            waiting[closed] = current[closed]
            # A run's last stack is the next one's first, unless a new episode's takes its place.
            stack = current["steps"][closed, None] + self._window
            current["frames"][closed[:, None], self._window] = current["frames"][
                closed[:, None], stack
            ]
            current["steps"][closed] = 0
            current["index"][closed] += 1
            current["episode"][ended] += 1
            current["index"][ended] = 0
        return segments

    def _encode(self, ready: NDArray[np.int64], env_steps: int) -> list[Segment]:
        """Segments of the waiting runs of those lanes, which are then free again."""
        errors = self._td_errors(ready)
        segments = []
        for column, lane in enumerate(ready.tolist()):
            run = self._waiting[lane]
            steps = int(run["steps"])
            is_over = bool(run["terminated"] or run["truncated"])
            segments.append(
                encode_segment(
                    name=SegmentName(*self._actor, lane, int(run["episode"]), int(run["index"])),
                    frames=run["frames"][: self._history + steps + is_over],
                    history_frames=self._history,
                    actions=run["actions"][:steps],
                    rewards=run["rewards"][:steps],
                    terminated=bool(run["terminated"]),
                    truncated=bool(run["truncated"]),
                    previous_action=int(run["previous_action"]),
                    previous_reward=float(run["previous_reward"]),
                    recurrent_state=run["recurrent_state"],
                    td_max=float(errors[:steps, column].max()),
                    td_sum=float(errors[:steps, column].sum()),
                    created_env_steps=env_steps,
                )
            )
        self._waiting["steps"][ready] = 0
        return segments

    def _td_errors(self, ready: NDArray[np.int64]) -> NDArray[np.float32]:
        """|TD errors| of the waiting runs, float32[K, len(ready)], by the actor's own values.

        The value of a truncated episode's final observation, which no actor evaluates, is taken
        to be the last step's: only a first priority rests on it.
        """
        waiting, current = self._waiting, self._current
        K, n = self._learner.segment_steps, self._learner.n_steps
        rows = np.arange(K + n)[:, None]
        steps = waiting["steps"][ready]
        ended = _ended(waiting)[ready]
        following = np.where(ended, 0, np.minimum(current["steps"][ready], n))
        is_step = rows < steps + following
        rewards, greedy_q = np.zeros((2, K + n, len(ready)), np.float32)
        rewards[:K], greedy_q[:K] = waiting["rewards"][ready].T, waiting["greedy_q"][ready].T
        rewards[K:], greedy_q[K:] = (
            current["rewards"][ready, :n].T,
            current["greedy_q"][ready, :n].T,
        )
        total = steps + following
        last = total - 1
        columns = np.arange(len(ready))
        beyond = total < K + n
        greedy_q[total[beyond], columns[beyond]] = greedy_q[last[beyond], columns[beyond]]
        terminated = np.zeros((K + n, len(ready)), np.bool_)
        ends_after = current["terminated"][ready] & (current["steps"][ready] <= n)
        is_over = np.where(ended, waiting["terminated"][ready], ends_after)
        terminated[last, columns] = is_over
        values = torch.from_numpy(greedy_q).unsqueeze(-1)
        targets = n_step_double_q_targets(
            rewards=torch.from_numpy(rewards),
            terminated=torch.from_numpy(terminated),
            is_step=torch.from_numpy(is_step),
            online_q=values,
            target_q=values,
            discount=self._learner.discount,
            n_steps=n,
            epsilon=self._learner.rescaling_epsilon,
        ).numpy()
        errors = np.abs(targets - waiting["chosen_q"][ready].T)
        return np.where(is_step[:K], errors, 0.0).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Copies of the steps that are in no segment yet, by name."""
        return {"current": self._current.copy(), "waiting": self._waiting.copy()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave.

        Raises:
          ValueError: it is of other shapes.
        """
        for mine, name in ((self._current, "current"), (self._waiting, "waiting")):
            found = np.asarray(state[name])
            if (found.dtype, found.shape) != (mine.dtype, mine.shape):
                raise ValueError(f"the {name} steps of actor state are of another shape or kind")
            mine[...] = found


def _ended(runs: NDArray[np.void]) -> NDArray[np.bool_]:
    """bool[N]: the record's last step ended its episode, or a life that ends returns."""
    return np.asarray(runs["terminated"] | runs["truncated"])
