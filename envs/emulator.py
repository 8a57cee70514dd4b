"""One game in ale-py's single environment, at its native speed and resolution: what films show.

It can be started as any episode of `AtariLanes` was: with the same seed and the same number of
no-ops. Fed with the same actions (each `frame_skip` times) it goes through the same states: the
tests hold `AtariLanes` equal to it, under Gymnasium's own `AtariPreprocessing`, frame by frame and
reward by reward.

How both are made equal, where their authors chose otherwise:
- No-ops. ale-py's vector environment and Gymnasium draw their number with different generators, so
  this one is told the number (`AtariLanes.noop_frames`) instead of drawing it.
- Seeds. Gymnasium hashes a seed before it reaches the emulator; here it is given as it is.
"""

from typing import Any

import ale_py
import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.games import Game
from envs.protocol import Protocol

NativeEnv = gymnasium.Env[NDArray[np.uint8], Any]


class SeededStart(gymnasium.Wrapper[NDArray[np.uint8], Any, NDArray[np.uint8], Any]):
    """Starts an episode from an emulator seed and a number of no-op frames."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Loads the game with `seed` and lets `options["noop_frames"]` (default 0) frames pass.

        Args:
          seed: the emulator's, in [0, 2**31); None goes on from its present random state.
          options: see above.
        """
        emulator: Any = self.unwrapped
        if seed is not None:
            emulator.ale.setInt("random_seed", seed)
            emulator.load_game()
        frame, info = self.env.reset()
        for _ in range((options or {}).get("noop_frames", 0)):
            frame, _, terminated, truncated, info = self.env.step(0)
            if terminated or truncated:
                frame, info = self.env.reset()
        return frame, info


def make_emulator(game: Game, protocol: Protocol, action_set: str = "full") -> NativeEnv:
    """Returns the game at native resolution: a step is one emulator frame, without a cap.

    Observations and `render()` are uint8[210, 160, 3] in most games, RGB.
    `reset(seed=s, options={"noop_frames": k})` starts it like the episode of `AtariLanes` with
    seed s and k no-ops.
    """
    gymnasium.register_envs(ale_py)
    emulator = gymnasium.make(
        game.env_id,
        disable_env_checker=True,
        obs_type="rgb",
        frameskip=1,
        repeat_action_probability=protocol.sticky_probability,
        full_action_space=action_set == "full",
        max_num_frames_per_episode=0,
        render_mode="rgb_array",
    )
    return SeededStart(emulator)
