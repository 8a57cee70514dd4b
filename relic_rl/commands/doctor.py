"""Show what this machine has and whether a preset fits it."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from envs.games import ATARI57
from relic_rl import config as configuration
from relic_rl.commands import arguments
from relic_rl.errors import ResourceError, UserError
from relic_rl.machine.capacity import available_bytes, cores

GIB = 2**30


class UnfitMachineError(UserError):
    """Something that every run needs is missing."""


def add_to(verbs: Any) -> None:
    """Adds `relic-rl doctor`."""
    parser = arguments.add_verb(verbs, "doctor", run, usage="[flags]", doc=__doc__)
    arguments.add_preset(parser, otherwise="all shipped ones")


def run(preset: str | None = None) -> None:
    """Prints the machine and the presets' needs.

    Raises:
      UnfitMachineError: no run can work here.
      UsageError: no such preset.
    """
    fits = [_needs(name) for name in ([preset] if preset else configuration.preset_paths())]
    console = Console(highlight=False, soft_wrap=True)
    machine = Table(title="this machine", title_justify="left", box=None, show_header=False)
    for name, value in _machine():
        machine.add_row(name, value)
    console.print(machine)
    needs = Table(title="presets", title_justify="left", box=None)
    for column in ("preset", "replay when full", "memory in all", "engine", "fits here"):
        needs.add_column(column)
    for row in fits:
        needs.add_row(*row)
    console.print(needs)
    missing = _missing_roms()
    if missing:
        raise UnfitMachineError(
            f"{len(missing)} ROMs are missing, first {missing[0]}: reinstall ale-py"
        )


def _machine() -> Iterator[tuple[str, str]]:
    import torch

    from relic_rl.machine import devices

    disk = shutil.disk_usage(".")
    yield "system", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    yield "processor", devices.device_name(torch.device("cpu"))
    asked = os.environ.get("OMP_NUM_THREADS")
    why = f" (OMP_NUM_THREADS is {asked})" if asked else ""
    yield "cores", f"{cores()} usable of {os.cpu_count()}{why}"
    total = psutil.virtual_memory().total
    yield "memory", f"{available_bytes() / GIB:.1f} GiB free of {total / GIB:.1f}"
    yield "disk here", f"{disk.free / GIB:.1f} GiB free"
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        yield "CUDA", f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB"
    else:
        yield "CUDA", "none: the laptop preset is the default"
    yield (
        "versions",
        ", ".join(
            f"{name} {importlib.metadata.version(name)}"
            for name in ("relic-rl", "torch", "ale-py", "gymnasium", "numpy")
        ),
    )
    yield "ROMs", f"{len(ATARI57) - len(_missing_roms())} of {len(ATARI57)}"


def _needs(preset: str) -> tuple[str, str, str, str, str]:
    from relic_rl.machine import devices
    from relic_rl.machine.resources import disk_bytes, memory_bytes, replay_bytes

    config = configuration.resolve(preset, {}).config
    problems = []
    if (needed := memory_bytes(config)) > available_bytes():
        problems.append(f"needs {needed / GIB:.1f} GiB of memory")
    if disk_bytes(config) > shutil.disk_usage(".").free:
        problems.append(f"checkpoints need {disk_bytes(config) / GIB:.1f} GiB of disk")
    try:
        devices.learner_device(config)
    except ResourceError:
        problems.append("needs CUDA")
    return (
        preset,
        f"{replay_bytes(config) / GIB:.1f} GiB",
        f"{memory_bytes(config) / GIB:.1f} GiB",
        config.run.engine,
        "; ".join(problems) or "yes",
    )


def _missing_roms() -> list[str]:
    from ale_py import roms

    return [game.name for game in ATARI57.values() if roms.get_rom_path(game.rom) is None]
