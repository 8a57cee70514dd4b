"""One game in ale-py's single environment, at its native speed and resolution.

What films show, and what lanes of another mode are made of (`envs.flavoured`).

It can be started as any episode of `AtariLanes` was: with the same seed and the same number of
no-ops. Fed with the same actions (each `frame_skip` times) it goes through the same states: the
tests hold the lanes' scores, pictures and memory equal to it. It draws no no-ops of its own: it is
told their number (`AtariLanes.noop_frames`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import ale_py
import numpy as np
from ale_py import roms
from numpy.typing import NDArray

from envs.episodes import EpisodicLanes
from envs.games import Game
from envs.interface import EnvSpec, Flavour, Picture
from envs.options import FRAME_SIDE_PIXELS
from envs.protocol import EpisodeProtocol


class Emulator:
    """A game as ale-py has it: an action is one emulator frame, no episode has a cap.

    Args:
      game: one of the 57.
      sticky_probability: see `EpisodeProtocol`.
      action_set: as in `envs.atari.AtariLanes`.
      flavour: one of the game's; None: its default.

    Attributes:
      ale: ale-py's own; screens are uint8[210, 160, 3] in most games, RGB.
      actions: ale-py's, in the agent's order.
    """

    def __init__(
        self,
        game: Game,
        sticky_probability: float = 0.0,
        action_set: str = "full",
        flavour: Flavour | None = None,
    ) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # first: a new one says hello
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", sticky_probability)
        self._rom = roms.get_rom_path(game.rom) or ""
        self._flavour = flavour
        self._load()
        is_full = action_set == "full"
        self.actions = self.ale.getLegalActionSet() if is_full else self.ale.getMinimalActionSet()

    def start(self, seed: int, noop_frames: int) -> None:
        """Begins the episode of `AtariLanes` with this seed, in [0, 2**31), and so many no-ops."""
        self.ale.setInt("random_seed", seed)
        self._load()
        self.ale.reset_game()
        for _ in range(noop_frames):
            self.ale.act(self.actions[0])
            if self.ale.game_over():
                self.ale.reset_game()

    def _load(self) -> None:
        self.ale.loadROM(self._rom)
        if self._flavour is not None:
            self.ale.setMode(self._flavour.mode)
            self.ale.setDifficulty(self._flavour.difficulty)


class LaneEmulator:
    """An emulator beside a lane, as an `envs.interface.Screen`: it goes through the same states.

    Args:
      lanes: beside which it is.
      lane: whose episodes it plays.
    """

    def __init__(self, lanes: "GameLanes", lane: int) -> None:
        self._lanes, self._lane = lanes, lane
        self._emulator = lanes.make_emulator()

    def begin(self) -> None:
        """See `Screen.begin`; the episode must be seeded, as with `reseed_steps=0` all are."""
        self._emulator.start(*self._lanes.start(self._lane))

    def step(self, action: int) -> tuple[list[Picture], float]:
        """See `Screen.step`."""
        ale, score = self._emulator.ale, 0.0
        pictures: list[Picture] = []
        for _ in range(self._lanes.spec.frames_per_step):
            score += ale.act(self._emulator.actions[action])
            pictures.append(ale.getScreenRGB())
            if ale.game_over():
                break
        return pictures, score

    def memory(self) -> NDArray[np.uint8]:
        """The game's, uint8[128]."""
        return self._emulator.ale.getRAM()


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
        self.make_emulator = partial(
            Emulator, game, protocol.sticky_probability, action_set, flavour
        )

    def screen(self) -> LaneEmulator:
        """See `FilmedLanes.screen`."""
        return LaneEmulator(self, 0)

    def start(self, lane: int) -> tuple[int, int]:
        """Seed and no-op frames of the episode that a lane is in."""
        return int(self._seeds[lane]), int(self.noop_frames[lane])
