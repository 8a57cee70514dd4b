"""Actors on Ray against actors in threads: rates, the cost of transport, and what it means at size.

Processor time is measured beside wall time, because it stays what it is on a busy machine. Nothing
is learned while experience is gathered, so that actors, transport and ingest are seen alone.
"""

import statistics
import time
from typing import Any, NamedTuple

import psutil

from relic_rl import build
from relic_rl import config as configuration
from relic_rl.bench.ceilings import GAME, Results
from relic_rl.bench.experience import random_engine, random_learner
from relic_rl.bench.learner import seconds_of_updates
from relic_rl.config import Config
from relic_rl.machine import devices
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.runtime.engine import Engine

ACTORS = (1, 2, 4)
_SECONDS = 8.0
_NETWORK_BYTES_PER_SECOND = 10e9 / 8
"""Into the learner's machine."""


class Rates(NamedTuple):
    """What one environment step costs, as measured."""

    actor_seconds: float
    """Of one core, where it is acted: environment, network, recording, encoding, sending."""
    ingest_seconds: float
    """Of one core, at the learner: receiving, checking, inserting."""
    learner_seconds: float
    """Of the learner's device, at the configured replay ratio."""
    step_bytes: float
    """Over the border of a node, parameters included."""


def bounds(rates: Rates, *, actors: int) -> dict[str, float]:
    """Steps per second that each part of a run allows: it is as fast as the slowest.

    The parts are the actors, on a core each; the process that takes the segments in beside the
    learner; the network into that machine; the learner.
    """
    return {
        "actors": actors / rates.actor_seconds,
        "ingest": 1.0 / rates.ingest_seconds,
        "network": _NETWORK_BYTES_PER_SECOND / rates.step_bytes,
        "learner": 1.0 / rates.learner_seconds,
    }


