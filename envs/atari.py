"""N Atari games at once, on ale-py's C++ vector environment with every option given.

What the agent sees: the newest 84 x 84 gray frame of each lane, the maximum of the last two of the
4 emulator frames that its action was held for, made smaller by area averaging. Rewards are raw, a
lost life is told but ends nothing, no FIRE is pressed for the agent. Frames are not stacked here.

Where this differs from ale-py's own defaults, and why:
- Episodes are started by us, with a partial reset right after the step that ended them. The
  emulator's own automatic reset would insert a step whose action is ignored.
- The frame cap is kept by us: the emulator leaves the frame skip before it takes the last picture,
  and truncation, unlike termination, bootstraps from that picture. The last frame of a *terminated*
  episode does lag by up to 3 emulator frames; nothing is ever computed from it.
- ale-py draws its no-ops from [0, noop_max - 1]; we pass one more, so that the protocol's 30 means
  0 to 30. Rewards during no-ops do not count.
- An action out of range would make the emulator wait for ever: it is refused before.
- It plays a game's default mode only; `envs.flavoured` has lanes for the others.
- `full` means the 18 joystick actions in all games but Skiing: its 9 without FIRE, all that ale-py
  offers there.

Randomness. A lane's emulator is seeded once with (seed, lane, episode), and continues from its own
random state at the episodes after that, until one ends with `reseed_steps` or more actions since:
the next is seeded afresh. Seeding reloads the cartridge, 80 ms against 4 ms for a plain reset
(ale-py 0.12.1), hence not at every episode. `reseed_steps=0` does seed each one, for evaluation:
an episode is then reproducible from (`EpisodeRecord.seed`, its actions) alone, elsewhere too. A
plain reset is no clean start: in 8 of the 57 games (Berzerk, Solaris, ...) memory outlives it.

State. The vector environment cannot copy an emulator's state. `state()` is therefore the list of
actions since a lane was seeded, and `restore()` plays them again: it takes as long as the longest
of them took to act, without the network. The emulator is deterministic; the scores are checked.

Rest. The vector environment steps all of its emulators or none. Where lanes rest, the others are
moved, by the same replay, to a smaller one: an evaluation often waits for one long episode. Where
each lane has a thread of its own that would save no time, and is not done.
"""

import hashlib
from functools import partial
from math import ceil
from typing import Any

import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from envs.emulator import GameLanes, LaneEmulator
from envs.episodes import Acted, episode_seed
from envs.games import Game, find_game
from envs.interface import Frames, State
from envs.options import ACTION_SETS, FRAME_SIDE_PIXELS
from envs.protocol import EpisodeProtocol, check_least, find_protocol
from envs.ram import EmulatorRam

RESEED_STEPS = 20_000
"""Seeding then costs 1.3 % of one thread's time, and a restore of 16 lanes on one core up to two
minutes (longer only where one episode is). More steps: cheaper seeding, longer restores."""
REMAKE_STEPS = 300
"""What making, seeding and resetting a lane's emulator takes, in steps of it."""
MOST_MOVED_STEPS = 20_000
"""Lanes are not moved by replaying more than these, 15 to 30 s of a core: a step must not hang."""


class RomError(OSError):
    """A game's cartridge image is missing or damaged."""


def rom_md5(game: Game) -> str:
    """Returns the MD5 sum of the cartridge image in use, which ale-py holds against its own list.

    Raises:
      RomError: it is missing or damaged.
    """
    try:
        path = roms.get_rom_path(game.rom)
        if path is None:
            raise FileNotFoundError(f"ale-py has no cartridge called {game.rom!r}")
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise RomError(
            f"cannot load the cartridge of {game.name}: {' '.join(str(error).split())}; all 57 are "
            "part of the ale-py package: unset ALE_ROMS_DIR if it is set, or install ale-py again"
        ) from error


