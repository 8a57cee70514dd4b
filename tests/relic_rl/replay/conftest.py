"""Made-up episodes, cut into segments the obvious way: the naive twin of what an actor does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.sequences import SequenceOptions
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.options import ReplayOptions
from relic_rl.replay.segment import Segment, SegmentName, encode_segment


@dataclass(frozen=True)
class Episode:
    """Whole arrays of one episode of T steps; observation T is the one after the last action."""

    number: int
    frames: NDArray[np.uint8]  # [T + 1, H, W]
    actions: NDArray[np.int64]  # [T]
    rewards: NDArray[np.float32]  # [T]
    states: NDArray[np.float32]  # [T, 2, D]
    td_errors: NDArray[np.float32]  # [T], absolute
    terminated: bool

    def padded_frames(self, history: int) -> NDArray[np.uint8]:
        """Observation t's frame is at t + history, zeros before."""
        return np.concatenate([np.zeros_like(self.frames[:1])] * history + [self.frames])

    def segments(self, segment_steps: int, frame_stack: int) -> list[Segment]:
        T, history = len(self.actions), frame_stack - 1
        padded = self.padded_frames(history)
        segments = []
        for index, start in enumerate(range(0, T, segment_steps)):
            end = min(start + segment_steps, T)
            is_last = end == T
            segments.append(
                encode_segment(
                    name=SegmentName(7, 1, 0, self.number, index),
                    frames=padded[start : end + history + is_last],
                    history_frames=history,
                    actions=self.actions[start:end],
                    rewards=self.rewards[start:end],
                    terminated=is_last and self.terminated,
                    truncated=is_last and not self.terminated,
                    previous_action=int(self.actions[start - 1]) if start else -1,
                    previous_reward=float(self.rewards[start - 1]) if start else 0.0,
                    recurrent_state=self.states[start],
                    td_max=float(self.td_errors[start:end].max()),
                    td_sum=float(self.td_errors[start:end].sum()),
                    created_env_steps=1000 * self.number + end,
                )
            )
        return segments


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    def make(number: int, steps: int, *, seed: int = 0, state_size: int = 3) -> Episode:
        rng = np.random.default_rng([seed, number, steps])
        walk = rng.integers(-3, 4, (steps + 1, 5, 4)).cumsum(axis=0) + 100
        return Episode(
            number=number,
            frames=walk.astype(np.uint8),
            actions=rng.integers(0, 18, steps),
            rewards=rng.normal(size=steps).astype(np.float32),
            states=rng.normal(size=(steps, 2, state_size)).astype(np.float32),
            td_errors=rng.random(steps).astype(np.float32) + np.float32(0.01),
            terminated=bool(rng.integers(2)),
        )

    return make


@pytest.fixture(scope="session")
def make_buffer() -> Callable[..., ReplayBuffer]:
    """A buffer for segments of 4 steps, unrolled singly, unless told otherwise."""

    def make(frame_stack: int = 3, seed: int = 0, **options: Any) -> ReplayBuffer:
        """`options` are fields of either record."""
        replay = {"capacity_steps": 10_000, "max_bytes": 1 << 30}
        sequence = {"segment_steps": 4, "burn_in_steps": 4, "unroll_steps": 4, "n_steps": 2}
        for name, value in options.items():
            (sequence if name in sequence else replay)[name] = value
        return ReplayBuffer(
            ReplayOptions(**replay),
            SequenceOptions(**sequence),
            frame_stack=frame_stack,
            rng=np.random.default_rng(seed),
        )

    return make
