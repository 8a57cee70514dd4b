"""An engine: who acts, and where. All that the training loop knows of it."""

from typing import Any, Protocol

from agents.agent import R2D2Agent
from relic_rl.runtime.actor import Collected


class Engine(Protocol):
    """Gathers experience."""

    def collect(self) -> Collected:
        """Steps, segments and episodes that came in since the last call."""

    def publish(self, agent: R2D2Agent) -> None:
        """Makes the agent's parameters the ones that actors act with."""

    def metrics(self) -> dict[str, float]:
        """What is worth a column of metrics.jsonl, since the last call."""

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""

    def close(self) -> None:
        """Ends all acting and releases the emulators."""
