"""The runs of a sweep as tasks on a Ray cluster, over a sweep folder that all nodes share.

Ray places each task where its CPUs, GPU and memory are free, and starts it again elsewhere when its
node dies; the task finds the checkpoint in the shared folder and continues from there.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relic_rl.config import Config
from relic_rl.console import size
from relic_rl.machine.resources import memory_bytes
from relic_rl.machine.versions import fingerprint
from relic_rl.runtime.ray_cluster import Cluster, ClusterError
from relic_rl.sweep.ray_task import run_to_its_end
from relic_rl.sweep.request import PlannedRun

RETRIES = 5
"""Of a run whose node or worker died."""
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Needs:
    """What one run takes of a node."""

    cpus: int
    gpus: int
    memory_bytes: int

    @classmethod
    def of(cls, configs: Sequence[Config], cluster: Cluster) -> "Needs":
        """Of the most demanding of the configurations."""
        gpus = cluster.ray.cluster_resources().get("GPU", 0)
        devices = {config.run.device for config in configs}
        return cls(
            cpus=max(config.run.threads or 1 for config in configs),
            gpus=int("cuda" in devices or ("auto" in devices and gpus > 0)),
            memory_bytes=max(map(memory_bytes, configs)),
        )

    def fit(self, resources: Mapping[str, float]) -> int:
        """How often a node's resources hold them."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        return min(int(resources.get(name, 0) // much) for name, much in wanted.items() if much)

    def __str__(self) -> str:
        gpu = f"{self.gpus} GPU, " if self.gpus else ""
        return f"{self.cpus} CPUs, {gpu}{size(self.memory_bytes)}"


class RayBackend:
    """Tasks on a cluster.

    Args:
      cluster: joined; closed with the backend.
      path: the sweep's folder, the same on every node.
      preset: a shipped one's name, or the sweep's copy of a file.
      needs: of each run.
      max_parallel: runs at once, as far as the nodes hold them.

    Raises:
      ClusterError: no node can hold a run.
    """

    def __init__(
        self, cluster: Cluster, path: Path, preset: str, needs: Needs, max_parallel: int
    ) -> None:
        self._cluster, self._ray = cluster, cluster.ray
        self._path = path.resolve()
        self._preset = preset
        self._needs = needs
        self._max_parallel = max_parallel
        self._looked_at = -_LOOK_SECONDS
        self._held = 0
        self._task = self._ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory_bytes,
            max_retries=RETRIES,
        )(run_to_its_end)
        if self.slots() == 0:
            cluster.close()
            raise ClusterError(
                f"no node of the Ray cluster has what one run needs: {needs}; add such a node, or "
                "lower --run.threads, --replay.max_bytes or --learner.batch_sequences"
            )

    def slots(self) -> int:
        """See `Backend.slots`; nodes that join are counted in."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._held = sum(map(self._needs.fit, alive))
        return min(self._held, self._max_parallel)

    def describe(self) -> str:
        """See `Backend.describe`."""
        return f"{self.slots()} at once on the Ray cluster, {self._needs} each"

    def start(self, run: PlannedRun) -> "RayJob":
        """See `Backend.start`."""
        threads = str(self._needs.cpus)  # of its place, unless the sweep says
        settings = {"run.threads": threads, "env.threads": threads, **run.settings}
        placed = replace(run, settings=settings)
        answer = self._task.remote(self._path, placed, self._preset, fingerprint(run.game))
        return RayJob(self._ray, answer)

    def close(self) -> None:
        """See `Backend.close`."""
        self._cluster.close()


class RayJob:
    """A run as a task."""

    def __init__(self, ray: Any, answer: Any) -> None:
        self._ray = ray
        self._answer = answer
        self._why = ""

    def poll(self) -> int | None:
        """See `Job.poll`."""
        if not self._ray.wait([self._answer], timeout=0)[0]:
            return None
        try:
            status, self._why = self._ray.get(self._answer)
        except self._ray.exceptions.TaskCancelledError:
            return 0
        except self._ray.exceptions.RayTaskError as error:  # of the task itself: not tried again
            self._why = f"cannot be started: {error.cause}"
            return 1
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            self._why = f"its worker died {RETRIES + 1} times: {lines[-1] if lines else error}"
            return 1
        return int(status)

    def stop(self) -> None:
        """See `Job.stop`."""
        self._ray.cancel(self._answer)

    def why(self) -> str:
        """See `Job.why`."""
        return self._why
