"""A GPU that is there and cannot be used is said, with what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from relic_rl import cli
from relic_rl.config import resolve
from relic_rl.errors import ResourceError
from relic_rl.machine import devices

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for found in (devices.has_gpu, devices.gpu_problem):
        found.cache_clear()
    yield
    for found in (devices.has_gpu, devices.gpu_problem):
        found.cache_clear()


@pytest.fixture
def unused_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A driver knows of a GPU, and this PyTorch has no CUDA."""
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(devices, "NVIDIA_DRIVER", tmp_path / "gpus")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


def test_without_a_gpu_nothing_is_wrong() -> None:
    if not torch.cuda.is_available():
        assert devices.gpu_problem() is None
        assert devices.chosen_preset(None, {}) == "laptop"


@without_cuda
@pytest.mark.skipif(torch.version.cuda is not None, reason="of a PyTorch for the CPU only")
@pytest.mark.usefixtures("unused_gpu")
def test_a_gpu_that_a_pytorch_for_the_cpu_cannot_use_is_said() -> None:
    assert "built for the CPU only: install one with CUDA" in str(devices.gpu_problem())
    assert devices.chosen_preset(None, {}) == "laptop"
    with pytest.raises(ResourceError, match=r"run\.device is cuda, .*built for the CPU only"):
        devices.learner_device(resolve("smoke", {"run.device": "cuda"}).config)


@without_cuda
@pytest.mark.usefixtures("unused_gpu")
@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_gpu_that_was_hidden_is_no_problem(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert devices.gpu_problem() is None


@without_cuda
@pytest.mark.usefixtures("unused_gpu")
@pytest.mark.parametrize("visible", ["0", "GPU-8f2c,GPU-11d0", "MIG-7a5b"])
def test_a_gpu_that_a_batch_system_gave_and_torch_cannot_use_is_said(
    monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert devices.gpu_problem() is not None


@without_cuda
def test_a_gpu_that_fails_at_its_first_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # As one of a generation that this PyTorch has no kernels for: there, and of no use.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert "it fails at the first kernel (" in str(devices.gpu_problem())
    assert devices.chosen_preset(None, {}) == "laptop"
    assert not devices.uses_gpu(resolve("workstation", {}).config)


@without_cuda
@pytest.mark.skipif(torch.version.cuda is not None, reason="of a PyTorch for the CPU only")
@pytest.mark.usefixtures("unused_gpu")
def test_doctor_train_and_resume_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    options = ["--evaluation.episodes", "1", "--run.threads", "1", "--run-dir", run]
    for command in (
        ["doctor", "--preset", "smoke"],
        ["train", "toy_memory", "--preset", "smoke", "--frames", "300", *options],
        ["resume", run, "--frames", "400"],
    ):
        assert cli.main(command) == 0

        printed = capsys.readouterr()
        assert "this PyTorch is built for the CPU only" in printed.out + printed.err


@pytest.mark.parametrize(
    ("preset", "settings", "engine", "origin"),
    [
        ("paper", {}, "threads", "GPU"),
        ("paper", {"run.engine": "inline"}, "inline", "flag"),
        ("paper", {"run.device": "cpu"}, "inline", "default"),
        ("workstation", {}, "threads", "preset workstation"),
    ],
)
@pytest.mark.parametrize("gpu", [False, pytest.param(True, marks=pytest.mark.cuda)])
def test_actors_act_in_threads_beside_a_gpu_unless_it_is_said_how(
    preset: str, settings: dict[str, str], engine: str, origin: str, gpu: bool
) -> None:
    if not gpu:
        settings = {"run.device": "cpu"} | settings
        engine, origin = {"GPU": ("inline", "default")}.get(origin, (engine, origin))

    resolved = devices.resolve(preset, settings)

    assert resolved.config.run.engine == engine
    assert resolved.origins["run.engine"] == origin


@pytest.mark.cuda
def test_a_gpu_that_computes_is_used() -> None:
    assert devices.gpu_problem() is None
    assert devices.chosen_preset(None, {}) == "workstation"
    assert devices.resolve(None, {"run.device": "cpu"}).preset == "laptop"
    assert devices.gpu_bytes() > 0


@pytest.mark.cuda
def test_doctor_says_that_a_gpu_is_too_small(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**31, 2**33))

    assert cli.main(["doctor", "--preset", "paper", "--json"]) == 0

    assert "of the GPU's memory" in capsys.readouterr().out


def test_a_gpus_arithmetic_is_what_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ((torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32"))
    benchmark = (torch.backends.cudnn, "benchmark")
    for owner, name in (*flags, benchmark):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back at the end

    found = []
    for settings in ({}, {"learner.tf32": True}, {"learner.cudnn_benchmark": True}):
        devices.set_gpu_arithmetic(resolve("smoke", settings).config)
        found.append([getattr(owner, name) for owner, name in (*flags, benchmark)])

    assert found == [[False, False, False], [True, True, False], [False, False, True]]


@pytest.mark.parametrize("option", devices.GPU_OPTIONS)
def test_what_only_a_gpu_can_do_is_refused_on_a_cpu(option: str) -> None:
    config = resolve("smoke", {"run.device": "cpu", option: "true"}).config

    with pytest.raises(ResourceError, match=rf"{option} needs a CUDA device.* --{option} false"):
        devices.learner_device(config)
    assert devices.learner_device(devices.without_gpu_options(config)).type == "cpu"
