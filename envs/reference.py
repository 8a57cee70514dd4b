"""One game, emulated and preprocessed the plain way: what the vector environment is held against.

`make_emulator` gives the single environment of ale-py at its native speed and resolution, and can
be started as any episode of `AtariLanes` was: with the same seed and the same number of no-ops.
Fed with the same actions (each `frame_skip` times) it goes through the same states: `watch` films
it. `make_reference` puts Gymnasium's own `AtariPreprocessing` over it; the tests hold `AtariLanes`
equal to that, frame by frame and reward by reward. It needs opencv, which only the tests install.

How both are made equal, where their authors chose otherwise:
- No-ops. ale-py's vector environment and Gymnasium draw their number with different generators, so
  the reference is told the number (`AtariLanes.noop_frames`) instead of drawing it.
- Seeds. Gymnasium hashes a seed before it reaches the emulator; here it is given as it is.
- The cap. `TimeLimit` counts steps above the preprocessing, so that, as in `AtariLanes`, a
  truncated episode's last frame is a real one.
- The resize is opencv's INTER_AREA on both sides: the frames are equal to the last bit, also the
  stale last frame of an episode that terminated inside a frame skip.
"""

from typing import Any

import ale_py
import gymnasium
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, TimeLimit
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


def make_reference(
    game: Game,
    protocol: Protocol,
    action_set: str = "full",
    *,
    frame_height: int = 84,
    frame_width: int = 84,
) -> NativeEnv:
    """Returns the game as an agent sees it: uint8[frame_height, frame_width] a step.

    Raises:
      gymnasium.error.DependencyNotInstalled: opencv is missing.
    """
    preprocessed = AtariPreprocessing(
        make_emulator(game, protocol, action_set),
        noop_max=0,
        frame_skip=protocol.frame_skip,
        screen_size=(frame_width, frame_height),
        terminal_on_life_loss=False,
        grayscale_obs=True,
        grayscale_newaxis=False,
        scale_obs=False,
    )
    return TimeLimit(preprocessed, max_episode_steps=protocol.max_episode_steps)
