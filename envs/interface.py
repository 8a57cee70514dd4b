"""The contract between an actor and the N environments ("lanes") that it steps together.

    frames = env.reset()
    while acting:
        result = env.step(choose(frames))
        frames = result.frames

There are no dummy steps: a lane whose episode ended has already begun the next one when `step`
returns, so every action that is sent has a reward and a frame that belong to it. Lanes do not
influence each other. N is the number of lanes, H and W the size of a frame.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.games import Game
from envs.protocol import EpisodeProtocol

Frames = NDArray[np.uint8]
State = dict[str, Any]
Picture = NDArray[np.uint8]
"""uint8[height, width, 3], RGB."""


class Flavour(NamedTuple):
    """A mode and a difficulty of a game, by the numbers that ale-py gives them."""

    mode: int
    difficulty: int


class Flavours(NamedTuple):
    """The modes and the difficulties that a game has; each of one goes with each of the other.

    [Machado et al., 2018; Farebrother et al., 2018: "Generalization and Regularization in DQN"]
    """

    modes: tuple[int, ...]
    difficulties: tuple[int, ...]

    @property
    def default(self) -> Flavour:
        """What is played unless another is asked for: the first of each."""
        return Flavour(self.modes[0], self.difficulties[0])


@dataclass(frozen=True)
class EnvSpec:
    """What an environment is: all that those who act, learn and keep records need to know of it."""

    name: str
    """`MsPacman`, `toy_memory`: its key in `envs.registry.ENVIRONMENTS`."""
    frames_per_step: int
    """Environment frames that an action is held for."""
    action_meanings: tuple[str, ...]
    """A name for each action."""
    frame_height: int
    """H, in pixels."""
    frame_width: int
    """W, in pixels."""
    protocol: EpisodeProtocol | None = None
    """How episodes start, stick and end; None where there is nothing to choose."""
    action_set: str | None = None
    """Which of its actions were chosen; None where there is nothing to choose."""
    rom_md5: str | None = None
    """Of the cartridge image; None without one."""
    reference: Game | None = None
    """With a human's and random play's scores; None where nobody has measured them."""

    @property
    def actions(self) -> int:
        """A: the actions are 0 to A - 1."""
        return len(self.action_meanings)

    def human_normalized(self, score: float) -> float | None:
        """0 is random play, 1 the human; None without reference scores."""
        return None if self.reference is None else self.reference.human_normalized(score)


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
    """bool[N], the cap ended the episode: learning bootstraps from `final_frames`. Never both."""
    life_lost: NDArray[np.bool_]
    """bool[N], a life was lost, and the episode continues."""
    final_frames: Frames
    """uint8[N, H, W], the last frame of the episode that ended; elsewhere the same as `frames`."""
    episodes: list[EpisodeRecord]
    """The episodes that ended in this step, by lane."""


class Lanes(Protocol):
    """N environments that act in step; the arrays that they return are the caller's to keep."""

    @property
    def lanes(self) -> int:
        """N."""

    @property
    def spec(self) -> EnvSpec:
        """What each lane is."""

    def reset(self) -> Frames:
        """Restarts: the same frames, uint8[N, H, W], as after the first `reset`."""

    def step(self, actions: NDArray[np.integer[Any]]) -> StepResult:
        """Takes one action in every lane.

        Args:
          actions: integer[N].

        Raises:
          ValueError: the actions have another dtype or shape, or are out of range.
          RuntimeError: there was no `reset` or `restore` before.
        """

    def rest(self, lane: int) -> None:
        """Lets a lane play no further until `reset` or `restore`; the others play as if it did.

        Actions do nothing there, and earn nothing. What it shows, and its memory, is of no use.
        """

    def close(self) -> None:
        """Frees threads and memory; they are of no use afterwards."""


class FilmedLanes(Lanes, Protocol):
    """Lanes that can also be filmed."""

    def screen(self) -> "Screen":
        """What a film of lane 0 shows."""


class VectorEnv(FilmedLanes, Protocol):
    """Lanes that can also be left and continued, and looked into."""

    def state(self) -> State:
        """Everything needed to continue from here: numpy arrays by name, for `np.savez`."""

    def restore(self, state: State) -> Frames:
        """Continues from `state`, bit for bit, and returns the frames to act on.

        The environment must have been made with the same arguments as the one that gave `state`.

        Raises:
          ValueError: `state` belongs to an environment that was made differently.
          RuntimeError: the same actions did not lead to the same scores.
        """

    def ram(self) -> "Ram":
        """What the games of all lanes keep in memory, of episodes begun and not yet acted in."""


class Screen(Protocol):
    """Shows the episodes of lane 0 at their native resolution, each from its beginning on."""

    def begin(self) -> None:
        """Turns to the episode that lane 0 has begun and not yet acted in."""

    def step(self, action: int) -> tuple[list[Picture], float]:
        """Shows an action before `Lanes.step` takes it.

        Returns:
          A picture of every environment frame that the action is held for, and their reward.
        """


class Ram(Protocol):
    """Reads the memory of the lanes' games, of each episode from its beginning on."""

    def follow(self, actions: NDArray[np.integer[Any]], result: StepResult) -> None:
        """Takes a step after `VectorEnv.step` took it.

        Raises:
          RuntimeError: the same actions did not lead to the same rewards.
        """

    def read(self) -> NDArray[np.uint8]:
        """uint8[N, bytes], behind the frames that are to be acted on."""


def check_actions(actions: NDArray[np.integer[Any]], env: Lanes) -> NDArray[np.int64]:
    """Returns `actions` as int64[N].

    Raises:
      ValueError: see `Lanes.step`.
    """
    array = np.asarray(actions)
    if array.dtype.kind not in "iu" or array.shape != (env.lanes,):
        raise ValueError(
            f"actions are {array.dtype}{list(array.shape)}; one integer for each lane is expected: "
            f"int64[{env.lanes}]"
        )
    outside = (array < 0) | (array >= env.spec.actions)
    if outside.any():
        lane = int(outside.argmax())
        raise ValueError(
            f"the action {array[lane]} in lane {lane} is out of range; it must be in "
            f"[0, {env.spec.actions - 1}]"
        )
    return array.astype(np.int64)
