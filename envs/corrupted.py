"""An environment seen through a corruption: only what is looked at changes, never the game."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.corruptions import Corruption, Scene
from envs.interface import Frames, Lanes, StepResult


class CorruptedEnv:
    """Lanes whose frames are corrupted before they are seen.

    The same seed and actions show the same frames.

    Args:
      env: what is played; closed with this.
      corruption: how its frames are changed.
      level: how strongly, 1 to 5.
      seed: of what is drawn.
    """

    def __init__(self, env: Lanes, corruption: Corruption, level: int, *, seed: int) -> None:
        self._env = env
        self._corruption = corruption
        self._level = level
        self._seed = seed
        self.lanes = env.lanes
        self.spec = env.spec

    def reset(self) -> Frames:
        """Starts anew."""
        self._rng = np.random.default_rng(self._seed)
        frames = self._env.reset()
        self._episode, self._shown = np.zeros((self.lanes, 2)), frames
        return self._seen(frames, np.ones(self.lanes, np.bool_))

    def step(self, actions: NDArray[np.integer[Any]]) -> StepResult:
        """Takes one action in every lane; the frames to act on are corrupted, the rest is not."""
        result = self._env.step(actions)
        return result._replace(
            frames=self._seen(result.frames, result.terminated | result.truncated)
        )

    def rest(self, lane: int) -> None:
        """Lets a lane play no further."""
        self._env.rest(lane)

    def close(self) -> None:
        """Closes what is played."""
        self._env.close()

    def _seen(self, frames: Frames, begins: NDArray[np.bool_]) -> Frames:
        """The frames as they are shown, where an episode begins with places drawn anew."""
        if begins.any():
            drawn = self._rng.random((self.lanes, 2))
            self._episode = np.where(begins[:, None], drawn, self._episode)
            self._shown = np.where(begins[:, None, None], frames, getattr(self, "_shown", frames))
        scene = Scene(self._rng, self._episode, self._shown)
        self._shown = self._corruption(frames, self._level, scene)
        return self._shown
