"""The runs of a sweep as processes of this machine.

With P at once, each is confined to cores of its own, and asks the system how many those are;
learners on GPUs take them in turn. Runs end with the sweep: stopped in order when it is, and by the
kernel's word when it is killed.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from relic_rl.sweep_manifest import PlannedRun
from relic_rl.sweep_process import RunProcess

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Machine:
    """What each of the runs at once may use.

    Attributes:
      cores: of each place, disjoint unless there are more places than cores.
      gpus: of each place, as `CUDA_VISIBLE_DEVICES` names them; None: whatever there is.
    """

    cores: tuple[frozenset[int], ...]
    gpus: tuple[str | None, ...]

    @classmethod
    def share(cls, parallel: int, *, uses_gpu: bool) -> "Machine":
        """Splits what this process may use into so many places."""
        cores = sorted(os.sched_getaffinity(0))
        places = range(parallel)
        shares = tuple(frozenset(cores[place % len(cores) :: parallel]) for place in places)
        gpus: list[str | None] = [None]
        if uses_gpu:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            gpus = [
                *(visible.split(",") if visible else map(str, range(torch.cuda.device_count())))
            ]
        return cls(shares, tuple(gpus[place % len(gpus)] for place in places))


class LocalBackend:
    """Processes of this machine.

    Args:
      path: the sweep's folder.
      preset: the sweep's.
      machine: a place for each of the runs at once.
    """

    def __init__(self, path: Path, preset: str, machine: Machine) -> None:
        self._path = path
        self._preset = preset
        self._machine = machine
        self._busy: dict[int, RunProcess] = {}

    def places(self) -> int:
        """See `Backend.places`."""
        return len(self._machine.cores)

    def describe(self) -> str:
        """See `Backend.describe`."""
        shares = sorted({len(cores) for cores in self._machine.cores})
        return f"{self.places()} at once on {' or '.join(map(str, shares))} of the cores each"

    def start(self, run: PlannedRun) -> RunProcess:
        """See `Backend.start`; a place of those that have ended is taken."""
        busy = {place for place, process in self._busy.items() if process.poll() is None}
        place = min(set(range(self.places())) - busy)
        gpu = self._machine.gpus[place]
        process = RunProcess(
            self._path,
            run,
            self._preset,
            environment={} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu},
            prepare=ending_with_parent(self._machine.cores[place]),
        )
        self._busy[place] = process
        return process

    def close(self) -> None:
        """See `Backend.close`; there is nothing."""


def ending_with_parent(cores: frozenset[int]) -> Callable[[], None]:
    """What a child does before it becomes a run: keeps to its cores, and to its parent's life."""
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died just before
            os._exit(1)

    return prepare
