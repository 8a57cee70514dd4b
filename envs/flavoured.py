"""N lanes of a game in one of its other modes and difficulties.

ale-py's vector environment plays a game in its default mode only. These lanes are single emulators
(`envs.emulator`), stepped one after the other. What is around them is that of `envs.atari`, whose
module says what and why: pictures, no-ops, sticky actions, lives, the cap. In the default mode the
tests hold both equal, frame by frame. Every episode is seeded, as there with `reseed_steps=0`: they
are for evaluation.
"""

from typing import Any

import ale_py
import numpy as np
from ale_py import roms
from numpy.typing import NDArray

from envs.atari import atari_spec, rom_md5
from envs.emulator import EmulatorScreen, make_emulator
from envs.episodes import EpisodeLedger, episode_seed
from envs.games import Game
from envs.interface import Flavour, Flavours, Frames, Screen, StepResult, check_actions
from envs.protocol import EpisodeProtocol
from envs.resizing import shrunk


def find_flavours(game: Game) -> Flavours:
    """Returns the modes and the difficulties that ale-py lists for a game.

    Raises:
      RomError: the cartridge image is missing or damaged.
    """
    rom_md5(game)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(roms.get_rom_path(game.rom) or "")
    return Flavours(tuple(ale.getAvailableModes()), tuple(ale.getAvailableDifficulties()))


class FlavouredLanes:
    """N lanes of one flavour of a game, as `envs.interface.FilmedLanes`.

    Args:
      game: one of the 57.
      flavour: one of `find_flavours`.
      lanes: N, 1 or more.
      seed: 0 or more; in the default flavour a lane plays the episodes that `AtariLanes` plays.
      protocol: how episodes start, stick and end.
      action_set: as in `envs.atari.make_atari`; a game has the same in all its modes.

    Attributes:
      lanes: N.
      spec: that of `AtariLanes`.
      noop_frames: int64[N], the no-op frames that the running episodes started with.

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
        self._game, self._flavour, self._protocol = game, flavour, protocol
        self._seed = seed
        self._emulators: list[Any] = [
            make_emulator(game, protocol, action_set, flavour) for _ in range(lanes)
        ]
        ale = self._emulators[0].unwrapped.ale
        is_full = action_set == "full"
        self._actions = ale.getLegalActionSet() if is_full else ale.getMinimalActionSet()
        self.lanes = lanes
        self.spec = atari_spec(game, protocol, action_set, self._actions, md5=md5)
        self.noop_frames = np.zeros(lanes, np.int64)
        self._ledger = EpisodeLedger(lanes)
        self._seeds = np.zeros(lanes, np.int64)
        self._lives = np.zeros(lanes, np.int64)
        # The last two gray screens of each lane, the last one first; black is none.
        self._screens = np.zeros((2, lanes, *ale.getScreenDims()), np.uint8)
        self._started = False

    def reset(self) -> Frames:
        """See `Lanes.reset`: every lane begins its episode 0."""
        everywhere = np.ones(self.lanes, np.bool_)
        self._ledger.begin(everywhere, np.zeros(self.lanes, np.int64))
        return self._start(everywhere)

    def step(self, actions: NDArray[np.integer[Any]]) -> StepResult:
        """See `Lanes.step`."""
        actions = check_actions(actions, self)
        if not self._started:
            raise RuntimeError("step() on an environment that was closed or never reset")
        acted = [self._act(lane, int(action)) for lane, action in enumerate(actions)]
        rewards = np.array([points for points, _ in acted], np.float32)
        terminated = np.array([is_over for _, is_over in acted], np.bool_)
        self._ledger.add(rewards)
        truncated = (self._ledger.steps >= self._protocol.max_episode_steps) & ~terminated
        ended = terminated | truncated
        lives = np.array([emulator.unwrapped.ale.lives() for emulator in self._emulators])
        life_lost = (lives < self._lives) & ~ended
        self._lives = lives

        frames = final_frames = self._seen()
        episodes = []
        if ended.any():
            frame_skip = self._protocol.frame_skip
            episodes = self._ledger.finish(ended, terminated, self._seeds, frame_skip)
            frames = self._start(ended)
        return StepResult(frames, rewards, terminated, truncated, life_lost, final_frames, episodes)

    def screen(self) -> Screen:
        """See `FilmedLanes.screen`."""
        action_set = self.spec.action_set or "full"
        return EmulatorScreen(
            make_emulator(self._game, self._protocol, action_set, self._flavour),
            self._protocol.frame_skip,
            lambda: (int(self._seeds[0]), int(self.noop_frames[0])),
        )

    def close(self) -> None:
        """See `Lanes.close`."""
        for emulator in self._emulators:
            emulator.close()
        self._emulators, self._started = [], False

    def _start(self, lanes: NDArray[np.bool_]) -> Frames:
        """Begins the ledger's episodes in the chosen lanes, bool[N]; returns all lanes' frames."""
        if not self._emulators:
            raise RuntimeError("reset() on an environment that was closed")
        for lane in np.flatnonzero(lanes):
            seed = episode_seed(self._seed, int(lane), int(self._ledger.indices[lane]))
            self._seeds[lane] = seed
            self.noop_frames[lane] = _drawn_noops(seed, self._protocol.noop_max_frames)
            emulator = self._emulators[lane]
            emulator.reset(seed=seed, options={"noop_frames": int(self.noop_frames[lane])})
            self._lives[lane] = emulator.unwrapped.ale.lives()
            emulator.unwrapped.ale.getScreenGrayscale(self._screens[0, lane])
            self._screens[1, lane] = 0
        self._started = True
        return self._seen()

    def _act(self, lane: int, action: int) -> tuple[float, bool]:
        """Holds an action in one lane; returns its reward, and whether the game ended."""
        ale = self._emulators[lane].unwrapped.ale
        points = 0.0
        for frames_left in reversed(range(self._protocol.frame_skip)):
            points += ale.act(self._actions[action])
            if ale.game_over(with_truncation=False):
                return points, True
            if frames_left < len(self._screens):
                ale.getScreenGrayscale(self._screens[frames_left, lane])
        return points, False

    def _seen(self) -> Frames:
        """What the agent sees of every lane."""
        return shrunk(self._screens.max(axis=0), self.spec.frame_height, self.spec.frame_width)


def _drawn_noops(seed: int, most: int) -> int:
    """How many no-ops ale-py's vector environment draws after seeding: a 32-bit draw, scaled."""
    draw = int(np.random.RandomState(seed).randint(2**32, dtype=np.uint32))
    return draw * (most + 1) >> 32
