"""The steps that each lane of an actor has taken since its last segment.

One array of records, a lane each, so that recording is one indexed write for all lanes, and an
exact resume is a copy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relic_rl.replay.segment import Segment, SegmentName, encode_segment

LaneRuns = NDArray[np.void]
"""[N]: each lane's steps of the segment at hand; the fields are `empty`'s."""


def empty(
    lanes: int,
    *,
    segment_steps: int,
    history_frames: int,
    frame_shape: tuple[int, int],
    state_size: int,
) -> LaneRuns:
    """All zeros: no steps, episode 0."""
    K = segment_steps
    fields: list[tuple[Any, ...]] = [
        ("frames", np.uint8, (history_frames + K + 1, *frame_shape)),  # the last: an episode's end
        ("actions", np.int64, K),
        ("rewards", np.float32, K),
        ("chosen_q", np.float32, K),  # of the action taken, as the actor saw it
        ("greedy_q", np.float32, K),  # the largest
        ("recurrent_state", np.float32, (2, state_size)),  # this and the next two: before them
        ("previous_action", np.int64),
        ("previous_reward", np.float32),
        ("steps", np.int64),  # recorded
        ("episode", np.int64),
        ("index", np.int64),  # of the segment in its episode
        ("terminated", np.bool_),
        ("truncated", np.bool_),
    ]
    return np.zeros(lanes, np.dtype(fields))


def ended(runs: LaneRuns) -> NDArray[np.bool_]:
    """bool[N]: the run's last step ended its episode, or a life that ends returns."""
    return np.asarray(runs["terminated"] | runs["truncated"])


def make_segment(
    runs: LaneRuns,
    lane: int,
    *,
    actor: int,
    incarnation: int,
    history_frames: int,
    td_errors: NDArray[np.float32],
    created_env_steps: int,
) -> Segment:
    """A lane's steps as a segment; `td_errors` float32[steps] are absolute."""
    run = runs[lane]
    steps = int(run["steps"])
    is_over = bool(run["terminated"] or run["truncated"])
    return encode_segment(
        name=SegmentName(actor, incarnation, lane, int(run["episode"]), int(run["index"])),
        frames=run["frames"][: history_frames + steps + is_over],
        history_frames=history_frames,
        actions=run["actions"][:steps],
        rewards=run["rewards"][:steps],
        terminated=bool(run["terminated"]),
        truncated=bool(run["truncated"]),
        previous_action=int(run["previous_action"]),
        previous_reward=float(run["previous_reward"]),
        recurrent_state=run["recurrent_state"],
        td_max=float(td_errors.max()),
        td_sum=float(td_errors.sum()),
        created_env_steps=created_env_steps,
    )