class AtariLanes(GameLanes):
    """N lanes of one game, used as described in `envs.interface`.

    Args:
      game: one of the 57, or any name that `find_game` knows.
      lanes: N, 1 or more.
      seed: 0 or more; lane i plays the same episodes whatever N and `threads` are.
      protocol: how episodes start, stick and end, or the name of one in `PROTOCOLS`.
      action_set: `full` (see above) or `minimal` (what the game uses, 3 to 18 actions).
      threads: emulator threads of this environment, 1 or more.
      reseed_steps: a lane is seeded afresh at the first episode that ends this many steps or more
        after the last seeding; 0 for every episode.

    Attributes:
      lanes: N.
      spec: its actions have ale-py's names, `NOOP` first.
      noop_frames: int64[N], the no-op frames that the running episodes started with.

    Raises:
      ValueError: an argument is out of range (`UnknownGameError` for a game).
      RomError: the cartridge image is missing or damaged.
    """

    def __init__(
        self,
        game: Game | str,
        lanes: int,
        seed: int,
        protocol: EpisodeProtocol | str,
        *,
        action_set: str = "full",
        threads: int = 1,
        reseed_steps: int = RESEED_STEPS,
    ) -> None:
        check_least(1, lanes=lanes, threads=threads)
        check_least(0, seed=seed, reseed_steps=reseed_steps)
        if action_set not in ACTION_SETS:
            known = ", ".join(ACTION_SETS)
            raise ValueError(f"action_set is {action_set!r}; it must be one of {known}")
        game = find_game(game) if isinstance(game, str) else game
        protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
        md5 = rom_md5(game)
        self._make_emulators = partial(
            AtariVectorEnv,
            game.rom,
            num_threads=threads,
            thread_affinity_offset=-1,
            # One step more than ours, which is therefore always the first to act.
            max_num_frames_per_episode=protocol.max_episode_frames + protocol.frame_skip,
            repeat_action_probability=protocol.sticky_probability,
            full_action_space=action_set == "full",
            continuous=False,
            continuous_action_threshold=0.5,
            # Its automatic reset happens only where a lane rests, and counts for nothing.
            autoreset_mode=AutoresetMode.NEXT_STEP,
            img_height=FRAME_SIDE_PIXELS,
            img_width=FRAME_SIDE_PIXELS,
            grayscale=True,
            stack_num=1,
            frameskip=protocol.frame_skip,
            maxpool=True,
            noop_max=protocol.noop_max_frames + 1,
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=False,
        )
        emulators = self._make_emulators(num_envs=lanes, batch_size=lanes)
        actions = emulators.ale.get_action_set()
        super().__init__(game, lanes, seed, protocol, action_set, actions, md5)
        self._emulators: AtariVectorEnv | None = emulators
        self._threads = threads
        self._emulated = np.arange(self.lanes)  # the lanes that have an emulator, in its order
        self._wasted_steps = 0  # of a thread, on emulators whose lanes rest
        self._reseed_steps = reseed_steps
        # Frames that ale-py itself plays to get some games going: 134 in NameThisGame, mostly none.
        self._opening_frames = 0
        # A lane's actions since it was seeded. The last episode begins before reseed_steps, so this
        # is room for all of them; the system provides memory only where something is written.
        self._history = np.empty((self.lanes, reseed_steps + protocol.max_episode_steps), np.uint8)
        self._history_steps = np.zeros(self.lanes, np.int64)
        self._seeded_episodes = np.zeros(self.lanes, np.int64)
        self._frames: Frames

    def reset(self) -> Frames:
        """See `VectorEnv.reset`."""
        self._emulate(np.arange(self.lanes))
        self._history_steps[:] = self._reseed_steps  # all are due to be seeded
        return super().reset()

    def shown(self) -> Frames:
        """See `EpisodicLanes.shown`."""
        return self._frames

    def state(self) -> State:
        """See `VectorEnv.state`.

        Returns:
          seeds: int64[N], what each lane was seeded with last.
          seeded_episodes: int64[N], the index of the episode that began then.
          history_steps: int64[N], the number of actions since.
          actions: uint8[sum(history_steps)], those actions, lane after lane.
          scores: float64[N] and steps: int64[N], of the running episodes.
        """
        kept = zip(self._history, self._history_steps, strict=True)
        return {
            "seeds": self._seeds.copy(),
            "seeded_episodes": self._seeded_episodes.copy(),
            "history_steps": self._history_steps.copy(),
            "actions": np.concatenate([history[:steps] for history, steps in kept]),
            "scores": self._scores.copy(),
            "steps": self._steps.copy(),
        }

    def restore(self, state: State) -> Frames:
        """See `VectorEnv.restore`: plays the recorded actions again."""
        self._replay(state, np.arange(self.lanes))
        return self.shown()

    def ram(self) -> EmulatorRam:
        """See `VectorEnv.ram`."""
        return EmulatorRam([LaneEmulator(self, lane) for lane in range(self.lanes)])

    def close(self) -> None:
        """See `VectorEnv.close`."""
        super().close()
        self._emulators = None

    def _emulate(self, lanes: NDArray[np.int64]) -> None:
        """These lanes, and no others, have emulators from now on; new ones are yet to be reset."""
        if self._emulators is None:
            raise RuntimeError("reset() or restore() on an environment that was closed")
        if len(lanes) != len(self._emulated):
            self._emulators = self._make_emulators(num_envs=len(lanes), batch_size=len(lanes))
            self._emulated = lanes
        self._wasted_steps = 0

    def _leave_resting(self) -> None:
        """Moves the lanes that play, if the others have wasted as much time as that takes."""
        playing = np.flatnonzero(self._playing)
        rounds = ceil(len(playing) / self._threads)  # threads step emulators side by side
        self._wasted_steps += ceil(len(self._emulated) / self._threads) - rounds
        longest_steps = int(self._history_steps[playing].max(initial=0))
        moved_steps = rounds * (REMAKE_STEPS + longest_steps)
        if 0 < moved_steps < min(self._wasted_steps, MOST_MOVED_STEPS):
            self._replay(self.state(), playing)

    def _replay(self, state: State, lanes: NDArray[np.int64]) -> None:
        """Brings these lanes to where they are in `state`, by the actions that led there."""
        episodes, histories = self._check_state(state)
        self._emulate(lanes)
        replayed_steps = max(len(histories[lane]) for lane in lanes)
        padded = np.zeros((self.lanes, replayed_steps), np.uint8)
        # A lane with a shorter history is seeded later, so that all arrive together. Whatever it
        # does before that leaves no trace.
        starts = np.full(self.lanes, -1)
        for lane in lanes:
            starts[lane] = replayed_steps - len(histories[lane])
            padded[lane, starts[lane] :] = histories[lane]
        for step in range(replayed_steps + 1):
            # All at first, because ale-py must have reset a lane before it can step any.
            starting = starts == step if step else starts >= 0
            if starting.any():
                self._history_steps[starting] = self._reseed_steps  # due to be seeded
                self._start(starting, episodes)
            if step < replayed_steps:
                self.step(padded[:, step])
        for name, found in (("scores", self._scores), ("steps", self._steps)):
            if not np.array_equal(found, state[name]):
                raise RuntimeError(
                    f"the recorded actions led to {name} of {found.tolist()}, they were "
                    f"{np.asarray(state[name]).tolist()}: was ale-py, the game or the protocol "
                    "another one then?"
                )

    def _begin(self, lanes: NDArray[np.bool_]) -> None:
        """See `EpisodicLanes`; lanes that have acted for long enough are seeded, too."""
        assert self._emulators is not None  # else `_emulate` had refused
        seeded = lanes & (self._history_steps >= self._reseed_steps)
        self._draw_seeds(seeded)
        self._seeded_episodes[seeded] = self._episodes[seeded]
        self._history_steps[seeded] = 0
        # To ale-py, -1 means "continue from the present random state".
        observations, info = self._emulators.reset(
            seed=np.where(seeded, self._seeds, -1)[lanes],
            options={"reset_mask": lanes[self._emulated]},
        )
        info = {name: self._by_lane(values) for name, values in info.items()}
        if seeded.any():
            # Loading the cartridge starts the game once before the reset does.
            opening_frames = info["frame_number"] - info["episode_frame_number"]
            self._opening_frames = int(opening_frames[seeded.argmax()])
        # Sticky actions make openings of DoubleDunk differ; where there are some, no-ops are none.
        passed = info["episode_frame_number"][lanes] - self._opening_frames
        self.noop_frames[lanes] = np.clip(passed, 0, self._protocol.noop_max_frames)
        self._lives[lanes] = info["lives"][lanes]
        self._frames = self._by_lane(observations[:, 0])

    def _act(self, actions: NDArray[np.int64]) -> Acted:
        """See `EpisodicLanes`."""
        self._leave_resting()
        assert self._emulators is not None  # else it would not have started
        playing = np.flatnonzero(self._playing)
        self._history[playing, self._history_steps[playing]] = actions[playing]
        self._history_steps[playing] += 1
        observations, points, terminated, _, info = self._emulators.step(actions[self._emulated])
        self._frames = self._by_lane(observations[:, 0])
        rewards, lives = points.astype(np.float32), info["lives"]
        return Acted(*map(self._by_lane, (rewards, terminated, lives)))

    def _by_lane(self, emulated: NDArray[Any]) -> NDArray[Any]:
        """What each emulator gave, and zeros where a lane has none."""
        if len(emulated) == self.lanes:
            return emulated
        values = np.zeros((self.lanes, *emulated.shape[1:]), emulated.dtype)
        values[self._emulated] = emulated
        return values

    def _check_state(self, state: State) -> tuple[NDArray[np.int64], list[NDArray[np.uint8]]]:
        """Returns the lanes' seeded episodes and histories, or raises ValueError."""
        episodes = np.asarray(state["seeded_episodes"], np.int64)
        steps = np.asarray(state["history_steps"], np.int64)
        actions = np.asarray(state["actions"], np.uint8)
        if not episodes.shape == steps.shape == (self.lanes,):
            raise ValueError(f"the state has {steps.size} lanes, this environment {self.lanes}")
        if steps.min() < 0 or steps.max() > self._history.shape[1] or steps.sum() != actions.size:
            raise ValueError(
                f"the state has {actions.size} actions for {steps.tolist()} steps; at most "
                f"{self._history.shape[1]} a lane are expected"
            )
        if episodes.min() < 0:
            raise ValueError(f"the state has a negative episode: {episodes.tolist()}")
        seeds = [episode_seed(self._seed, lane, int(e)) for lane, e in enumerate(episodes)]
        if not np.array_equal(seeds, state["seeds"]):
            raise ValueError(f"the state was made with another seed than {self._seed}")
        return episodes, np.split(actions, np.cumsum(steps)[:-1])
