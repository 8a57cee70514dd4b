"""What runs on the nodes: an actor in a process of its own, told what to do round by round.

It does not import Ray, and torch only once an actor begins: what its process needs is set before.

A process that Ray has restarted after a crash holds no actor, and refuses rounds that were
meant for the one before: only `begin`, with an incarnation that was never used, makes one. So no
two segments ever share a name.
"""

import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from envs.interface import EpisodeRecord
from relic_rl.machine import process
from relic_rl.runtime.stopwatch import Stopwatch

if TYPE_CHECKING:
    from relic_rl.runtime.actor import Actor


class Round(NamedTuple):
    """What some steps of all lanes brought."""

    steps: int
    """Agent steps, over all lanes."""
    segments: list[bytes]
    """Their wire form."""
    episodes: list[EpisodeRecord]
    version_updates: int
    """Updates behind the parameters that were acted with."""
    seconds: dict[str, float]
    """That they took, by what they were spent on."""


class Place(NamedTuple):
    """Where an actor acts."""

    host: str
    pid: int


class RemoteActor:
    """An actor's process."""

    def __init__(self) -> None:
        process.prepare()
        self._actor: Actor | None = None
        self._incarnation = -1

    def fingerprint(self, game: str) -> dict[str, str]:
        """Versions and hashes of this node: `relic_rl.machine.versions.fingerprint`."""
        from relic_rl.machine.versions import fingerprint

        return fingerprint(game)

    def begin(self, incarnation: int, make_actor: "Callable[[int, Stopwatch], Actor]") -> Place:
        """Makes an actor of an incarnation, which no process was given before."""
        import torch

        torch.set_num_threads(1)
        if self._actor is not None:
            self._actor.close()
        self._actor, self._incarnation = make_actor(incarnation, Stopwatch()), incarnation
        return Place(platform.node(), os.getpid())

    def act(
        self, incarnation: int, steps: int, env_steps: int, newest: dict[str, Any] | None
    ) -> Round | None:
        """Takes steps in every lane.

        Args:
          incarnation: of the actor that is meant.
          steps: of each lane.
          env_steps: the run's counter, which stamps the segments.
          newest: the state of the policy to act with from here on; None: as before.

        Returns:
          What they brought; None if this process does not hold that actor.
        """
        actor = self._actor
        if actor is None or incarnation != self._incarnation:
            return None
        if newest is not None:
            actor.policy.load_state(newest)
        actor.env_steps = env_steps
        collected = [actor.step() for _ in range(steps)]
        seconds = actor.stopwatch.lap()
        del seconds["window"]
        return Round(
            steps=sum(one.steps for one in collected),
            segments=[segment.data for one in collected for segment in one.segments],
            episodes=[episode for one in collected for episode in one.episodes],
            version_updates=actor.policy.version_updates,
            seconds=seconds,
        )