def cluster(config: Config) -> Results:
    """All of it, with the preset's network and a quarter of its lanes on each actor."""
    lanes = max(1, config.actor.lanes // max(ACTORS))
    results: Results = {"lanes_per_actor": lanes}
    for actors in ACTORS:
        shape = {"env.threads": 1, "actor.actors": actors, "actor.lanes": actors * lanes}
        results[f"actors_{actors}"] = {
            engine: _gather(configuration.changed(config, shape | {"run.engine": engine}))
            for engine in ("threads", "ray")
        }
    for actors in ACTORS:
        both = results[f"actors_{actors}"]
        thread_cost, ray_cost = (_cpu_seconds(both[engine]) for engine in ("threads", "ray"))
        both["transport_fraction"] = ray_cost / thread_cost - 1.0
    rates = _rates(config, results)
    results["rates"] = rates._asdict()
    results["ingest_ceiling_steps_per_second"] = 1.0 / rates.ingest_seconds
    results["model"] = predicted(config, rates, results)
    return results


def _gather(config: Config) -> Results:
    """Some seconds of collecting and inserting; costs are per environment step."""
    replay = build.make_replay(config, seed=0)
    with random_engine(config, devices.learner_device(config)) as (engine, agent):
        every = config.actor.publish_every_updates * _steps_per_update(config)
        first_steps = config.actor.lanes * config.learner.segment_steps * 4
        _take(engine, agent, replay, every, steps=first_steps)
        engine.metrics()
        before, started = _processor_seconds(), time.perf_counter()
        steps = _take(engine, agent, replay, every, seconds=_SECONDS)
        window = time.perf_counter() - started
        spent = {kind: end - before[kind] for kind, end in _processor_seconds().items()}
        metrics = engine.metrics()
    return {
        "steps_per_second": steps / window,
        "cores_used": sum(spent.values()) / window,
        **{f"{kind}_cpu_seconds_per_step": seconds / steps for kind, seconds in spent.items()},
        **{name: metrics[name] for name in ("segment_bytes_per_step",) if name in metrics},
    }


def _take(
    engine: Engine,
    agent: Any,
    replay: ReplayBuffer,
    publish_every_steps: float,
    *,
    steps: float = float("inf"),
    seconds: float = float("inf"),
) -> int:
    """Collects, inserts and publishes, as training would; returns the steps at a limit."""
    taken, published, started = 0, 0, time.perf_counter()
    while taken < steps and time.perf_counter() - started < seconds:
        collected = engine.collect()
        taken += collected.steps
        for segment in collected.segments:
            replay.insert(segment)
        if taken - published >= publish_every_steps:
            published = taken
            agent.updates += 1
            engine.publish(agent)
    return taken


def _processor_seconds() -> dict[str, float]:
    """Of this process, of actors that are processes of their own, and of Ray's others."""
    spent = {"driver": time.process_time(), "actors": 0.0, "ray": 0.0}
    for process in psutil.Process().children(recursive=True):
        try:
            kind = "actors" if process.name().startswith("ray::Remote") else "ray"
            spent[kind] += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return spent


def _cpu_seconds(result: Results) -> float:
    return float(sum(v for k, v in result.items() if k.endswith("_cpu_seconds_per_step")))


def _rates(config: Config, results: Results) -> Rates:
    """Medians over the numbers of actors; the update is timed by itself."""
    of_ray = [results[f"actors_{actors}"]["ray"] for actors in ACTORS]

    def median(name: str) -> float:
        return float(statistics.median(result[name] for result in of_ray))

    spec = build.env_spec(config, GAME)
    agent = build.make_agent(config, spec, seed=0, device=devices.learner_device(config))
    parameter_bytes = sum(
        tensor.nbytes for part in agent.parameters_for_policy().values() for tensor in part.values()
    )
    learner = random_learner(config, agent)
    update_seconds = statistics.median(seconds_of_updates(learner, agent.device, at_least=2.0))
    refreshed = config.actor.refresh_steps * results["lanes_per_actor"]  # one actor on a node
    return Rates(
        actor_seconds=median("actors_cpu_seconds_per_step"),
        ingest_seconds=median("driver_cpu_seconds_per_step"),
        learner_seconds=update_seconds / _steps_per_update(config),
        step_bytes=median("segment_bytes_per_step") + parameter_bytes / refreshed,
    )


def _steps_per_update(config: Config) -> float:
    return config.learner.steps_per_update / config.replay.replay_ratio


def predicted(config: Config, rates: Rates, results: Results) -> Results:
    """What the rates predict: compared with what was measured, then at the size of the paper."""
    checked = {}
    gathering_seconds = rates.actor_seconds + rates.ingest_seconds
    for actors in ACTORS:
        measured = results[f"actors_{actors}"]["ray"]
        # Nothing is learned, or crosses a network. All share the cores that they got: the whole
        # machine's, if nothing else ran.
        by_part = bounds(rates, actors=actors)
        by_cores = measured["cores_used"] / gathering_seconds
        expected = min(by_part["actors"], by_part["ingest"], by_cores)
        checked[f"predicted_over_measured_{actors}"] = expected / measured["steps_per_second"]
    far = bounds(rates, actors=256)
    gathering = {part: steps for part, steps in far.items() if part != "learner"}
    # A run of a sweep acts and learns in turn, in one process; here all of them at once.
    step_seconds = gathering_seconds + rates.learner_seconds
    steps = config.run.frames / build.env_spec(config, GAME).frames_per_step
    return {
        **checked,
        "actors_256_steps_per_second": min(far.values()),
        "actors_256_bound": min(far, key=far.__getitem__),
        "actors_256_without_learning_steps_per_second": min(gathering.values()),
        "actors_256_without_learning_bound": min(gathering, key=gathering.__getitem__),
        "actors_that_feed_the_learner": rates.actor_seconds / rates.learner_seconds,
        "sweep_57_hours": steps * step_seconds / 3600.0,
    }
