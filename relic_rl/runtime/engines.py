"""The engines by name: the only place that tells them apart.

A new one is a class that is an `engine.Engine`, a function here that makes it, and a line in
`ENGINES`. It imports torch or Ray when it is made, not before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from relic_rl.runtime.actor import Actor
    from relic_rl.runtime.engine import Engine
    from relic_rl.runtime.options import ActorOptions
    from relic_rl.runtime.stopwatch import Stopwatch


class Crew(NamedTuple):
    """What an engine is made of: the run's actors, here or elsewhere."""

    actors: "ActorOptions"
    beside_learner: "Callable[[int, int, Stopwatch], Actor]"
    """Makes the actor of a number and an incarnation; it acts on the learner's device."""
    alone: "Callable[[int, int, Stopwatch], Actor]"
    """The same in a process of its own, on one core of any machine; can be pickled."""
    game: str
    segment_steps: int
    incarnation: int
    """In which the actors begin."""
    ray_address: str
    stopwatch: "Stopwatch"
    """The learner's."""


@dataclass(frozen=True)
class EngineKind:
    """What an engine can do and needs."""

    make: "Callable[[Crew], Engine]"
    """Raises ClusterError: there is no Ray, or no cluster."""
    max_actors: int | None = None
    """None: any number."""
    resumes_exactly: bool = False
    """Whether its state holds the emulators' state, so that a resumed run has the same bits."""
    samples_ahead: bool = True
    """Whether batches are drawn in a thread, by priorities a few updates old."""
    needs_cluster: bool = False
    """Whether Ray runs its actors, and passes segments through shared memory."""


def _inline(crew: Crew) -> "Engine":
    from relic_rl.runtime.inline import InlineEngine

    return InlineEngine(crew.beside_learner(0, crew.incarnation, crew.stopwatch))


def _threads(crew: Crew) -> "Engine":
    from relic_rl.runtime.stopwatch import Stopwatch
    from relic_rl.runtime.threads import ThreadsEngine

    actors = [
        crew.beside_learner(number, crew.incarnation, Stopwatch())
        for number in range(crew.actors.actors)
    ]
    return ThreadsEngine(actors, crew.stopwatch)


def _ray(crew: Crew) -> "Engine":
    from relic_rl.runtime import ray_cluster
    from relic_rl.runtime.ray_engine import RayEngine

    return RayEngine(ray_cluster.join(crew.ray_address, cpus=crew.actors.actors), crew)


ENGINES: dict[str, EngineKind] = {
    "inline": EngineKind(_inline, max_actors=1, resumes_exactly=True, samples_ahead=False),
    "threads": EngineKind(_threads),
    "ray": EngineKind(_ray, needs_cluster=True),
}
if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[tuple(ENGINES)]
