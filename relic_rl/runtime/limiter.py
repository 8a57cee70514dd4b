"""Holds the replay ratio: trained steps per environment step, whichever side is faster.

Source: Cassirer et al., "Reverb", 2021: a rate limiter between inserting and sampling.
"""


class RateLimiter:
    """Counts environment steps and trained steps, and says when an update is owed.

    The ratio is held to within one update and what is collected at once: a step of all lanes, or
    with the ray engine an actor's round. It counts the rows of a batch, those behind an episode's
    end included.

    The actors have no limit of their own: the loop makes the owed updates before it collects more.

    Args:
      replay_ratio: trained steps per environment step.
      steps_per_update: trained steps of one update: batch x unroll.
    """

    def __init__(self, *, replay_ratio: float, steps_per_update: int) -> None:
        self._replay_ratio = replay_ratio
        self._steps_per_update = steps_per_update
        self._env_steps = 0
        self._trained_steps = 0

    def acted(self, steps: int) -> None:
        """Counts environment steps taken since learning began."""
        self._env_steps += steps

    def updated(self) -> None:
        """Counts one update."""
        self._trained_steps += self._steps_per_update

    @property
    def may_update(self) -> bool:
        """Whether the steps taken so far allow an update that was not made yet."""
        allowed = self._env_steps * self._replay_ratio
        return allowed - self._trained_steps >= self._steps_per_update

    @property
    def replay_ratio(self) -> float:
        """Trained steps per environment step, since learning began or the ratio was changed."""
        return self._trained_steps / max(self._env_steps, 1)

    def state(self) -> dict[str, float]:
        """Both counters, and the ratio that they were held to."""
        return {
            "env_steps": self._env_steps,
            "trained_steps": self._trained_steps,
            "replay_ratio": self._replay_ratio,
        }

    def load_state(self, state: dict[str, float]) -> None:
        """Restores `state()`; if the ratio has changed, counting starts again.

        Held against the new ratio, the old counters would owe a run's worth of updates at once, or
        none for as long as the run has lasted.
        """
        if state["replay_ratio"] == self._replay_ratio:
            self._env_steps = int(state["env_steps"])
            self._trained_steps = int(state["trained_steps"])
