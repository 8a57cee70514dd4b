"""Where a run computes: the preset for this machine, the learner's device, torch's threads."""

from dataclasses import replace

import torch

from relic_rl.config import Config
from relic_rl.errors import ResourceError
from relic_rl.machine.capacity import cores, processor


def chosen_preset(preset: str | None) -> str:
    """The given preset, or the one that fits this machine."""
    if preset is not None:
        return preset
    return "workstation" if torch.cuda.is_available() else "laptop"


def uses_gpu(config: Config) -> bool:
    """Whether the run would learn on a GPU of this machine."""
    return config.run.device != "cpu" and torch.cuda.is_available()


def learner_device(config: Config) -> torch.device:
    """The device to learn on.

    Raises:
      ResourceError: the device, or an option, needs CUDA, and there is none.
    """
    if config.run.device == "cuda" and not torch.cuda.is_available():
        raise ResourceError("run.device is cuda, but no CUDA device is found: use cpu or auto")
    if uses_gpu(config):
        return torch.device("cuda")
    for option in ("bfloat16", "compile_encoders"):
        if getattr(config.learner, option):
            raise ResourceError(
                f"learner.{option} needs a CUDA device, the learner's is the CPU: give "
                f"--learner.{option} false, and to resume --allow-change learner.{option}"
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
    return replace(
        config,
        learner=replace(config.learner, bfloat16=False, compile_encoders=False),
        run=replace(config.run, device="cpu" if config.run.device == "cpu" else "auto"),
    )


def learner_threads(config: Config) -> int:
    """CPU threads of the learner; how many there are decides how its sums are rounded."""
    return config.run.threads or cores()


def set_threads(config: Config) -> None:
    """Sets torch's threads. Two pools with more threads than cores spin against each other."""
    torch.set_num_threads(learner_threads(config))
    # A thread fixes its number when it first asks; later it would get another thread's.
    torch.get_num_threads()
