"""What a run will need of the machine, compared with what is free before it starts."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from agents.agent import R2D2Agent
from agents.interface import EnvShape
from envs.options import FRAME_SIDE_PIXELS
from relic_rl.config import Config
from relic_rl.console import size
from relic_rl.errors import ResourceError
from relic_rl.machine.capacity import available_bytes
from relic_rl.machine.devices import gpu_bytes, uses_gpu
from relic_rl.runtime.engines import ENGINES

STEP_BYTES = 700
"""Of the replay a step, with a margin: 266 as the mean of 57 games, 1,390 of the worst, as
docs/benchmarks.md has them."""
PROCESS_BYTES = 2**30
"""Python, torch and the emulators, with a margin: measured 0.5 to 0.7 GiB."""
GPU_CONTEXT_BYTES = 2**30
"""CUDA's own, cuDNN's and cuBLAS's workspaces: an estimate, not measured."""
_STACKS_AT_WORK = 3
"""Memory of an update, activations and gradients included, in units of its batch's frame stacks:
measured on a CPU, 3.0 with `paper` and 2.7 with `laptop`; taken for a GPU as well."""
SHARED_MEMORY = Path("/dev/shm")
_CHECKPOINTS_ON_DISK = 3
"""Two are kept while the next is staged."""
_PROBE_STEP_BYTES = 70_000
"""Of a step that is probed: 328 MiB were measured of 5,000."""
_LARGEST_ENV = EnvShape(18, FRAME_SIDE_PIXELS, FRAME_SIDE_PIXELS)
_FRAME_PIXELS = FRAME_SIDE_PIXELS**2


def check_resources(config: Config, run_dir: Path) -> None:
    """Refuses a run that memory, disk or shared memory will not hold.

    Args:
      config: the run's.
      run_dir: where it will write; need not exist yet.

    Raises:
      ResourceError: one of them is too small.
    """
    needed, available = memory_bytes(config), available_bytes()
    if needed > available:
        raise ResourceError(
            f"the run needs about {size(needed)} of memory, {size(replay_bytes(config))} of it for "
            f"the full replay, and {size(available)} are free: lower --replay.capacity_steps, "
            "--replay.max_bytes, --learner.batch_sequences or --actor.lanes"
        )
    if uses_gpu(config) and gpu_memory_bytes(config) > gpu_bytes():
        raise ResourceError(
            f"the run needs about {size(gpu_memory_bytes(config))} of the GPU's memory, and "
            f"{size(gpu_bytes())} are free: lower --learner.batch_sequences or --actor.lanes, end "
            "what else uses it, or give --run.device cpu"
        )
    needed = disk_bytes(config)
    free = free_disk_bytes(run_dir) + _held_bytes(run_dir)
    if needed > free:
        raise ResourceError(
            f"the run's checkpoints need about {size(needed)} of disk, {size(free)} are free at "
            f"{run_dir}: free some, lower --replay.capacity_steps, or begin the run on another disk"
        )
    needed = shared_memory_bytes(config)
    if (
        needed
        and SHARED_MEMORY.exists()
        and (free := shutil.disk_usage(SHARED_MEMORY).free) < needed
    ):
        raise ResourceError(
            f"run.engine {config.run.engine} needs about {size(needed)} of shared memory, "
            f"{size(free)} are free at {SHARED_MEMORY}: enlarge it (docker run --shm-size), or use "
            "an engine without a cluster"
        )


def memory_bytes(config: Config) -> int:
    """Memory of the process once its replay is full."""
    networks = 2 * learned_bytes(config)  # twice: a checkpoint's
    updating = 0 if uses_gpu(config) else _update_bytes(config)
    probing = (
        _PROBE_STEP_BYTES * config.evaluation.probe_steps * (config.run.probe_every_frames > 0)
    )
    return (
        replay_bytes(config) + PROCESS_BYTES + networks + _lane_bytes(config) + updating + probing
    )


def gpu_memory_bytes(config: Config) -> int:
    """Memory of a GPU that the run learns on; a graph of an update has its own."""
    updates = 1 + config.learner.cuda_graph
    return GPU_CONTEXT_BYTES + learned_bytes(config) + updates * _update_bytes(config)


