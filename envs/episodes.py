"""Which episode each lane is in, what it has scored, and what it is seeded with.

The bookkeeping that every `VectorEnv` shares. Scores are float64: sums of whole points, exact.
"""

import numpy as np
from numpy.typing import NDArray

from envs.interface import EpisodeRecord


def episode_seed(run_seed: int, lane: int, episode: int) -> int:
    """Returns the seed of one episode, in [0, 2**31): independent of all others of the run.

    numpy's SeedSequence with (lane, episode) as spawn key, so that nothing depends on the number
    of lanes or on the order in which their episodes end.
    """
    sequence = np.random.SeedSequence(run_seed, spawn_key=(lane, episode))
    return int(sequence.generate_state(1)[0] >> 1)


class EpisodeLedger:
    """Counts of the running episodes.

    Attributes:
      indices: int64[N], 0 for a lane's first episode.
      scores: float64[N], sum of unclipped rewards so far.
      steps: int64[N], actions so far.
    """

    def __init__(self, lanes: int) -> None:
        self.indices = np.zeros(lanes, np.int64)
        self.scores = np.zeros(lanes, np.float64)
        self.steps = np.zeros(lanes, np.int64)

    def add(self, rewards: NDArray[np.float32]) -> None:
        """Counts one step in every lane."""
        self.scores += rewards
        self.steps += 1

    def begin(self, lanes: NDArray[np.bool_], indices: NDArray[np.int64]) -> None:
        """Lets the chosen lanes start the episodes of the given indices, from nothing.

        Args:
          lanes: bool[N], which.
          indices: int64[N], read where `lanes` is set.
        """
        self.indices[lanes] = indices[lanes]
        self.scores[lanes] = 0.0
        self.steps[lanes] = 0

    def finish(
        self,
        lanes: NDArray[np.bool_],
        terminated: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        frames_per_step: int,
    ) -> list[EpisodeRecord]:
        """Ends the episodes of the chosen lanes, begins their next, and returns the records."""
        records = [
            EpisodeRecord(
                lane=int(lane),
                score=float(self.scores[lane]),
                steps=int(self.steps[lane]),
                frames=int(self.steps[lane]) * frames_per_step,
                terminated=bool(terminated[lane]),
                seed=int(seeds[lane]),
            )
            for lane in np.flatnonzero(lanes)
        ]
        self.begin(lanes, self.indices + 1)
        return records
