"""What of the machine a process may use, with control groups laid out as Linux mounts them."""

import os
import platform
from pathlib import Path

import psutil
import pytest

from relic_rl.machine import capacity
from relic_rl.machine.capacity import ControlGroups

MIB = 2**20


def control_groups(folder: Path, membership: str, files: dict[str, str]) -> ControlGroups:
    """Those of a process that is told `membership`, mounted below `folder`."""
    for name, text in files.items():
        file = folder / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (folder / "membership").write_text(membership + "\n")
    return ControlGroups(folder / "mounted", folder / "membership")


def test_the_tightest_quota_around_a_process_counts_in_version_2(tmp_path: Path) -> None:
    groups = control_groups(
        tmp_path,
        "0::/batch/job",
        {"batch/job/cpu.max": "max 100000", "batch/cpu.max": "250000 100000", "cpu.max": "max 1"},
    )

    assert groups.cores() == 2.5


def test_a_version_1_container_finds_its_quota_though_it_is_told_the_hosts_path(
    tmp_path: Path,
) -> None:
    groups = control_groups(
        tmp_path,
        "4:cpu,cpuacct:/kubepods/pod7\n2:memory:/kubepods/pod7",
        {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"},
    )

    assert groups.cores() == 4


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/", {"cpu.max": "max 100000", "memory.max": "max", "memory.current": "5"}),
        (
            "4:cpu:/\n2:memory:/",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(2**63 - 4096),
                "memory/memory.usage_in_bytes": "5",
            },
        ),
        ("", {}),
    ],
)
def test_without_a_limit_nothing_is_held_back(
    tmp_path: Path, membership: str, files: dict[str, str]
) -> None:
    groups = control_groups(tmp_path, membership, files)

    assert groups.cores() == groups.free_bytes() == float("inf")


def test_memory_left_counts_file_caches_as_free(tmp_path: Path) -> None:
    version_2 = control_groups(
        tmp_path / "2",
        "0::/job",
        {
            "job/memory.max": str(100 * MIB),
            "job/memory.current": str(90 * MIB),
            "job/memory.stat": f"anon {60 * MIB}\ninactive_file {25 * MIB}",
            "memory.max": "max",
        },
    )
    version_1 = control_groups(
        tmp_path / "1",
        "2:memory:/job",
        {
            "memory/job/memory.limit_in_bytes": str(100 * MIB),
            "memory/job/memory.usage_in_bytes": str(120 * MIB),
            "memory/job/memory.stat": f"inactive_file 7\ntotal_inactive_file {5 * MIB}",
        },
    )

    assert version_2.free_bytes() == 35 * MIB
    assert version_1.free_bytes() == 0


def test_cores_are_what_the_affinity_and_the_batch_system_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert capacity.cores() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert capacity.cores() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert capacity.cores() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # OpenMP's form for nested teams: not ours
    assert capacity.cores() == 3


def test_a_system_without_affinity_gives_all_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")

    assert capacity.core_ids() == frozenset(range(os.cpu_count() or 1))


def test_memory_is_never_more_than_the_machine_has_free() -> None:
    assert 0 < capacity.available_bytes() <= psutil.virtual_memory().total


def test_the_processor_has_the_name_that_linux_gives_it_or_at_least_its_architecture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = "processor\t: 0\nmodel name\t: Some Chip: 2\nprocessor\t: 1\nmodel name\t: Other\n"
    monkeypatch.setattr(capacity, "_text", lambda _: told)
    assert capacity.processor() == "Some Chip: 2"
    monkeypatch.setattr(capacity, "_text", lambda _: "processor\t: 0\nBogoMIPS\t: 50\n")
    assert capacity.processor() in {platform.processor(), platform.machine()} - {""}
