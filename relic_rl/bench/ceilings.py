"""What no code can exceed on this machine, and how everything here is timed."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import ale_py
import numpy as np
import torch
from ale_py import roms

from envs.games import ATARI57
from relic_rl import build
from relic_rl.config import Config
from relic_rl.machine import devices

GAME = "Pong"
Results = dict[str, Any]

_MATRIX = 2048
_COPY_BYTES = 256 << 20


def ceilings(config: Config) -> Results:
    """What no code can exceed here."""
    device = devices.learner_device(config)
    block = torch.zeros(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(block)
    seconds = seconds_per_call(lambda: target.copy_(block), device, repeats=5)
    return {
        "matmul_flops_per_second": matmul_flops_per_second(device, probes=7),
        "copy_bytes_per_second": 2 * _COPY_BYTES / seconds,
        "raw_emulator_frames_per_second": _raw_emulator_frames_per_second(),
        "environment_steps_per_second": environment_steps_per_second(config),
    }


def matmul_flops_per_second(device: torch.device, probes: int) -> float:
    """Median over the probes of the float32 product of two square matrices."""
    matrix = torch.rand(_MATRIX, _MATRIX, device=device)
    rates = [
        2 * _MATRIX**3 / seconds_per_call(lambda: matrix @ matrix, device, repeats=3)
        for _ in range(probes)
    ]
    return statistics.median(rates)


def _raw_emulator_frames_per_second() -> float:
    """One core, skip of 4, no picture."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    emulator = ale_py.ALEInterface()
    emulator.setInt("frame_skip", 4)
    rom = roms.get_rom_path(ATARI57[GAME].rom)
    assert rom is not None
    emulator.loadROM(rom)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < 1.5:
        for _ in range(100):
            emulator.act(0)
        steps += 100
        if emulator.game_over():
            emulator.reset_game()
    return 4 * steps / (time.perf_counter() - started)


def environment_steps_per_second(config: Config) -> float:
    """Agent steps of all lanes, with random actions and nothing else."""
    env = build.make_env(config, GAME, lanes=config.actor.lanes, seed=0)
    env.reset()
    rng = np.random.default_rng(0)
    actions = rng.integers(env.spec.actions, size=(64, env.lanes))
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < 3.0:
        env.step(actions[steps % 64])
        steps += 1
    rate = steps * env.lanes / (time.perf_counter() - started)
    env.close()
    return rate


def seconds_per_call(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Mean duration of a call, after one that does not count."""
    call()
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    wait(device)
    return (time.perf_counter() - started) / repeats


def wait(device: torch.device) -> None:
    """Returns when the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
