"""The threads engine: actors in threads of their own, beside the learner in one process.

torch and ale-py release the GIL, so actors step their emulators and run the policy while the
learner computes. Each actor's steps go through one bounded queue: when the learner falls behind,
the queue fills and the actors wait, which is all that the rate limiter needs to hold the ratio.

On a GPU actors and learner share one stream, so that a policy's step waits for what the learner
has enqueued before it; only the emulators run beside an update there.

Source of the layout: Hessel et al., "Podracer architectures for scalable RL", 2021 (Sebulba).
"""

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agents.agent import R2D2Agent
from relic_rl.runtime.actor import Actor, Collected
from relic_rl.runtime.handoff import Handoff
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.runtime.watchdog import Watchdog

WAITING_STEPS = 2
"""Steps of each actor that may wait for the learner."""
CLOSE_SECONDS = 10.0
"""How long the end of a run waits for its actors' last steps."""

_log = logging.getLogger(__name__)

Parameters = dict[str, dict[str, Tensor]]


class ThreadsEngine:
    """Actors in threads.

    Args:
      actors: each with its own environments; from here on only the engine uses them.
      stopwatch: times "waiting" for actors.
    """

    def __init__(self, actors: Sequence[Actor], stopwatch: Stopwatch) -> None:
        self._actors = list(actors)
        self._stopwatch = stopwatch
        self._steps: Handoff[Collected] = Handoff(WAITING_STEPS * len(self._actors))
        self._published = threading.Lock()
        self._parameters: Parameters | None = None
        self._version_updates = 0
        self._watchdogs = [Watchdog() for _ in self._actors]
        self._threads = [
            self._steps.thread(f"actor-{number}", partial(self._act, number))
            for number in range(len(self._actors))
        ]
        self._started = False

    def collect(self) -> Collected:
        """One actor's step, waited for; an emulator that hangs ends the process.

        Raises:
          BaseException: what ended an actor's thread.
        """
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        with self._stopwatch.time("waiting"):
            return self._steps.take()

    def publish(self, agent: R2D2Agent) -> None:
        """Publishes a copy of the parameters; each actor loads it before its next step."""
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
        """Nothing: a resume starts new episodes."""
        return {}

    def load_state(self, state: dict[str, Any], *, env_steps: int) -> None:
        """Continues the step count, with new episodes; `state` may be any engine's."""
        for actor in self._actors:
            actor.env_steps = env_steps

    def close(self) -> None:
        """Ends the threads and releases the emulators, except those that hang."""
        self._steps.close()
        for watchdog in self._watchdogs:  # from here on a hanging actor is left behind
            watchdog.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread, actor in zip(self._threads, self._actors, strict=True):
            if self._started:
                thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():  # a daemon: it ends with the process
                _log.warning("%s did not end within %.0f s", thread.name, CLOSE_SECONDS)
            else:
                actor.close()

    def _act(self, number: int) -> Collected:
        """One step. The wait for a place in the queue, which may be long, is not watched."""
        torch.set_num_threads(1)  # of this thread: costs nothing when it is so
        actor = self._actors[number]
        with self._watchdogs[number].watching(f"a step of actor {number}"):
            self._refresh(actor)
            return actor.step()

    def _refresh(self, actor: Actor) -> None:
        with self._published:
            parameters, version = self._parameters, self._version_updates
        if parameters is not None and version != actor.policy.version_updates:
            actor.policy.load(parameters, version)
