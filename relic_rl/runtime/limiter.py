"""Holds the replay ratio: trained steps per environment step, whichever side is faster.

Source: Cassirer et al., "Reverb", 2021: a rate limiter between inserting and sampling.
"""


class RateLimiter:
    """Counts environment steps and trained steps, and says who may go on.

    Args:
      replay_ratio: trained steps per environment step.
      steps_per_update: trained steps of one update: batch x unroll.
      max_lead_updates: how many updates the actors may run ahead of the learner.
    """

    def __init__(
        self, *, replay_ratio: float, steps_per_update: int, max_lead_updates: int = 1
    ) -> None:
        self._replay_ratio = replay_ratio
        self._steps_per_update = steps_per_update
        self._max_lead_updates = max_lead_updates
        self._env_steps = 0
        self._trained_steps = 0

    def acted(self, steps: int) -> None:
        """Counts environment steps taken since learning began."""
        self._env_steps += steps

    def updated(self) -> None:
        """Counts one update."""
        self._trained_steps += self._steps_per_update

    @property
    def owed_updates(self) -> float:
        """Updates that the steps taken so far allow and that were not made yet."""
        allowed = self._env_steps * self._replay_ratio
        return (allowed - self._trained_steps) / self._steps_per_update

    @property
    def may_update(self) -> bool:
        """Whether the learner may make an update."""
        return self.owed_updates >= 1.0

    @property
    def may_act(self) -> bool:
        """Whether actors may take a step; not while they are too far ahead of the learner."""
        return self.owed_updates < self._max_lead_updates

    @property
    def replay_ratio(self) -> float:
        """Trained steps per environment step so far."""
        return self._trained_steps / max(self._env_steps, 1)

    def state(self) -> dict[str, int]:
        """Both counters."""
        return {"env_steps": self._env_steps, "trained_steps": self._trained_steps}

    def load_state(self, state: dict[str, int]) -> None:
        """Takes over what `state` gave."""
        self._env_steps = state["env_steps"]
        self._trained_steps = state["trained_steps"]
