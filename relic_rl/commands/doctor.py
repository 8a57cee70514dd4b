"""Show what this machine has and whether a preset fits it."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from typing import NamedTuple

import psutil
from rich.table import Table

from envs.games import ATARI57
from relic_rl import config as configuration
from relic_rl.commands import arguments
from relic_rl.commands.printing import new_table, print_json, print_table
from relic_rl.console import size
from relic_rl.errors import ResourceError
from relic_rl.machine.capacity import available_bytes, cores

USAGE = "[flags]"


class _Needs(NamedTuple):
    """What runs of a preset need, and what of it is missing here."""

    preset: str
    engine: str
    replay_bytes: int
    memory_bytes: int
    disk_bytes: int
    problems: list[str]


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_preset(parser, otherwise="all shipped ones")
    arguments.add_json(parser)


def run(*, preset: str | None = None, as_json: bool = False) -> None:
    """Prints the machine and the presets' needs.

    Raises:
      ResourceError: no run can work here.
      UsageError: no such preset.
    """
    needs = [
        _needs(name) for name in (configuration.preset_paths() if preset is None else [preset])
    ]
    missing = _missing_roms()
    machine = dict(_machine())
    machine["ROMs"] = f"{len(ATARI57) - len(missing)} of {len(ATARI57)}"
    if as_json:
        presets = [one._asdict() for one in needs]
        print_json({"machine": machine, "presets": presets, "missing_roms": missing})
    else:
        _print(machine, needs)
    if missing:
        raise ResourceError(
            f"{len(missing)} ROMs are missing, first {missing[0]}: unset ALE_ROMS_DIR if it is "
            "set, or install ale-py again"
        )


def _print(machine: Mapping[str, str], needs: Sequence[_Needs]) -> None:
    table = Table(title="this machine", title_justify="left", box=None, show_header=False)
    for name, value in machine.items():
        table.add_row(name, value)
    print_table(table)
    columns = ("preset", "replay when full", "memory in all", "engine")
    table = new_table(columns, title="presets")
    table.add_column("fits here")
    for one in needs:
        table.add_row(
            one.preset,
            size(one.replay_bytes),
            size(one.memory_bytes),
            one.engine,
            "; ".join(one.problems) or "yes",
        )
    print_table(table, spare=["engine", "replay when full"])


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
    yield "memory", f"{size(available_bytes())} free of {size(total)}"
    yield "disk here", f"{size(disk.free)} free"
    if devices.has_gpu():
        gpu = torch.cuda.get_device_properties(0)
        yield "CUDA", f"{gpu.name}, {size(gpu.total_memory)}"
    else:
        problem = devices.gpu_problem()
        found = "none" if problem is None else f"a GPU that cannot be used: {problem}"
        yield "CUDA", f"{found}; the laptop preset is the default"
    yield (
        "versions",
        ", ".join(
            f"{name} {importlib.metadata.version(name)}"
            for name in ("relic-rl", "torch", "ale-py", "gymnasium", "numpy")
        ),
    )


def _needs(preset: str) -> _Needs:
    from relic_rl.machine import devices, resources

    config = devices.resolve(preset, {}).config
    memory, disk = resources.memory_bytes(config), resources.disk_bytes(config)
    problems = []
    if memory > available_bytes():
        problems.append(f"needs {size(memory)} of memory")
    gpu = resources.gpu_memory_bytes(config)
    if devices.uses_gpu(config) and gpu > devices.gpu_bytes():
        problems.append(f"needs {size(gpu)} of the GPU's memory")
    if disk > shutil.disk_usage(".").free:
        problems.append(f"checkpoints need {size(disk)} of disk")
    try:
        devices.learner_device(config)
    except ResourceError:
        problems.append("needs CUDA")
    replay = resources.replay_bytes(config)
    return _Needs(preset, config.run.engine, replay, memory, disk, problems)


def _missing_roms() -> list[str]:
    with redirect_stdout(sys.stderr):  # where ale-py says that it looks in ALE_ROMS_DIR
        return [game.name for game in ATARI57.values() if not _has_rom(game.rom)]


def _has_rom(name: str) -> bool:
    from ale_py import roms

    try:
        return roms.get_rom_path(name) is not None
    except OSError:
        return False
