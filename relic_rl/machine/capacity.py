"""What of this machine the process may use: cores and memory, a container's limits respected.

The affinity mask and the free memory that psutil reports speak of the host. A container or a batch
job is often held to less by Linux's control groups, of version 1 or 2: threads beyond the quota
spin against each other, and memory beyond the limit gets the process killed.
"""

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

_UNLIMITED_BYTES = 2**60
"""Version 1 writes a number of about 2^63 where there is no limit."""


def core_ids() -> frozenset[int]:
    """The cores that this process may be scheduled on; all, where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def cores() -> int:
    """Cores that this process may keep busy, at least 1.

    The fewest of the affinity mask's, the control group's quota, and `OMP_NUM_THREADS`, which
    batch systems set, and `relic-rl sweep` for its runs.
    """
    limits: list[float] = [len(core_ids()), ControlGroups().cores()]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        limits.append(int(asked))
    return max(1, int(min(limits)))


def processor() -> str:
    """Its name: as Linux has it, or at least its architecture."""
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def available_bytes() -> int:
    """Memory that this process may still take."""
    return int(min(psutil.virtual_memory().available, ControlGroups().free_bytes()))


class ControlGroups:
    """The limits of the control groups that this process is in, its own and those around it.

    Args:
      root: where they are mounted.
      membership: the file that names the process's own.
    """

    def __init__(
        self, root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
    ) -> None:
        self._root = root
        self._lines = _text(membership).splitlines()

    def cores(self) -> float:
        """Processor seconds a second; infinite without a quota."""
        found = [float("inf")]
        for group in self._groups("cpu"):
            version_1 = [_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
            for text in (_text(group / "cpu.max"), " ".join(version_1)):
                numbers = text.split()  # "max" or -1 for no quota
                if len(numbers) == 2 and all(number.isdigit() for number in numbers):
                    found.append(int(numbers[0]) / int(numbers[1]))
        return min(found)

    def free_bytes(self) -> float:
        """Memory left below the tightest limit, file caches counted as free; else infinite."""
        found = [float("inf")]
        for group in self._groups("memory"):
            for limit_file, usage_file, cache in (
                ("memory.max", "memory.current", "inactive_file"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            ):
                limit, usage = (_text(group / name).strip() for name in (limit_file, usage_file))
                if limit.isdigit() and usage.isdigit() and int(limit) < _UNLIMITED_BYTES:
                    stat = _text(group / "memory.stat")  # lines of `name number`
                    cached = re.search(rf"^{cache} (\d+)$", stat, re.MULTILINE)
                    free = int(limit) - int(usage) + int(cached[1] if cached else 0)
                    found.append(max(0, free))
        return min(found)

    def _groups(self, controller: str) -> Iterator[Path]:
        """The group's folder and those above it, for each hierarchy that has the controller.

        A container may see its own group mounted as the root while the path that it is told is the
        host's: folders that do not exist have no limits, and the root is always among them.
        """
        for line in self._lines:
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controllers and controller not in controllers.split(","):
                continue
            root = self._root / controller if controllers else self._root
            group = root / path.strip("/")
            yield from (group, *(parent for parent in group.parents if parent.is_relative_to(root)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
