"""Lanes of episodes: what all of them do alike.

They count what each episode has scored, end it at the cap, and begin the next in the same step.
Scores are float64: sums of whole points, exact.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.interface import EnvSpec, EpisodeRecord, Frames, StepResult, check_actions


def episode_seed(run_seed: int, lane: int, episode: int) -> int:
    """Returns the seed of one episode, in [0, 2**31): independent of all others of the run.

    numpy's SeedSequence with (lane, episode) as spawn key, so that nothing depends on the number
    of lanes or on the order in which their episodes end.
    """
    sequence = np.random.SeedSequence(run_seed, spawn_key=(lane, episode))
    return int(sequence.generate_state(1)[0] >> 1)


class Acted(NamedTuple):
    """What one action in every lane did to the running episodes."""

    rewards: NDArray[np.float32]
    """float32[N], unclipped."""
    terminated: NDArray[np.bool_]
    """bool[N], where the game is over."""
    lives: NDArray[np.integer[Any]] | int = 0
    """int[N], those that are left; 0 where there are none to lose."""


class EpisodicLanes(ABC):
    """N lanes, as an `envs.interface.Lanes`. A kind of them says how they begin and act.

    Args:
      spec: what each lane is.
      lanes: N, 1 or more.
      seed: 0 or more; that of an episode follows from it by `episode_seed`.
      max_episode_steps: an episode is truncated after so many.
    """

    def __init__(self, spec: EnvSpec, lanes: int, seed: int, max_episode_steps: int) -> None:
        self.spec = spec
        self.lanes = lanes
        self._seed = seed
        self._max_episode_steps = max_episode_steps
        self._started = False
        self._playing = np.ones(lanes, np.bool_)  # the others rest
        # Of the running episodes: which of its lane's it is, counted from 0, what the lane was
        # seeded with last, the sum of the rewards so far, and the actions.
        self._episodes = np.zeros(lanes, np.int64)
        self._seeds = np.zeros(lanes, np.int64)
        self._scores = np.zeros(lanes, np.float64)
        self._steps = np.zeros(lanes, np.int64)
        self._lives = np.zeros(lanes, np.int64)

    @abstractmethod
    def shown(self) -> Frames:
        """What the lanes show now, uint8[N, H, W]; the caller's to keep."""

    @abstractmethod
    def _begin(self, lanes: NDArray[np.bool_]) -> None:
        """Begins the episodes `_episodes` in the chosen lanes, bool[N]."""

    @abstractmethod
    def _act(self, actions: NDArray[np.int64]) -> Acted:
        """Takes one action in every lane, none out of range; that of one that rests is void."""

    def reset(self) -> Frames:
        """See `Lanes.reset`: every lane begins its episode 0."""
        return self._start(np.ones(self.lanes, np.bool_), np.zeros(self.lanes, np.int64))

    def step(self, actions: NDArray[np.integer[Any]]) -> StepResult:
        """See `Lanes.step`."""
        actions = check_actions(actions, self)
        if not self._started:
            raise RuntimeError("step() on an environment that was closed or never reset")
        rewards, terminated, lives = self._act(actions)
        rewards, terminated = rewards * self._playing, terminated & self._playing
        self._scores += rewards
        self._steps += self._playing
        truncated = (self._steps >= self._max_episode_steps) & ~terminated
        ended = terminated | truncated
        life_lost = (lives < self._lives) & self._playing & ~ended
        self._lives[:] = lives
        frames = final_frames = self.shown()
        records = []
        if ended.any():
            records = [self._record(lane, terminated) for lane in np.flatnonzero(ended)]
            frames = self._start(ended, self._episodes + 1)
        return StepResult(frames, rewards, terminated, truncated, life_lost, final_frames, records)

    def rest(self, lane: int) -> None:
        """See `Lanes.rest`."""
        self._playing[lane] = False

    def close(self) -> None:
        """See `Lanes.close`."""
        self._started = False

    def _start(self, lanes: NDArray[np.bool_], episodes: NDArray[np.int64]) -> Frames:
        """Begins `episodes`, int64[N], in the chosen lanes, and returns all lanes' frames."""
        self._playing[lanes] = True
        self._episodes[lanes] = episodes[lanes]
        self._scores[lanes] = 0.0
        self._steps[lanes] = 0
        self._begin(lanes)
        self._started = True
        return self.shown()

    def _draw_seeds(self, lanes: NDArray[np.bool_]) -> None:
        """Gives the chosen lanes the seeds of their episodes."""
        for lane in np.flatnonzero(lanes):
            self._seeds[lane] = episode_seed(self._seed, int(lane), int(self._episodes[lane]))

    def _record(self, lane: np.intp, terminated: NDArray[np.bool_]) -> EpisodeRecord:
        steps = int(self._steps[lane])
        return EpisodeRecord(
            lane=int(lane),
            score=float(self._scores[lane]),
            steps=steps,
            frames=steps * self.spec.frames_per_step,
            terminated=bool(terminated[lane]),
            seed=int(self._seeds[lane]),
        )
