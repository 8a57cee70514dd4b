"""Sequences: what the learner trains on, as views over consecutive segments of one episode.

`agents.sequences` says which rows a sequence has. Nothing is invented at its ends: without a
burn-in segment those rows are empty; after an episode's last step follows one row with the final
observation, if there is room, and then empty rows. Rows are time, columns the batch.

    row                0 ......... burn_in ............. burn_in + unroll ....... L
    segments           | k - 1      | k, k + 1, ...       | the first n of the next |
    frames       h,    | one per row: row t's frame stack is frames[t : t + h + 1], h = history
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.sequences import SequenceOptions
from relic_rl.replay.segment import Segment


@dataclass(frozen=True, slots=True)
class Draw:
    """B sequences drawn, still compressed. Holds its segments: eviction does not touch it."""

    segments: tuple[tuple[Segment, ...], ...]
    """Of each sequence, consecutive; the first is the burn-in where `has_burn_in`."""
    has_burn_in: NDArray[np.bool_]
    """bool[B]."""
    slots: NDArray[np.int64]
    """int64[B]; with `generations` the address for `ReplayBuffer.update_priorities`."""
    generations: NDArray[np.int64]
    """int64[B]."""
    probabilities: NDArray[np.float64]
    """float64[B], that a draw gives this sequence."""
    weights: NDArray[np.float32]
    """float32[B], importance weights in (0, 1], the largest of the batch being 1."""
    age_steps: NDArray[np.int64]
    """int64[B], agent steps of the run since the unroll's first segment was encoded."""


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """B sequences of L rows, decoded. Empty rows are zero, and -1 in `previous_actions`."""

    frames: NDArray[np.uint8]
    """uint8[L + frame_stack - 1, B, H, W]; row t's stack is [t : t + frame_stack], newest last."""
    previous_actions: NDArray[np.int64]
    """int64[L, B]; -1 at an episode's start and in empty rows."""
    previous_rewards: NDArray[np.float32]
    """float32[L, B]."""
    actions: NDArray[np.int64]
    """int64[L, B], taken in the row; 0 where `is_step` is False."""
    rewards: NDArray[np.float32]
    """float32[L, B], received for it."""
    terminated: NDArray[np.bool_]
    """bool[L, B]: the row's step ended the episode, or a life that ends returns; a truncated
    episode just has no further steps."""
    is_step: NDArray[np.bool_]
    """bool[L, B]: the row holds a step, not only an observation or nothing."""
    has_burn_in: NDArray[np.bool_]
    """bool[B]: whether the first `burn_in_steps` rows are filled."""
    state: NDArray[np.float32]
    """float32[2, B, D], stored recurrent state (h, c) before the first filled row."""
    unroll_state: NDArray[np.float32]
    """float32[2, B, D], stored recurrent state before the unroll's first row."""
    weights: NDArray[np.float32]
    """float32[B], as in `Draw`, like the rest."""
    slots: NDArray[np.int64]
    """int64[B]."""
    generations: NDArray[np.int64]
    """int64[B]."""
    age_steps: NDArray[np.int64]
    """int64[B]."""


def decode(draw: Draw, sequence: SequenceOptions) -> SequenceBatch:
    """Decompresses and lays out a draw. Pure: needs no lock, and releases the GIL in zstd.

    Each segment is decompressed once and only as far as its rows reach.

    Raises:
      SegmentError: a segment is damaged.
    """
    B, L = len(draw.segments), sequence.rows
    first = draw.segments[0][0]
    D, history = first.state_size, first.history_frames
    batch = SequenceBatch(
        frames=np.zeros((L + history, B, first.frame_height, first.frame_width), np.uint8),
        previous_actions=np.full((L, B), -1, np.int64),
        previous_rewards=np.zeros((L, B), np.float32),
        actions=np.zeros((L, B), np.int64),
        rewards=np.zeros((L, B), np.float32),
        terminated=np.zeros((L, B), np.bool_),
        is_step=np.zeros((L, B), np.bool_),
        has_burn_in=draw.has_burn_in,
        state=np.empty((2, B, D), np.float32),
        unroll_state=np.empty((2, B, D), np.float32),
        weights=draw.weights,
        slots=draw.slots,
        generations=draw.generations,
        age_steps=draw.age_steps,
    )
    columns = zip(draw.segments, draw.has_burn_in.tolist(), strict=True)
    for column, (segments, has_burn_in) in enumerate(columns):
        batch.state[:, column] = segments[0].recurrent_state
        batch.unroll_state[:, column] = segments[int(has_burn_in)].recurrent_state
        row = 0 if has_burn_in else sequence.burn_in_steps
        for segment in segments:
            row = _place(batch, column, row, segment)
    return batch


def _place(batch: SequenceBatch, column: int, row: int, segment: Segment) -> int:
    """Writes a segment from `row` on, as far as the rows reach; returns the row after its steps."""
    steps = min(segment.steps, len(batch.actions) - row)
    end = row + steps
    has_final_row = segment.ended and end < len(batch.actions)
    observed_end = end + has_final_row

    # A later segment's history is the end of the one before, and is written once more.
    decoded = segment.decode_frames(segment.history_frames + observed_end - row)
    batch.frames[row : row + len(decoded), column] = decoded
    batch.previous_actions[row, column] = segment.previous_action
    batch.previous_rewards[row, column] = segment.previous_reward
    batch.previous_actions[row + 1 : observed_end, column] = segment.actions[
        : observed_end - row - 1
    ]
    batch.previous_rewards[row + 1 : observed_end, column] = segment.rewards[
        : observed_end - row - 1
    ]
    batch.actions[row:end, column] = segment.actions[:steps]
    batch.rewards[row:end, column] = segment.rewards[:steps]
    batch.is_step[row:end, column] = True
    batch.terminated[end - 1, column] = segment.terminated and steps == segment.steps
    return end
