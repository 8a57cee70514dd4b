"""One game in ale-py's single environment, at its native speed and resolution.

What films show, and what lanes of another mode are made of (`envs.flavoured`).

It can be started as any episode of `AtariLanes` was: with the same seed and the same number of
no-ops. Fed with the same actions (each `frame_skip` times) it goes through the same states: the
tests hold `AtariLanes` equal to it, under Gymnasium's own `AtariPreprocessing`, frame by frame and
reward by reward.

How both are made equal, where their authors chose otherwise:
- No-ops. ale-py's vector environment and Gymnasium draw their number with different generators, so
  this one is told the number (`AtariLanes.noop_frames`) instead of drawing it.
- Seeds. Gymnasium hashes a seed before it reaches the emulator; here it is given as it is.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import ale_py
import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.episodes import EpisodicLanes
from envs.games import Game
from envs.interface import EnvSpec, Flavour, Picture
from envs.options import FRAME_SIDE_PIXELS
from envs.protocol import EpisodeProtocol

NativeEnv = gymnasium.Env[NDArray[np.uint8], Any]


class SeededStart(gymnasium.Wrapper[NDArray[np.uint8], Any, NDArray[np.uint8], Any]):
    """Starts an episode from an emulator seed and a number of no-op frames."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Loads the game with `seed` and lets `options["noop_frames"]` (default 0) frames pass.

        Args:
          seed: the emulator's, in [0, 2**31); None continues from its present random state.
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


def make_emulator(
    game: Game,
    protocol: EpisodeProtocol,
    action_set: str = "full",
    flavour: Flavour | None = None,
) -> NativeEnv:
    """Returns the game at native resolution: a step is one emulator frame, without a cap.

    `flavour` is one of the game's; None: its default.

    Observations and `render()` are uint8[210, 160, 3] in most games, RGB.
    `reset(seed=s, options={"noop_frames": k})` starts it like the episode of `AtariLanes` with
    seed s and k no-ops.
    """
    gymnasium.register_envs(ale_py)
    emulator = gymnasium.make(
        game.env_id,
        mode=flavour and flavour.mode,
        difficulty=flavour and flavour.difficulty,
        disable_env_checker=True,
        obs_type="rgb",
        frameskip=1,
        repeat_action_probability=protocol.sticky_probability,
        full_action_space=action_set == "full",
        max_num_frames_per_episode=0,
        render_mode="rgb_array",
    )
    return SeededStart(emulator)


class LaneEmulator:
    """An emulator beside a lane, as an `envs.interface.Screen`: it goes through the same states.

    Args:
      lanes: beside which it is.
      lane: whose episodes it plays.
    """

    def __init__(self, lanes: "GameLanes", lane: int) -> None:
        self._lanes, self._lane = lanes, lane
        self._emulator: Any = lanes.make_emulator()

    def begin(self) -> None:
        """See `Screen.begin`; the episode must be seeded, as with `reseed_steps=0` all are."""
        seed, noop_frames = self._lanes.start(self._lane)
        self._emulator.reset(seed=seed, options={"noop_frames": noop_frames})

    def step(self, action: int) -> tuple[list[Picture], float]:
        """See `Screen.step`."""
        pictures, score = [], 0.0
        for _ in range(self._lanes.spec.frames_per_step):
            picture, points, terminated, _, _ = self._emulator.step(action)
            score += points
            pictures.append(picture)
            if terminated:
                break
        return pictures, score

    def memory(self) -> NDArray[np.uint8]:
        """The game's, uint8[128]."""
        ram: NDArray[np.uint8] = self._emulator.unwrapped.ale.getRAM()
        return ram

    def close(self) -> None:
        """See `Screen.close`."""
        self._emulator.close()


class GameLanes(EpisodicLanes):
    """Lanes of a game, beside which emulators can go through the same states.

    Args:
      game: one of the 57.
      lanes: N, 1 or more.
      seed: see `EpisodicLanes`.
      protocol: how episodes start, stick and end.
      action_set: as in `envs.atari.AtariLanes`.
      actions: ale-py's, in the emulator's order.
      rom_md5: of the cartridge image.
      flavour: one of the game's; None: its default.

    Attributes:
      noop_frames: int64[N], the no-op frames that the running episodes started with.
      make_emulator: makes one that can play what a lane plays.
    """

    def __init__(
        self,
        game: Game,
        lanes: int,
        seed: int,
        protocol: EpisodeProtocol,
        action_set: str,
        actions: Sequence[Any],
        rom_md5: str,
        flavour: Flavour | None = None,
    ) -> None:
        spec = EnvSpec(
            name=game.name,
            frames_per_step=protocol.frame_skip,
            action_meanings=tuple(action.name for action in actions),
            frame_height=FRAME_SIDE_PIXELS,
            frame_width=FRAME_SIDE_PIXELS,
            protocol=protocol,
            action_set=action_set,
            rom_md5=rom_md5,
            reference=game,
        )
        super().__init__(spec, lanes, seed, protocol.max_episode_steps)
        self.noop_frames = np.zeros(lanes, np.int64)
        self._protocol = protocol
        self.make_emulator = partial(make_emulator, game, protocol, action_set, flavour)

    def screen(self) -> LaneEmulator:
        """See `FilmedLanes.screen`."""
        return LaneEmulator(self, 0)

    def start(self, lane: int) -> tuple[int, int]:
        """Seed and no-op frames of the episode that a lane is in."""
        return int(self._seeds[lane]), int(self.noop_frames[lane])
