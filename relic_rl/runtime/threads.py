"""The threads engine: actors in threads of their own, beside the learner in one process.

torch and ale-py release the GIL, so actors step their emulators and run the policy while the
learner computes. Each actor's steps go through one bounded queue: when the learner falls behind,
the queue fills and the actors wait, which is all that the rate limiter needs to hold the ratio.

Source of the layout: Hessel et al., "Podracer architectures for scalable RL", 2021 (Sebulba).
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agents.agent import R2D2Agent
from relic_rl.errors import UserError
from relic_rl.runtime.actor import Actor, Collected
from relic_rl.runtime.handoff import Handoff, NothingCameError
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.runtime.watchdog import LOOKS, STALL_SECONDS

CLOSE_SECONDS = 10.0
"""How long the end of a run waits for a step that its actors are in."""

_log = logging.getLogger(__name__)

Parameters = dict[str, dict[str, Tensor]]


class StalledError(UserError):
    """Actors or emulators do not answer."""


class ThreadsEngine:
    """Actors in threads.

    Args:
      actors: each with its own environments; they are not used by anybody else from here on.
      waiting_steps: how many steps of all lanes may wait for the learner, at least 1 per actor.
      torch_threads: intra-op threads of each actor's policy, on a CPU.
      stopwatch: times "waiting" for actors.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        *,
        waiting_steps: int,
        torch_threads: int,
        stopwatch: Stopwatch,
    ) -> None:
        self._actors = list(actors)
        self._stopwatch = stopwatch
        self._torch_threads = torch_threads
        self._steps: Handoff[Collected] = Handoff(max(waiting_steps, len(self._actors)))
        self._published = threading.Lock()
        self._parameters: Parameters | None = None
        self._version_updates = 0
        self._threads = [
            self._steps.thread(f"actor-{number}", partial(self._act, actor))
            for number, actor in enumerate(self._actors)
        ]
        self._started = False

    def collect(self) -> Collected:
        """One actor's step, waited for.

        Raises:
          StalledError: no actor answered for two minutes.
          BaseException: what ended an actor's thread.
        """
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        with self._stopwatch.time("waiting"):
            for _ in range(LOOKS):  # a suspended process wakes up with one of them over
                with suppress(NothingCameError):
                    return self._steps.take(STALL_SECONDS / LOOKS)
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        raise StalledError(
            f"no actor made a step for {STALL_SECONDS:.0f} s (alive: {', '.join(alive)}): an "
            "emulator hangs; resume from the last checkpoint"
        )

    def publish(self, agent: R2D2Agent) -> None:
        """Hands a copy of the parameters over; each actor takes it before its next step."""
        copy = {
            part: {name: tensor.detach().clone() for name, tensor in tensors.items()}
            for part, tensors in agent.parameters_for_policy().items()
        }
        with self._published:
            self._parameters, self._version_updates = copy, agent.updates

    def metrics(self) -> dict[str, float]:
        """None beyond what the stopwatch says."""
        return {}

    def state(self) -> dict[str, Any]:
        """Steps taken; the emulators' moments are not kept: episodes start anew on resume."""
        return {"env_steps": [actor.env_steps for actor in self._actors]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes the step counters over, and says what is lost."""
        steps = state.get("env_steps", [])
        for actor, env_steps in zip(self._actors, steps, strict=False):
            actor.env_steps = int(env_steps)
        _log.warning("resume=episode_restart: the threads engine starts all episodes anew")

    def close(self) -> None:
        """Ends the threads and releases the emulators, but for those that hang."""
        self._steps.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread, actor in zip(self._threads, self._actors, strict=True):
            if self._started:
                thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():  # a daemon: it ends with the process
                _log.warning("%s did not end within %.0f s", thread.name, CLOSE_SECONDS)
            else:
                actor.close()

    def _act(self, actor: Actor) -> Collected:
        torch.set_num_threads(self._torch_threads)  # of this thread: costs nothing when it is so
        self._refresh(actor)
        return actor.step()

    def _refresh(self, actor: Actor) -> None:
        with self._published:
            parameters, version = self._parameters, self._version_updates
        if parameters is not None and version != actor.policy.version_updates:
            actor.policy.load(parameters, version)
