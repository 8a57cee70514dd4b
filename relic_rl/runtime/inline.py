"""The inline engine: acts and learns in turn, in one thread. Bit-reproducible on a CPU."""

from typing import Any

from agents.agent import R2D2Agent
from relic_rl.runtime.actor import Actor, Collected
from relic_rl.runtime.watchdog import Watchdog


class InlineEngine:
    """One actor, stepped by the caller."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._watchdog = Watchdog()

    def collect(self) -> Collected:
        """Steps every lane once; an emulator that hangs ends the process."""
        with self._watchdog.watching("a step of the emulators"):
            return self._actor.step()

    def publish(self, agent: R2D2Agent) -> None:
        """Copies the parameters into the actor's policy."""
        self._actor.policy.load(agent.parameters_for_policy(), agent.updates)

    def metrics(self) -> dict[str, float]:
        """None beyond what the stopwatch says."""
        return {}

    def state(self) -> dict[str, Any]:
        """The actor's, emulators included."""
        return {"actor": self._actor.state()}

    def load_state(self, state: dict[str, Any], *, env_steps: int) -> None:
        """Resumes exactly; from another engine's state, with new episodes and the step count."""
        if "actor" in state:
            self._actor.load_state(state["actor"])
        else:
            self._actor.env_steps = env_steps

    def close(self) -> None:
        """Releases the emulators."""
        self._watchdog.close()
        self._actor.close()
