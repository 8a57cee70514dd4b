"""Whole updates against the matrix product."""

import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl import config as configuration
from relic_rl.bench.ceilings import GAME, Results, matmul_flops_per_second, wait
from relic_rl.bench.experience import paper_config, paper_segments, real_segments
from relic_rl.config import Config
from relic_rl.machine import devices
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.segment import Segment
from relic_rl.runtime.batches import BatchesAhead, BatchesInTurn, training_batch
from relic_rl.runtime.learner import Learner
from relic_rl.runtime.stopwatch import Stopwatch


def learner(config: Config) -> Results:
    """Whole updates (sampling, decoding, priority writes included) against the matrix product."""
    paper = configuration.changed(paper_config(), {"run.device": config.run.device})
    plain = replace(paper, representation=replace(paper.representation, arm="none"))
    relic = replace(paper, representation=replace(paper.representation, encoder="shared"))
    results = {
        "paper": _learner_results(plain, paper_segments()),
        "paper_relic": _learner_results(relic, paper_segments()),
        "preset": _learner_results(config, real_segments(config, steps=12_000)),
    }
    base, extra = results["paper"], results["paper_relic"]
    results["relic_cost_over_flops"] = {
        "flops_ratio": extra["flops_per_update"] / base["flops_per_update"],
        "seconds_ratio": extra["update_seconds"] / base["update_seconds"],
    }
    return results


def _learner_results(config: Config, segments: Sequence[Segment]) -> Results:
    device = devices.learner_device(config)
    config = replace(config, learner=replace(config.learner, diagnostics_every_updates=0))
    agent = build.make_agent(config, build.env_spec(config, GAME), seed=0, device=device)
    buffer: ReplayBuffer = build.make_replay(config, seed=0)
    for segment in segments:
        buffer.insert(segment)
    stopwatch = Stopwatch()
    one = Learner(
        agent=agent,
        replay=buffer,
        batches=BatchesInTurn(buffer, config.learner.batch_sequences, device),
        stopwatch=stopwatch,
    )
    flops = _flops_per_update(config, agent, buffer)
    seconds: list[float] = []
    probes: list[float] = []
    stopwatch.lap()
    for _ in range(3):
        probes.append(matmul_flops_per_second(device, probes=3))
        seconds += seconds_of_updates(one, device, at_least=1.0)
    lap = stopwatch.lap()
    update_seconds, matmul = statistics.median(seconds), statistics.median(probes)
    ahead = _sampled_ahead(config, agent, buffer, updates=len(seconds))
    return {
        "update_seconds": update_seconds,
        "flops_per_update": flops,
        "flops_per_second": flops / update_seconds,
        "matmul_flops_per_second": matmul,
        "matmul_fraction": flops / update_seconds / matmul,
        "trained_steps_per_second": config.learner.steps_per_update / update_seconds,
        "sampling_fraction": lap["sampling"] / (lap["sampling"] + lap["learning"]),
        **ahead,
    }


def seconds_of_updates(learner: Learner, device: torch.device, at_least: float) -> list[float]:
    """Of each update, until the device is done with it, for so many seconds together."""
    seconds: list[float] = []
    while sum(seconds) < at_least:
        started = time.perf_counter()
        learner.update()
        wait(device)
        seconds.append(time.perf_counter() - started)
    return seconds


def _sampled_ahead(config: Config, agent: R2D2Agent, buffer: ReplayBuffer, updates: int) -> Results:
    """The same updates, with batches made in a thread: what of the sampling is not hidden."""
    stopwatch = Stopwatch()
    batches = BatchesAhead(buffer, config.learner.batch_sequences, agent.device)
    one = Learner(agent=agent, replay=buffer, batches=batches, stopwatch=stopwatch)
    with closing(batches):
        one.update()
        wait(agent.device)
        stopwatch.lap()
        for _ in range(updates):
            one.update()
        wait(agent.device)
        lap = stopwatch.lap()
    return {
        "ahead_update_seconds": lap["window"] / updates,
        "ahead_sampling_fraction": lap["sampling"] / lap["window"],
    }


def _flops_per_update(config: Config, agent: R2D2Agent, buffer: ReplayBuffer) -> float:
    """Counted by torch, and the LSTM, which it misses, by formula."""
    batch = buffer.sample(config.learner.batch_sequences)
    with FlopCounterMode(display=False) as counter:
        agent.update(training_batch(batch, agent.device))
    shape, lstm = config.learner, agent.online.core
    forward = 2 * 4 * lstm.hidden_size * (lstm.input_size + lstm.hidden_size)
    # Online and target run over all rows; the backward pass over the trained ones costs twice.
    steps = shape.batch_sequences * (2 * shape.rows + 2 * shape.unroll_steps)
    return float(counter.get_total_flops() + steps * forward)
