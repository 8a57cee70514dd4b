"""What a run is expected to need, against what it then takes; and the refusals."""

import io
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from relic_rl.config import resolve
from relic_rl.console import Console
from relic_rl.errors import ResourceError, is_out_of_memory
from relic_rl.machine import resources
from relic_rl.machine.resources import (
    check_resources,
    disk_bytes,
    memory_bytes,
    replay_bytes,
    shared_memory_bytes,
)
from relic_rl.train import Training


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize("preset", ["smoke", "laptop"])
def test_a_checkpoint_takes_what_was_expected_of_it(tmp_path: Path, preset: str) -> None:
    overrides: dict[str, Any] = {
        "run.threads": 1,
        "representation.arm": "relic",
        "representation.encoder": "separate",
    }
    config = resolve(preset, overrides).config
    training = Training(tmp_path, config, "toy_memory", 0, Console(stream=io.StringIO()))
    training.save()
    for _ in range(2 * config.learner.segment_steps):
        training._collect()
    training.save()
    training.close()
    newest = max((tmp_path / "checkpoints").iterdir())
    found = sum(file.stat().st_size for file in newest.iterdir())
    expected = resources.learned_bytes(config) + resources._lane_bytes(config)

    # No update yet, so Adam's moments are not there.
    assert found <= expected <= 4 * found


def test_a_run_that_memory_will_not_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve("smoke", {}).config
    needed = memory_bytes(config)
    assert needed > replay_bytes(config) + 500 * 2**20  # the process takes some, too
    monkeypatch.setattr(resources, "available_bytes", lambda: needed)
    check_resources(config, tmp_path)

    monkeypatch.setattr(resources, "available_bytes", lambda: needed - 1)
    with pytest.raises(ResourceError, match=r"GiB of memory, .* for the full replay"):
        check_resources(config, tmp_path)


def test_the_memory_of_the_papers_update_and_of_many_lanes_is_reckoned_with() -> None:
    config = resolve("paper", {"run.device": "cpu"}).config
    found = memory_bytes(config) - replay_bytes(config)
    many = resolve("paper", {"run.device": "cpu", "actor.lanes": 100 * config.actor.lanes}).config

    # Eight updates of this preset, and the acting before them, took 3,085 MiB at their peak.
    assert 3_085 * 2**20 < found < 1.5 * 3_085 * 2**20
    # Of each lane a segment's frames, at least.
    frames = 99 * config.actor.lanes * config.learner.segment_steps
    assert memory_bytes(many) - memory_bytes(config) > frames * 84 * 84


def test_a_run_that_probes_itself_needs_memory_for_that() -> None:
    probes = {"run.probe_every_frames": "100000", "evaluation.probe_steps": "5000"}
    more = memory_bytes(resolve("laptop", probes).config) - memory_bytes(
        resolve("laptop", {}).config
    )

    assert 328 * 2**20 < more < 1.2 * 328 * 2**20  # which was measured


def test_a_graph_of_an_update_takes_its_memory_once_more() -> None:
    eager, graphed = (
        resources.gpu_memory_bytes(resolve("paper", {"learner.cuda_graph": on}).config)
        for on in ("false", "true")
    )

    assert 1.3 * eager < graphed < 2 * eager


def test_a_run_that_the_disk_will_not_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve("smoke", {}).config
    needed = disk_bytes(config)
    run = tmp_path / "runs" / "deep" / "run"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 * needed, 0, needed))
    check_resources(config, run)

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 * needed, 0, needed - 1))
    with pytest.raises(ResourceError, match=r"need about \d+ MiB of disk, \d+ MiB are free at"):
        check_resources(config, run)

    (run / "segments").mkdir(parents=True)
    (run / "segments" / "000000000000.seg").write_bytes(b"1")
    check_resources(config, run)  # a resumed run has some of it already


def test_only_ray_needs_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inline = resolve("smoke", {}).config
    ray = resolve("smoke", {"run.engine": "ray"}).config
    assert shared_memory_bytes(inline) == 0
    needed = shared_memory_bytes(ray)
    assert needed > 0

    def usage(path: Path) -> Usage:
        free = needed - 1 if path == resources.SHARED_MEMORY else 1 << 40
        return Usage(free, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check_resources(inline, tmp_path)
    with pytest.raises(ResourceError, match="shared memory"):
        check_resources(ray, tmp_path)


def test_torchs_and_numpys_lack_of_memory_is_told_from_other_errors() -> None:
    errors: list[Exception] = []
    for allocate in (
        lambda: torch.empty(1 << 50, dtype=torch.uint8),
        lambda: np.empty(1 << 60, np.uint8),
        lambda: torch.zeros(2) @ torch.zeros(3),
    ):
        with pytest.raises((MemoryError, RuntimeError)) as raised:
            allocate()
        errors.append(raised.value)

    assert [is_out_of_memory(error) for error in errors] == [True, True, False]


@pytest.mark.parametrize(
    "message",
    ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `create`"],
)
def test_a_gpu_that_another_process_fills_is_out_of_memory(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
