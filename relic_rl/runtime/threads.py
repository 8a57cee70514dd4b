"""The threads engine: actors in threads of their own, beside the learner in one process.

torch and ale-py release the GIL, so actors step their emulators and run the policy while the
learner computes. Each actor's steps go through one bounded queue: when the learner falls behind,
the queue fills and the actors wait, which is all that the rate limiter needs to hold the ratio.

On a GPU each actor has a stream of its own, so that a policy's step does not wait for what the
learner has asked for before it. Parameters are handed over by an event.

Source of the layout: Hessel et al., "Podracer architectures for scalable RL", 2021 (Sebulba).
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agents.agent import R2D2Agent
from relic_rl.runtime.actor import Actor, Collected
from relic_rl.runtime.handoff import Handoff
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.runtime.transfers import stream_beside
from relic_rl.runtime.watchdog import Watchdog

WAITING_STEPS = 2
"""Steps of each actor that may wait for the learner."""

Parameters = dict[str, dict[str, Tensor]]


class Published:
    """A copy of an agent's parameters that actors on other streams may read."""

    def __init__(self, agent: R2D2Agent) -> None:
        self.version_updates = agent.updates
        self._parameters: Parameters = {
            part: {name: tensor.detach().clone() for name, tensor in tensors.items()}
            for part, tensors in agent.parameters_for_policy().items()
        }
        self._copied: torch.cuda.Event | None = None
        if agent.device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record()

    def on_this_stream(self) -> Parameters:
        """The copy; on a GPU the current stream waits until it is made, the host does not."""
        if self._copied is not None:
            stream = torch.cuda.current_stream()
            self._copied.wait(stream)
            for tensors in self._parameters.values():
                for tensor in tensors.values():  # not reused before this stream has read it
                    tensor.record_stream(stream)
        return self._parameters


class ThreadsEngine:
    """Actors in threads.

    Args:
      actors: each with its own environments; from here on only the engine uses them.
      stopwatch: times "waiting" for actors.
    """

    def __init__(self, actors: Sequence[Actor], stopwatch: Stopwatch) -> None:
        self._actors = list(actors)
        self._stopwatch = stopwatch
        self._names = [f"actor-{number}" for number in range(len(self._actors))]
        self._steps: Handoff[Collected] = Handoff(
            {name: partial(self._act, number) for number, name in enumerate(self._names)},
            WAITING_STEPS * len(self._actors),
        )
        self._newest: Published | None = None
        self._timed: dict[str, float] = defaultdict(float)
        self._streams = [stream_beside(actor.device) for actor in self._actors]
        self._watchdogs = [Watchdog() for _ in self._actors]

    def collect(self) -> Collected:
        """One actor's step, waited for; an emulator that hangs ends the process.

        Raises:
          BaseException: what ended an actor's thread.
        """
        with self._stopwatch.time("waiting"):
            return self._steps.take()

    def publish(self, agent: R2D2Agent) -> None:
        """Publishes a copy of the parameters; each actor loads it before its next step."""
        self._newest = Published(agent)

    def metrics(self) -> dict[str, float]:
        """Seconds of all actors' threads together, as the inline engine's stopwatch has them."""
        totals: dict[str, float] = defaultdict(float)
        for actor in self._actors:
            for name, seconds in actor.stopwatch.totals().items():
                totals[name] += seconds
        before, self._timed = self._timed, totals
        return {f"{name}_seconds": totals[name] - before[name] for name in sorted(totals)}

    def state(self) -> dict[str, Any]:
        """Nothing: a resume starts new episodes."""
        return {}

    def load_state(self, state: dict[str, Any], *, env_steps: int) -> None:
        """Continues the step count, with new episodes; `state` may be any engine's."""
        for actor in self._actors:
            actor.env_steps = env_steps

    def close(self) -> None:
        """Ends the threads and releases the emulators, except those that hang."""
        for watchdog in self._watchdogs:  # from here on a hanging actor is left behind
            watchdog.close()
        hanging = self._steps.close()
        for name, actor in zip(self._names, self._actors, strict=True):
            if name not in hanging:
                actor.close()

    def _act(self, number: int) -> Collected:
        """One step. The wait for a place in the queue, which may be long, is not watched."""
        torch.set_num_threads(1)  # of this thread: costs nothing when it is so
        actor = self._actors[number]
        with (
            self._watchdogs[number].watching(f"a step of actor {number}"),
            torch.cuda.stream(self._streams[number]),
        ):
            self._refresh(actor)
            return actor.step()

    def _refresh(self, actor: Actor) -> None:
        newest = self._newest  # read once: the learner's thread replaces it
        if newest is not None and newest.version_updates != actor.policy.version_updates:
            actor.policy.load(newest.on_this_stream(), newest.version_updates)
