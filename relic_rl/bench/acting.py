"""Acting with the laptop network, against its environment and its forward pass alone."""

import statistics
import time

import torch

from relic_rl import build
from relic_rl.bench.ceilings import Results, environment_steps_per_second, seconds_per_call
from relic_rl.bench.experience import random_actor
from relic_rl.config import Config
from relic_rl.runtime.actor import Actor


def acting(laptop: Config) -> Results:
    """Acting with the laptop network, against its environment and its forward pass alone."""
    device = build.learner_device(laptop)
    rates: dict[str, list[float]] = {"environment": [], "forward": [], "acting": []}
    with random_actor(laptop, device) as actor:
        for _ in range(3):  # interleaved: the machine's speed moves
            rates["environment"].append(environment_steps_per_second(laptop))
            rates["forward"].append(_forward_steps_per_second(laptop, actor, device))
            rates["acting"].append(_acting_steps_per_second(actor))
    environment, forward, acted = (statistics.median(values) for values in rates.values())
    bound = 1 / (1 / environment + 1 / forward)
    return {
        "environment_steps_per_second": environment,
        "forward_steps_per_second": forward,
        "steps_per_second": acted,
        "bound_steps_per_second": bound,
        "bound_fraction": acted / bound,
    }


def _forward_steps_per_second(laptop: Config, actor: Actor, device: torch.device) -> float:
    lanes, stack = laptop.actor.lanes, laptop.network.frame_stack
    stacks = torch.zeros(lanes, 84, 84, stack, dtype=torch.uint8, device=device)
    inputs = (
        stacks.permute(0, 3, 1, 2),
        torch.zeros(lanes, dtype=torch.long, device=device),
        torch.zeros(lanes, device=device),
        actor.policy.initial_state(lanes),
    )
    seconds = seconds_per_call(lambda: actor.policy.q_values(*inputs), device, repeats=200)
    return lanes / seconds


def _acting_steps_per_second(actor: Actor) -> float:
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < 3.0:
        steps += actor.step().steps
    return steps / (time.perf_counter() - started)
