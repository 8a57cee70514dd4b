"""How fast a run on a cluster will be: from what one machine measured.

A run is as fast as the slowest of its parts: the actors' cores, the learner, the process that takes
the segments in beside it, and the network into that machine.
"""

import math
from typing import NamedTuple


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


class Prediction(NamedTuple):
    """The rate of a run, and what holds it there."""

    steps_per_second: float
    bound: str


def predict_run(
    rates: Rates,
    *,
    actors: int,
    actor_cores: float | None = None,
    network_bytes_per_second: float = math.inf,
    learns: bool = True,
) -> Prediction:
    """The rate of a run.

    Args:
      rates: of one step.
      actors: on a core each, as far as there are so many.
      actor_cores: None: the actors have cores of their own; else so many in all, which the process
        that takes the segments in shares with them.
      network_bytes_per_second: into the learner's machine.
      learns: False: nothing is learned, as in the measurement of collecting alone.
    """
    bounds = {
        "actors": actors / rates.actor_seconds,
        "ingest": 1.0 / rates.ingest_seconds,
        "network": network_bytes_per_second / rates.step_bytes,
    }
    if actor_cores is not None:
        bounds["cores"] = actor_cores / (rates.actor_seconds + rates.ingest_seconds)
    if learns:
        bounds["learner"] = 1.0 / rates.learner_seconds
    bound = min(bounds, key=bounds.__getitem__)
    return Prediction(bounds[bound], bound)


def predict_run_here(
    *,
    acting_steps_per_second: float,
    update_seconds: float,
    updates_per_step: float,
    in_turn: bool,
) -> float:
    """Steps per second of a run on one machine: a sum where parts take turns, else the slower."""
    act, learn = 1.0 / acting_steps_per_second, update_seconds * updates_per_step
    return 1.0 / (act + learn if in_turn else max(act, learn))
