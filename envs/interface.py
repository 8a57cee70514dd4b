"""The contract between an actor and the N environments ("lanes") that it steps together.

    frames = env.reset()
    while acting:
        result = env.step(choose(frames))
        frames = result.frames

There are no dummy steps: a lane whose episode ended has already begun the next one when `step`
returns, so every action that is sent has a reward and a frame that belong to it. Lanes do not
influence each other. N is the number of lanes, H and W the size of a frame.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
State = dict[str, Any]


class EpisodeRecord(NamedTuple):
    """An episode that ended."""

    lane: int
    score: float
    """Undiscounted sum of unclipped rewards."""
    steps: int
    """Actions taken."""
    frames: int
    """Environment frames, the skipped ones included and the no-ops of the start excluded."""
    terminated: bool
    """Whether the game ended, rather than the cap."""
    seed: int
    """What the lane's randomness was seeded with, in this episode or in an earlier one."""


class StepResult(NamedTuple):
    """What one action in every lane led to."""

    frames: Frames
    """uint8[N, H, W], to act on next: in a lane whose episode ended, the next episode's first."""
    rewards: NDArray[np.float32]
    """float32[N], unclipped."""
    terminated: NDArray[np.bool_]
    """bool[N], the game ended: nothing follows that state, its value is 0."""
    truncated: NDArray[np.bool_]
    """bool[N], the cap ended the episode: the value of `final_frames` goes on. Never both."""
    life_lost: NDArray[np.bool_]
    """bool[N], a life was lost, and the episode goes on."""
    final_frames: Frames
    """uint8[N, H, W], the last frame of the episode that ended; elsewhere the same as `frames`."""
    episodes: list[EpisodeRecord]
    """The episodes that ended in this step, by lane."""


class VectorEnv(Protocol):
    """N environments that act in step; the arrays that it returns are the caller's to keep."""

    @property
    def lanes(self) -> int:
        """N."""

    @property
    def actions(self) -> int:
        """The number of actions; they are 0 to `actions` - 1."""

    @property
    def action_meanings(self) -> tuple[str, ...]:
        """A name for each action."""

    @property
    def frame_height(self) -> int:
        """H, in pixels."""

    @property
    def frame_width(self) -> int:
        """W, in pixels."""

    def reset(self) -> Frames:
        """Starts anew: the same frames, uint8[N, H, W], as after the first `reset`."""

    def step(self, actions: NDArray[np.integer[Any]]) -> StepResult:
        """Takes one action in every lane.

        Args:
          actions: integer[N].

        Raises:
          ValueError: the actions have another dtype or shape, or are out of range.
          RuntimeError: there was no `reset` or `restore` before.
        """

    def state(self) -> State:
        """Everything needed to go on from here: numpy arrays by name, for `np.savez`."""

    def restore(self, state: State) -> Frames:
        """Continues from `state`, bit for bit, and returns the frames to act on.

        The environment must have been made with the same arguments as the one that gave `state`.

        Raises:
          ValueError: `state` belongs to an environment that was made differently.
          RuntimeError: the same actions did not lead to the same scores.
        """

    def close(self) -> None:
        """Frees threads and memory; the environment is of no use afterwards."""


def check_actions(actions: NDArray[np.integer[Any]], env: VectorEnv) -> NDArray[np.int64]:
    """Returns `actions` as int64[N].

    Raises:
      ValueError: see `VectorEnv.step`.
    """
    array = np.asarray(actions)
    if array.dtype.kind not in "iu" or array.shape != (env.lanes,):
        raise ValueError(
            f"actions are {array.dtype}{list(array.shape)}; one integer for each lane is expected: "
            f"int64[{env.lanes}]"
        )
    outside = (array < 0) | (array >= env.actions)
    if outside.any():
        lane = int(outside.argmax())
        raise ValueError(
            f"the action {array[lane]} in lane {lane} is out of range; it must be in "
            f"[0, {env.actions - 1}]"
        )
    return array.astype(np.int64)