def _update_bytes(config: Config) -> int:
    learner = config.learner
    stack = 4 * config.network.frame_stack * _FRAME_PIXELS
    return _STACKS_AT_WORK * learner.batch_sequences * learner.rows * stack


def replay_bytes(config: Config) -> int:
    """Expected memory of the full replay, at most `replay.max_bytes`."""
    state = 8 * config.network.lstm / config.learner.segment_steps
    expected = config.replay.capacity_steps * (STEP_BYTES + state)
    return int(min(expected, config.replay.max_bytes))


def disk_bytes(config: Config) -> int:
    """Disk for checkpoints while a run is at work: the replay, and the rest for each that is kept.

    A segment file goes as a whole, once no kept checkpoint needs a part of it. While the next one
    is written, up to 3.7 replays lie there (with 95 % of it new in each checkpoint); as a step has
    266 bytes on average, that is within twice of what memory is reckoned with.
    """
    return 2 * replay_bytes(config) + _CHECKPOINTS_ON_DISK * _checkpoint_bytes(config)


def left_bytes(config: Config) -> int:
    """Disk of a finished run, by what it keeps."""
    policy = _policy_bytes(config)
    checkpoint = _checkpoint_bytes(config)
    replay = replay_bytes(config) + _CHECKPOINTS_ON_DISK * checkpoint
    return {"replay": replay, "checkpoint": checkpoint, "policy": policy}[config.run.keep]


def _checkpoint_bytes(config: Config) -> int:
    """Of one, without the replay."""
    return learned_bytes(config) + _lane_bytes(config)


def check_disk(needed: int, path: Path, runs: Iterable[Path]) -> None:
    """Refuses a sweep whose runs will not have room for what they leave.

    Args:
      needed: of all runs.
      path: where they will be; need not exist yet.
      runs: their folders; what they hold already counts as free.

    Raises:
      ResourceError: there is too little.
    """
    free = free_disk_bytes(path) + sum(map(_held_bytes, runs))
    if needed > free:
        raise ResourceError(
            f"the runs need about {size(needed)} of disk, {size(free)} are free at {path}: free "
            "some, give --keep policy, lower --replay.capacity_steps, or use another disk"
        )


def shared_memory_bytes(config: Config) -> int:
    """Shared memory of a cluster: two versions of the parameters, and segments on their way."""
    if not ENGINES[config.run.engine].needs_cluster:
        return 0
    return 2 * _policy_bytes(config) + config.actor.lanes * 2**20


@cache  # a sweep asks once for each of its runs
def learned_bytes(config: Config) -> int:
    """Size of all networks, of Adam's two moments, and of an actor's copy."""
    agent = _agent(config)
    moments = sum(
        2 * int(parameter.nbytes)
        for optimizer in agent.optimizers.values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    return _bytes_of(agent.model_state()) + moments + _policy_bytes(config)


@cache
def _policy_bytes(config: Config) -> int:
    return _bytes_of(_agent(config).parameters_for_policy())


def _agent(config: Config) -> R2D2Agent:
    """The run's agent, with shapes but no values; of the largest game."""
    with torch.device("meta") as meta:
        return R2D2Agent(
            _LARGEST_ENV,
            config.network,
            config.learner,
            config.representation,
            priority_mix=config.replay.priority_mix,
            device=meta,
            seed=0,
        )


def _bytes_of(parts: dict[str, dict[str, torch.Tensor]]) -> int:
    return sum(int(tensor.nbytes) for part in parts.values() for tensor in part.values())


def _lane_bytes(config: Config) -> int:
    """Size of the two open segments of every lane, with uncompressed frames."""
    frames = config.learner.segment_steps + config.network.frame_stack
    return 2 * config.actor.lanes * frames * _FRAME_PIXELS


def _held_bytes(run_dir: Path) -> int:
    """Disk that a resumed run's checkpoints use already."""
    held_bytes = 0
    with suppress(FileNotFoundError):  # a run that is about to end may be pruning them
        for file in (*run_dir.glob("segments/*"), *run_dir.glob("checkpoints/*/*")):
            held_bytes += file.stat().st_size
    return held_bytes


def free_disk_bytes(path: Path) -> int:
    """Where a path is, or would be."""
    return shutil.disk_usage(existing_parent(path)).free


def existing_parent(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
