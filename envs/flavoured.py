"""N lanes of a game in one of its other modes and difficulties.

ale-py's vector environment plays a game in its default mode only. These lanes are single emulators
(`envs.emulator`), stepped one after the other. What is around them is that of `envs.atari`, whose
module says what and why: pictures, no-ops, sticky actions, lives, the cap. In the default mode the
tests hold both equal, frame by frame. Every episode is seeded, as there with `reseed_steps=0`: they
are for evaluation.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from envs.atari import rom_md5
from envs.emulator import Emulator, GameLanes
from envs.episodes import Acted
from envs.games import Game
from envs.interface import Flavour, Flavours, Frames
from envs.protocol import EpisodeProtocol
from envs.resizing import shrunk


def find_flavours(game: Game) -> Flavours:
    """Returns the modes and the difficulties that ale-py lists for a game.

    Raises:
      RomError: the cartridge image is missing or damaged.
    """
    rom_md5(game)
    ale = Emulator(game).ale
    return Flavours(tuple(ale.getAvailableModes()), tuple(ale.getAvailableDifficulties()))


class FlavouredLanes(GameLanes):
    """N lanes of one flavour of a game, as `envs.interface.FilmedLanes`.

    Args:
      game: one of the 57.
      flavour: one of `find_flavours`.
      lanes: N, 1 or more.
      seed: 0 or more; in the default flavour a lane plays the episodes that `AtariLanes` plays.
      protocol: how episodes start, stick and end.
      action_set: as in `envs.atari.AtariLanes`; a game has the same in all its modes.

    Raises:
      RomError: the cartridge image is missing or damaged.
    """

    def __init__(
        self,
        game: Game,
        flavour: Flavour,
        lanes: int,
        seed: int,
        protocol: EpisodeProtocol,
        *,
        action_set: str = "full",
    ) -> None:
        md5 = rom_md5(game)
        make = partial(Emulator, game, protocol.sticky_probability, action_set, flavour)
        self._emulators = [make() for _ in range(lanes)]
        first = self._emulators[0]
        super().__init__(game, lanes, seed, protocol, action_set, first.actions, md5, flavour)
        # The last two gray screens of each lane, the last one first; black is none.
        self._screens = np.zeros((2, lanes, *first.ale.getScreenDims()), np.uint8)

    def shown(self) -> Frames:
        """See `EpisodicLanes.shown`: what the agent sees of every lane."""
        return shrunk(self._screens.max(axis=0), self.spec.frame_height, self.spec.frame_width)

    def close(self) -> None:
        """See `Lanes.close`."""
        super().close()
        self._emulators = []

    def _begin(self, lanes: NDArray[np.bool_]) -> None:
        """See `EpisodicLanes`."""
        if not self._emulators:
            raise RuntimeError("reset() on an environment that was closed")
        self._draw_seeds(lanes)
        for lane in np.flatnonzero(lanes):
            emulator, seed = self._emulators[lane], int(self._seeds[lane])
            self.noop_frames[lane] = _drawn_noops(seed, self._protocol.noop_max_frames)
            emulator.start(seed, int(self.noop_frames[lane]))
            self._lives[lane] = emulator.ale.lives()
            emulator.ale.getScreenGrayscale(self._screens[0, lane])
            self._screens[1, lane] = 0

    def _act(self, actions: NDArray[np.int64]) -> Acted:
        """See `EpisodicLanes`."""
        held = [
            self._hold(lane, int(action)) if self._playing[lane] else (0.0, False, 0)
            for lane, action in enumerate(actions)
        ]
        points, is_over, lives = map(np.array, zip(*held, strict=True))
        return Acted(points.astype(np.float32), is_over, lives)

    def _hold(self, lane: int, action: int) -> tuple[float, bool, int]:
        """Holds an action in one lane; its reward, whether the game ended, the lives left."""
        emulator, ale = self._emulators[lane], self._emulators[lane].ale
        points, is_over = 0.0, False
        for frames_left in reversed(range(self._protocol.frame_skip)):
            points += ale.act(emulator.actions[action])
            is_over = ale.game_over()
            if is_over:
                break
            if frames_left < len(self._screens):
                ale.getScreenGrayscale(self._screens[frames_left, lane])
        return points, is_over, ale.lives()


def _drawn_noops(seed: int, most: int) -> int:
    """How many no-ops ale-py's vector environment draws after seeding: a 32-bit draw, scaled."""
    draw = int(np.random.RandomState(seed).randint(2**32, dtype=np.uint32))
    return draw * (most + 1) >> 32
