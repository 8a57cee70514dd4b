"""Acting with the preset's network, against its environment and its forward pass alone."""

import statistics
import time
from collections.abc import Callable

import torch

from agents.interface import PolicyInput
from envs.options import FRAME_SIDE_PIXELS
from relic_rl import config as configuration
from relic_rl.bench.ceilings import Results, environment_steps_per_second, seconds_per_call
from relic_rl.bench.experience import random_actor, random_engine
from relic_rl.config import Config
from relic_rl.machine import devices
from relic_rl.machine.capacity import cores
from relic_rl.runtime.actor import Actor, Collected


def acting(config: Config) -> Results:
    """Acting with the preset's network, against its environment and its forward pass alone.

    In turn, as the inline engine does it; and with the lanes split over as many actors as cores,
    in threads, where one actor's network computes while another's emulators run. On a GPU, which
    all would wait for, there is one actor.
    """
    device = devices.learner_device(config)
    rates: dict[str, list[float]] = {name: [] for name in ("environment", "forward", "in_turn")}
    overlapped = []
    threads = _in_threads(config)
    with random_actor(config, device) as actor:
        for _ in range(3):  # interleaved: the machine's speed moves
            rates["environment"].append(environment_steps_per_second(config))
            rates["forward"].append(_forward_steps_per_second(config, actor, device))
            rates["in_turn"].append(steps_per_second(actor.step))
            with random_engine(threads, device) as (engine, _):
                overlapped.append(steps_per_second(engine.collect))
    environment, forward, in_turn = (statistics.median(values) for values in rates.values())
    bound = 1 / (1 / environment + 1 / forward)
    return {
        "environment_steps_per_second": environment,
        "forward_steps_per_second": forward,
        "bound_steps_per_second": bound,
        "steps_per_second": in_turn,
        "bound_fraction": in_turn / bound,
        "threads_steps_per_second": statistics.median(overlapped),
        "threads_bound_fraction": statistics.median(overlapped) / bound,
    }


def _in_threads(config: Config) -> Config:
    """The same lanes on the threads engine, with as many actors as cores, or one on a GPU."""
    lanes = config.actor.lanes
    most = 1 if devices.uses_gpu(config) else cores()
    actors = max(count for count in range(1, most + 1) if lanes % count == 0)
    return configuration.changed(config, {"actor.actors": actors, "run.engine": "threads"})


def _forward_steps_per_second(config: Config, actor: Actor, device: torch.device) -> float:
    lanes, stack = config.actor.lanes, config.network.frame_stack
    side = FRAME_SIDE_PIXELS
    stacks = torch.zeros(lanes, side, side, stack, dtype=torch.uint8, device=device)
    seen = PolicyInput(
        stacks.permute(0, 3, 1, 2),
        torch.zeros(lanes, dtype=torch.long, device=device),
        torch.zeros(lanes, device=device),
        actor.policy.initial_state(lanes),
    )
    seconds = seconds_per_call(lambda: actor.policy.q_values(seen), device, repeats=200)
    return lanes / seconds


def steps_per_second(step: Callable[[], Collected]) -> float:
    """Agent steps of all lanes in some seconds of stepping."""
    step()
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < 3.0:
        steps += step().steps
    return steps / (time.perf_counter() - started)
