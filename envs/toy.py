"""A memory task in the shape of a game, for tests that must finish in seconds.

An episode shows one of two cues for one frame, then `blank_frames` empty frames, then a question
mark of a frame. The action taken on that last frame is worth +1 if it is the cue's, else -1, and
the game is over; all earlier actions are worth 0. With more blank frames than the frame stack is
high, an agent whose only memory is the stack is at 0 on average; a recurrent one reaches +1.

One frame is one step. The size is the smallest that the 8x8/4, 4x4/2, 3x3/1 encoder takes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.episodes import EpisodeLedger, episode_seed
from envs.interface import Frames, State, StepResult, check_actions

CUE_0, CUE_1, BLANK, QUESTION = range(4)


class MemoryLanes:
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

    actions = 2
    action_meanings = ("CUE_0", "CUE_1")
    frame_height = frame_width = 36

    def __init__(
        self,
        lanes: int,
        seed: int,
        *,
        blank_frames: int = 6,
        max_episode_steps: int | None = None,
    ) -> None:
        for name, value, least in (
            ("lanes", lanes, 1),
            ("seed", seed, 0),
            ("blank_frames", blank_frames, 0),
            ("max_episode_steps", 1 if max_episode_steps is None else max_episode_steps, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")
        self.lanes = lanes
        self._seed = seed
        self._episode_steps = blank_frames + 2
        self._max_episode_steps = max_episode_steps or self._episode_steps
        self._pictures = _draw_pictures(self.frame_height, self.frame_width)
        self._ledger = EpisodeLedger(lanes)
        self._seeds = np.full(lanes, -1, np.int64)
        self._cues = np.zeros(lanes, np.int64)

    def reset(self) -> Frames:
        """See `VectorEnv.reset`."""
        everywhere = np.ones(self.lanes, np.bool_)
        self._ledger.begin(everywhere, np.zeros(self.lanes, np.int64))
        return self._start(everywhere)

    def step(self, actions: NDArray[np.integer[Any]]) -> StepResult:
        """See `VectorEnv.step`."""
        actions = check_actions(actions, self)
        if self._seeds[0] < 0:
            raise RuntimeError("step() before the first reset()")
        terminated = self._ledger.steps == self._episode_steps - 1
        answers = np.where(actions == self._cues, 1.0, -1.0)
        rewards = np.where(terminated, answers, 0.0).astype(np.float32)
        self._ledger.add(rewards)
        truncated = (self._ledger.steps >= self._max_episode_steps) & ~terminated
        ended = terminated | truncated

        frames = final_frames = self._frames()
        episodes = []
        if ended.any():
            episodes = self._ledger.finish(ended, terminated, self._seeds, frame_skip=1)
            frames = self._start(ended)
        life_lost = np.zeros(self.lanes, np.bool_)
        return StepResult(frames, rewards, terminated, truncated, life_lost, final_frames, episodes)

    def state(self) -> State:
        """See `VectorEnv.state`: int64[N] and float64[N] arrays; the rest follows from the seed."""
        ledger = self._ledger
        return {
            "seeds": self._seeds.copy(),
            "episodes": ledger.indices.copy(),
            "scores": ledger.scores.copy(),
            "steps": ledger.steps.copy(),
        }

    def restore(self, state: State) -> Frames:
        """See `VectorEnv.restore`."""
        episodes = np.asarray(state["episodes"], np.int64)
        if episodes.shape != (self.lanes,):
            raise ValueError(f"the state has {episodes.size} lanes, this environment {self.lanes}")
        everywhere = np.ones(self.lanes, np.bool_)
        self._ledger.begin(everywhere, episodes)
        self._start(everywhere)
        if not np.array_equal(self._seeds, state["seeds"]):
            raise ValueError(f"the state was made with another seed than {self._seed}")
        self._ledger.scores[:] = state["scores"]
        self._ledger.steps[:] = state["steps"]
        return self._frames()

    def close(self) -> None:
        """See `VectorEnv.close`; there is nothing to free."""

    def _start(self, lanes: NDArray[np.bool_]) -> Frames:
        """Draws the cues of the chosen lanes' episodes, and returns all lanes' frames."""
        for lane in np.flatnonzero(lanes):
            seed = episode_seed(self._seed, int(lane), int(self._ledger.indices[lane]))
            self._seeds[lane] = seed
            self._cues[lane] = np.random.default_rng(seed).integers(2)
        return self._frames()

    def _frames(self) -> Frames:
        """Returns uint8[N, H, W]: what the lanes show after their present number of steps."""
        steps = self._ledger.steps
        pictures = np.select(
            [steps == 0, steps == self._episode_steps - 1], [self._cues, QUESTION], default=BLANK
        )
        frames: Frames = self._pictures[pictures]
        return frames


def _draw_pictures(height: int, width: int) -> Frames:
    """Returns uint8[4, H, W]: cue 0 (left half lit), cue 1 (right half), blank, question."""
    pictures = np.zeros((4, height, width), np.uint8)
    pictures[CUE_0, :, : width // 2] = 255
    pictures[CUE_1, :, width // 2 :] = 255
    pictures[QUESTION, height // 4 : -(height // 4), width // 4 : -(width // 4)] = 255
    return pictures
