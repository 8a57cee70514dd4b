"""Per-lane buffers of the steps that an actor has taken since its last segment.

Plain arrays, so that recording is one indexed write for all lanes, and so that an exact resume is
a matter of copying them.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from relic_rl.replay.segment import Segment, SegmentName, encode_segment


@dataclass
class LaneRuns:
    """N lanes' steps of the segment at hand; `steps` counts them. K = segment_steps."""

    frames: NDArray[np.uint8]
    """uint8[N, S - 1 + K + 1, H, W]: history, one frame a step, and the final one."""
    actions: NDArray[np.int64]
    """int64[N, K]"""
    rewards: NDArray[np.float32]
    """float32[N, K]"""
    chosen_q: NDArray[np.float32]
    """float32[N, K]: Q of the action taken, as the actor saw it."""
    greedy_q: NDArray[np.float32]
    """float32[N, K]: the largest Q."""
    recurrent_state: NDArray[np.float32]
    """float32[N, 2, D], before the first step."""
    previous_action: NDArray[np.int64]
    """int64[N]"""
    previous_reward: NDArray[np.float32]
    """float32[N]"""
    steps: NDArray[np.int64]
    """int64[N]: steps recorded."""
    episode: NDArray[np.int64]
    """int64[N]"""
    index: NDArray[np.int64]
    """int64[N]: of the segment in its episode."""
    terminated: NDArray[np.bool_]
    """bool[N]"""
    truncated: NDArray[np.bool_]
    """bool[N]"""

    @classmethod
    def empty(
        cls,
        lanes: int,
        *,
        segment_steps: int,
        history_frames: int,
        frame_shape: tuple[int, int],
        state_size: int,
    ) -> "LaneRuns":
        """All zeros: no steps, episode 0."""
        N, K = lanes, segment_steps
        return cls(
            frames=np.zeros((N, history_frames + K + 1, *frame_shape), np.uint8),
            actions=np.zeros((N, K), np.int64),
            rewards=np.zeros((N, K), np.float32),
            chosen_q=np.zeros((N, K), np.float32),
            greedy_q=np.zeros((N, K), np.float32),
            recurrent_state=np.zeros((N, 2, state_size), np.float32),
            previous_action=np.zeros(N, np.int64),
            previous_reward=np.zeros(N, np.float32),
            steps=np.zeros(N, np.int64),
            episode=np.zeros(N, np.int64),
            index=np.zeros(N, np.int64),
            terminated=np.zeros(N, np.bool_),
            truncated=np.zeros(N, np.bool_),
        )

    @property
    def ended(self) -> NDArray[np.bool_]:
        """bool[N]: the run's last step ended its episode, or a life that ends returns."""
        return self.terminated | self.truncated

    def take(self, other: "LaneRuns", lanes: NDArray[np.int64]) -> None:
        """Copies those lanes from `other`."""
        for item in fields(self):
            getattr(self, item.name)[lanes] = getattr(other, item.name)[lanes]

    def segment(
        self,
        lane: int,
        *,
        actor: int,
        incarnation: int,
        history_frames: int,
        td_errors: NDArray[np.float32],
        created_env_steps: int,
    ) -> Segment:
        """The lane's steps as a segment; `td_errors` float32[steps] are absolute."""
        steps = int(self.steps[lane])
        ended = bool(self.ended[lane])
        return encode_segment(
            name=SegmentName(
                actor, incarnation, lane, int(self.episode[lane]), int(self.index[lane])
            ),
            frames=self.frames[lane, : history_frames + steps + ended],
            history_frames=history_frames,
            actions=self.actions[lane, :steps],
            rewards=self.rewards[lane, :steps],
            terminated=bool(self.terminated[lane]),
            truncated=bool(self.truncated[lane]),
            previous_action=int(self.previous_action[lane]),
            previous_reward=float(self.previous_reward[lane]),
            recurrent_state=self.recurrent_state[lane],
            td_max=float(td_errors.max()),
            td_sum=float(td_errors.sum()),
            created_env_steps=created_env_steps,
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Copies of all arrays, by name."""
        return {item.name: getattr(self, item.name).copy() for item in fields(self)}

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Takes over what `state` gave.

        Raises:
          ValueError: an array is missing or of another shape or type.
        """
        for item in fields(self):
            mine, theirs = getattr(self, item.name), state.get(item.name)
            if theirs is None or theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                found = None if theirs is None else (theirs.dtype, theirs.shape)
                raise ValueError(
                    f"actor state {item.name} is {found}, needs {(mine.dtype, mine.shape)}"
                )
            mine[...] = theirs
