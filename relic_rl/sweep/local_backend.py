"""The runs of a sweep as processes of this machine.

With P at once, each is confined to cores of its own, and asks the system how many those are;
learners on GPUs take them in turn. Runs end with the sweep: stopped in order when it is, and by the
kernel's word when it is killed.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from relic_rl.config import Config
from relic_rl.machine.capacity import available_bytes, core_ids, cores
from relic_rl.machine.devices import gpu_bytes, uses_gpu
from relic_rl.machine.resources import gpu_memory_bytes, memory_bytes
from relic_rl.sweep.request import PlannedRun
from relic_rl.sweep.run_process import RunProcess

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Slot:
    """What one of the runs at once may use."""

    cores: frozenset[int]
    """That it keeps to: its own, unless there are more slots than cores. All of them where a quota
    allows fewer than there are: which ones are busy with what else, only the system knows."""
    threads: int
    """Cores that it may keep busy."""
    gpu: str | None
    """As `CUDA_VISIBLE_DEVICES` names it; None: whatever there is."""

    @property
    def environment(self) -> dict[str, str]:
        """What tells a process its share."""
        gpu = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        return {"OMP_NUM_THREADS": str(self.threads), **gpu}


CORES_A_GPU_RUN = 5
"""Of a run that learns on a GPU: its one Python process, not the GPU, is what is busy."""


def carried(configs: Sequence[Config]) -> int:
    """How many runs the machine can hold at once: one a core, or several on each GPU."""
    by_memory = available_bytes() // max(map(memory_bytes, configs))
    if not any(map(uses_gpu, configs)):
        return max(1, min(cores(), by_memory))
    gpus = torch.cuda.device_count()
    of_one_gpu = gpu_bytes() // max(map(gpu_memory_bytes, configs))
    by_cores = max(gpus, cores() // CORES_A_GPU_RUN)
    return max(1, min(by_cores, by_memory, gpus * of_one_gpu))


def share(parallel: int, *, uses_gpu: bool) -> list[Slot]:
    """Splits what this process may use into so many slots."""
    ids, usable = sorted(core_ids()), cores()
    gpus: list[str | None] = [None]
    if uses_gpu:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = list(visible.split(",") if visible else map(str, range(torch.cuda.device_count())))
    slots = []
    for number in range(parallel):
        own = frozenset(ids[number % len(ids) :: parallel])
        threads = len(own)
        if usable < len(ids):
            own, threads = frozenset(ids), max(1, usable // parallel)
        slots.append(Slot(own, threads, gpus[number % len(gpus)]))
    return slots


class LocalBackend:
    """Processes of this machine.

    Args:
      path: the sweep's folder.
      preset: a shipped one's name, or the sweep's copy of a file.
      slots: one for each of the runs at once.
    """

    def __init__(self, path: Path, preset: str, slots: Sequence[Slot]) -> None:
        self._path = path
        self._preset = preset
        self._slots = slots
        self._busy: dict[int, RunProcess] = {}

    def slots(self) -> int:
        """See `Backend.slots`."""
        return len(self._slots)

    def describe(self) -> str:
        """See `Backend.describe`."""
        shares = sorted({slot.threads for slot in self._slots})
        return f"{self.slots()} at once on {' or '.join(map(str, shares))} of the cores each"

    def start(self, run: PlannedRun) -> RunProcess:
        """See `Backend.start`; a slot of those that have ended is taken."""
        busy = {slot for slot, process in self._busy.items() if process.poll() is None}
        number = min(set(range(self.slots())) - busy)
        slot = self._slots[number]
        process = RunProcess(
            self._path,
            run,
            self._preset,
            environment=slot.environment,
            prepare=ending_with_parent(slot.cores),
        )
        self._busy[number] = process
        return process

    def close(self) -> None:
        """See `Backend.close`; there is nothing."""


def ending_with_parent(allowed: frozenset[int]) -> Callable[[], None]:
    """Done in a child before it becomes a run: it keeps to those cores and ends with its parent."""
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def prepare() -> None:
        if sys.platform == "linux":  # elsewhere there is neither
            os.sched_setaffinity(0, allowed)
            # A warning: a second order, if it was told to stop already, would cut its checkpoint.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
        if os.getppid() != parent:  # it died just before
            os._exit(1)

    return prepare
