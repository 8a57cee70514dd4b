"""A memory task in the shape of a game, for tests that must finish in seconds.

An episode shows one of two cues for one frame, then `blank_frames` empty frames, then a question
mark of a frame. The action taken on that last frame is worth +1 if it is the cue's, else -1, and
the game is over; all earlier actions are worth 0. With more blank frames than the frame stack is
high, an agent whose only memory is the stack is at 0 on average; a recurrent one reaches +1.

One frame is one step. The size is the smallest that the 8x8/4, 4x4/2, 3x3/1 encoder takes.
"""

import numpy as np
from numpy.typing import NDArray

from envs.episodes import Acted, EpisodicLanes
from envs.interface import EnvSpec, Frames, Picture, State
from envs.protocol import check_least
from envs.ram import RamVariable, ToldRam

CUE_0, CUE_1, BLANK, QUESTION = range(4)
SIDE_PIXELS = 36
SPEC = EnvSpec("toy_memory", 1, ("CUE_0", "CUE_1"), SIDE_PIXELS, SIDE_PIXELS)
RAM_VARIABLES = (
    RamVariable("cue", 0, "misc"),
    RamVariable("steps", 1, "score_clock_lives_display"),
)


class MemoryLanes(EpisodicLanes):
    """N lanes of the memory task, as an `envs.interface.VectorEnv`.

    Args:
      lanes: N, 1 or more.
      seed: 0 or more; every cue is a function of (seed, lane, episode).
      blank_frames: between cue and question, 0 or more.
      max_episode_steps: an episode longer than this is truncated. None: never; an episode takes
        `blank_frames` + 2 steps.

    Raises:
      ValueError: an argument is out of range.
    """

    def __init__(
        self,
        lanes: int,
        seed: int,
        *,
        blank_frames: int = 6,
        max_episode_steps: int | None = None,
    ) -> None:
        check_least(0, seed=seed, blank_frames=blank_frames)
        self._episode_steps = blank_frames + 2
        if max_episode_steps is None:
            max_episode_steps = self._episode_steps
        check_least(1, lanes=lanes, max_episode_steps=max_episode_steps)
        super().__init__(SPEC, lanes, seed, max_episode_steps)
        self._pictures = _draw_pictures(SIDE_PIXELS, SIDE_PIXELS)
        self._cues = np.zeros(lanes, np.int64)

    def _begin(self, lanes: NDArray[np.bool_]) -> None:
        """See `EpisodicLanes`: draws the cues."""
        self._draw_seeds(lanes)
        for lane in np.flatnonzero(lanes):
            self._cues[lane] = np.random.default_rng(int(self._seeds[lane])).integers(2)

    def _act(self, actions: NDArray[np.int64]) -> Acted:
        """See `EpisodicLanes`."""
        return Acted(*self.outcome(actions))

    def state(self) -> State:
        """See `VectorEnv.state`: int64[N] and float64[N] arrays; the rest follows from the seed."""
        return {
            "seeds": self._seeds.copy(),
            "episodes": self._episodes.copy(),
            "scores": self._scores.copy(),
            "steps": self._steps.copy(),
        }

    def restore(self, state: State) -> Frames:
        """See `VectorEnv.restore`."""
        episodes = np.asarray(state["episodes"], np.int64)
        if episodes.shape != (self.lanes,):
            raise ValueError(f"the state has {episodes.size} lanes, this environment {self.lanes}")
        self._start(np.ones(self.lanes, np.bool_), episodes)
        if not np.array_equal(self._seeds, state["seeds"]):
            raise ValueError(f"the state was made with another seed than {self._seed}")
        self._scores[:] = state["scores"]
        self._steps[:] = state["steps"]
        return self.shown()

    def screen(self) -> "MemoryScreen":
        """See `VectorEnv.screen`."""
        return MemoryScreen(self)

    def ram(self) -> ToldRam:
        """See `VectorEnv.ram`: the bytes of `RAM_VARIABLES`, which are all there is to know."""
        return ToldRam(lambda: np.stack([self._cues, self._steps], axis=1).astype(np.uint8))

    def outcome(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The actions' rewards, float32[N], and which lanes they end, bool[N]."""
        terminated = self._steps == self._episode_steps - 1
        answers = np.where(actions == self._cues, 1.0, -1.0)
        return np.where(terminated, answers, 0.0).astype(np.float32), terminated

    def shown(self) -> Frames:
        """See `EpisodicLanes.shown`: the picture after each lane's present number of steps."""
        pictures = np.select(
            [self._steps == 0, self._steps == self._episode_steps - 1],
            [self._cues, QUESTION],
            default=BLANK,
        )
        frames: Frames = self._pictures[pictures]
        return frames


class MemoryScreen:
    """Lane 0 of the memory task, as an `envs.interface.Screen`: the frame that is acted on."""

    def __init__(self, lanes: MemoryLanes) -> None:
        self._lanes = lanes

    def begin(self) -> None:
        """See `Screen.begin`; the lane itself is looked at."""

    def step(self, action: int) -> tuple[list[Picture], float]:
        """See `Screen.step`."""
        rewards, _ = self._lanes.outcome(np.full(self._lanes.lanes, action))
        return [np.repeat(self._lanes.shown()[0, :, :, None], 3, axis=2)], float(rewards[0])


def _draw_pictures(height: int, width: int) -> Frames:
    """Returns uint8[4, H, W]: cue 0 (left half lit), cue 1 (right half), blank, question."""
    pictures = np.zeros((4, height, width), np.uint8)
    pictures[CUE_0, :, : width // 2] = 255
    pictures[CUE_1, :, width // 2 :] = 255
    pictures[QUESTION, height // 4 : -(height // 4), width // 4 : -(width // 4)] = 255
    return pictures
