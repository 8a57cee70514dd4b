"""The backends of a sweep by name: the only place that tells them apart.

A new one is a class that is a `runs.Backend`, a function here that makes it, and a line in
`BACKENDS`. It imports torch or Ray when it is made, not before.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from relic_rl.config import Config
    from relic_rl.sweep.request import Placement
    from relic_rl.sweep.runs import Backend


class Order(NamedTuple):
    """What a backend is made for."""

    path: Path
    """The sweep's folder."""
    preset: str
    """A shipped one's name, or the sweep's copy of a file."""
    configs: "Sequence[Config]"
    """One for each combination of settings."""
    placement: "Placement"
    runs: int


class BackendKind(NamedTuple):
    """What a backend needs."""

    make: "Callable[[Order], Backend]"
    """Raises ClusterError: there is no Ray, or no cluster that can hold a run."""
    joins_cluster: bool = False
    """Whether its runs are elsewhere, at the address of a cluster, and learn there."""


def _local(order: Order) -> "Backend":
    from relic_rl.machine.devices import uses_gpu
    from relic_rl.sweep.local_backend import LocalBackend, carried, share

    parallel = order.placement.max_parallel or carried(order.configs)
    slots = share(min(parallel, order.runs), uses_gpu=any(map(uses_gpu, order.configs)))
    return LocalBackend(order.path, order.preset, slots)


def _ray(order: Order) -> "Backend":
    from relic_rl.machine.capacity import cores
    from relic_rl.runtime import ray_cluster
    from relic_rl.runtime.options import LOCAL
    from relic_rl.sweep.ray_backend import Needs, RayBackend

    cluster = ray_cluster.join(order.placement.ray_address or LOCAL, cpus=cores())
    parallel = min(order.placement.max_parallel or order.runs, order.runs)
    needs = Needs.of(order.configs, cluster)
    return RayBackend(cluster, order.path, order.preset, needs, parallel)


BACKENDS: dict[str, BackendKind] = {
    "local": BackendKind(_local),
    "ray": BackendKind(_ray, joins_cluster=True),
}
if TYPE_CHECKING:
    BackendName = str
else:
    BackendName = Literal[tuple(BACKENDS)]
