"""Where a run computes: the preset for this machine, the learner's device, torch's threads."""

import functools
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from relic_rl import config as configuration
from relic_rl.config import Config, Resolved
from relic_rl.errors import ResourceError
from relic_rl.machine.capacity import cores, processor

NVIDIA_DRIVER = Path("/proc/driver/nvidia/gpus")
"""Holds an entry for each GPU that Linux has a driver for, whether torch can use it or not."""
GPU_OPTIONS = (
    "learner.bfloat16",
    "learner.compile_encoders",
    "learner.cuda_graph",
    "actor.cuda_graph",
)
"""Settings that only a GPU can carry out."""
GET_TORCH = "https://pytorch.org/get-started/locally"

_log = logging.getLogger(__name__)


@functools.cache
def has_gpu() -> bool:
    """Whether there is a GPU that computes: torch counts those that it has no kernels for, too."""
    return torch.cuda.is_available() and gpu_problem() is None


@functools.cache
def gpu_problem() -> str | None:
    """Why a GPU that is there cannot be used, and what to do; None: it can, or there is none."""
    if torch.cuda.is_available():
        try:
            torch.ones(1, device="cuda").add_(1.0).item()
        except (RuntimeError, AssertionError) as error:  # the second one from a torch without CUDA
            said = str(error).splitlines()[0]
            return (
                f"it fails at the first kernel ({said}): end what else uses it if it is full or "
                f"busy, else install a PyTorch for it, {GET_TORCH}"
            )
        return None
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "0")  # by number, GPU-... or MIG-..., if any is
    is_hidden = not named.startswith(tuple("0123456789GM"))
    if is_hidden or not (NVIDIA_DRIVER.is_dir() and any(NVIDIA_DRIVER.iterdir())):
        return None  # hidden on purpose, or none
    if torch.version.cuda is None:
        return f"this PyTorch is built for the CPU only: install one with CUDA, {GET_TORCH}"
    return (
        f"its driver does not serve this PyTorch's CUDA {torch.version.cuda}, or a container keeps "
        "it from this process: give it to the container, update the driver, or install a PyTorch "
        f"for an older CUDA, {GET_TORCH}"
    )


def gpu_warning(config: Config) -> str:
    """A line that a run would learn on a GPU which cannot be used, if that is so; else nothing."""
    problem = gpu_problem() if config.run.device == "auto" else None
    return "" if problem is None else f"warning: the GPU is not used: {problem}\n"


def chosen_preset(preset: str | None, settings: Mapping[str, Any]) -> str:
    """The given preset, or the one that fits this machine, or what of it the settings leave."""
    if preset is not None:
        return preset
    return "workstation" if settings.get("run.device") != "cpu" and has_gpu() else "laptop"


def resolve(preset: str | None, settings: Mapping[str, Any]) -> Resolved:
    """The configuration on this machine: its preset, where none is given, and its engine.

    Beside a GPU, acting in turn waits for each update: where neither a preset nor a flag says how,
    actors act in threads.

    Raises:
      UsageError: see `relic_rl.config.resolve`.
    """
    resolved = configuration.resolve(chosen_preset(preset, settings), settings)
    config, origins = resolved.config, resolved.origins
    if origins["run.engine"] != configuration.DEFAULT or not uses_gpu(config):
        return resolved
    config = replace(config, run=replace(config.run, engine="threads"))
    return Resolved(config, origins | {"run.engine": "GPU"}, resolved.preset)


def uses_gpu(config: Config) -> bool:
    """Whether the run would learn on a GPU of this machine."""
    return config.run.device != "cpu" and has_gpu()


def gpu_bytes() -> int:
    """Memory of the first GPU that is still free."""
    free, _ = torch.cuda.mem_get_info(0)
    return int(free)


def gpu_metrics(device: torch.device) -> dict[str, float]:
    """For metrics.jsonl: how busy a GPU is, and the most memory that tensors took; none on a CPU.

    Busy is what the driver says: the share of its last sample, a sixth of a second to a second, in
    which a kernel ran, of whatever process. Absent where it says nothing, as of a part of a GPU.
    """
    if device.type != "cuda":
        return {}
    metrics: dict[str, float] = {"gpu_bytes": torch.cuda.max_memory_allocated(device)}
    try:
        metrics["gpu_busy_fraction"] = torch.cuda.utilization(device) / 100
    except Exception as error:  # NVML's own classes, RuntimeError, ImportError: no run's end
        _log.debug("how busy the GPU is, is not known: %s", error)
    return metrics


def learner_device(config: Config) -> torch.device:
    """The device to learn on.

    Raises:
      ResourceError: the device, or an option, needs CUDA, and there is none.
    """
    if config.run.device == "cuda" and not has_gpu():
        problem = gpu_problem()
        why = "no CUDA device is found:" if not problem else f"the GPU is of no use: {problem}; or"
        raise ResourceError(f"run.device is cuda, but {why} use cpu or auto")
    if uses_gpu(config):
        return torch.device("cuda")
    values = configuration.values(config)
    for option in GPU_OPTIONS:
        if values[option]:
            raise ResourceError(
                f"{option} needs a CUDA device, the learner's is the CPU: give "
                f"--{option} false, and to resume --allow-change {option}"
            )
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The device's name; for a CPU also the instruction set that torch uses.

    Processors of one name can differ in it, hence in speed and in how sums are rounded.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()} ({torch.backends.cpu.get_cpu_capability()})"


def without_gpu_options(config: Config) -> Config:
    """Returns the config without GPU-only options: for acting, evaluation and films."""
    device = "cpu" if config.run.device == "cpu" else "auto"
    return configuration.changed(config, dict.fromkeys(GPU_OPTIONS, False) | {"run.device": device})


def learner_threads(config: Config) -> int:
    """CPU threads of the learner; how many there are decides how its sums are rounded."""
    return config.run.threads or cores()


def set_gpu_arithmetic(config: Config) -> None:
    """Says of all float32 on a GPU how exact and how tuned it is; nothing is left to PyTorch."""
    torch.backends.cuda.matmul.allow_tf32 = config.learner.tf32
    torch.backends.cudnn.allow_tf32 = config.learner.tf32
    torch.backends.cudnn.benchmark = config.learner.cudnn_benchmark


def set_threads(config: Config) -> None:
    """Sets torch's threads. Two pools with more threads than cores spin against each other."""
    torch.set_num_threads(learner_threads(config))
    # A thread fixes its number when it first asks; later it would get another thread's.
    torch.get_num_threads()
