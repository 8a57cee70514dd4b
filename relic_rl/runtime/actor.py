"""The actor: steps its lanes, explores, and closes segments.

The same actor serves every engine. A `Player` acts, one forward pass for all lanes, and a
`Recorder` makes segments of what happens.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.interface import EpisodeRecord, VectorEnv
from relic_rl.errors import UserError
from relic_rl.replay.segment import Segment
from relic_rl.runtime.player import Player
from relic_rl.runtime.recorder import Recorder
from relic_rl.runtime.stopwatch import Stopwatch


class Collected(NamedTuple):
    """What acting brought: a step of all lanes, or several."""

    steps: int
    """Agent steps taken, over all lanes."""
    segments: list[Segment]
    episodes: list[EpisodeRecord]


class NotFiniteError(UserError):
    """A reward or a value is no number: nothing made of it would be worth keeping."""


class Actor:
    """Joins lanes, the player that acts in them, and the recorder.

    Args:
      env: the lanes, reset.
      player: acts in them from their first frames on.
      recorder: of the same frames.
      first_lane: where its lanes begin among the run's, in what it reports of episodes.
      run_lanes: lanes of all actors together.
      stopwatch: times "environment", "inference" and "recording".

    Attributes:
      policy: the player's; an engine loads newer parameters into it.
      device: where the policy computes.
      env_steps: the run's agent steps, as if all actors kept pace with this one; stamps segments.
    """

    def __init__(
        self,
        env: VectorEnv,
        player: Player,
        recorder: Recorder,
        *,
        first_lane: int,
        run_lanes: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.policy = player.policy
        self.device = player.device
        self.env_steps = 0
        self._env = env
        self._player = player
        self._recorder = recorder
        self._first_lane = first_lane
        self._run_lanes = run_lanes
        self.stopwatch = stopwatch

    def step(self) -> Collected:
        """Takes one step in every lane.

        Raises:
          NotFiniteError: a Q-value or a reward is NaN or infinite.
        """
        with self.stopwatch.time("inference"):
            seen, q_values, actions, _ = self._player.act()
        self._expect_finite("Q-values", q_values)
        with self.stopwatch.time("recording"):
            self._recorder.acted(seen, q_values, actions)
        with self.stopwatch.time("environment"):
            result = self._env.step(actions)
        self._expect_finite("reward", result.rewards)
        self.env_steps += self._run_lanes
        with self.stopwatch.time("inference"):
            self._player.observe(actions, result)
        with self.stopwatch.time("recording"):
            segments = self._recorder.observed(result, self.env_steps)
        episodes = [e._replace(lane=e.lane + self._first_lane) for e in result.episodes]
        return Collected(len(actions), segments, episodes)

    def _expect_finite(self, what: str, values: NDArray[np.float32]) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            lane = int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            raise NotFiniteError(
                f"{what} of lane {self._first_lane + lane} at agent step {self.env_steps}: "
                f"{values[lane]} is not finite, so the run stops; its last checkpoint is sound"
            )

    def state(self) -> dict[str, Any]:
        """Everything that an exact resume needs: arrays, numbers and nested dicts of them."""
        return {
            "env": self._env.state(),
            "env_steps": self.env_steps,
            "policy": self.policy.state(),
            "player": self._player.state(),
            "recorder": self._recorder.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave; the emulators are rebuilt to the exact moment.

        Raises:
          UserError: it was written when a recorder kept its steps in another form.
        """
        if not isinstance(state.get("recorder", {}).get("current"), np.ndarray):
            raise UserError(
                "the checkpoint is of an earlier version, which kept its actor in another form: "
                "resume it with that version, or start a new run"
            )
        self._env.restore(state["env"])
        self.env_steps = int(state["env_steps"])
        self.policy.load_state(state["policy"])
        self._player.load_state(state["player"])
        self._recorder.load_state(state["recorder"])

    def close(self) -> None:
        """Releases the emulators."""
        self._env.close()
