"""Short runs, and what acting and updates, each measured alone between them, predict of a run."""

import json
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from relic_rl import build
from relic_rl import config as configuration
from relic_rl.bench.acting import steps_per_second
from relic_rl.bench.ceilings import GAME, Results
from relic_rl.bench.experience import random_actor, random_learner
from relic_rl.bench.learner import seconds_of_updates
from relic_rl.config import Config
from relic_rl.console import Console
from relic_rl.machine import devices
from relic_rl.records.metrics import METRICS_FILE
from relic_rl.runtime.engines import ENGINES
from relic_rl.stop import StopRequest
from relic_rl.train import Training

_ROUNDS = 3
_SHORT_RUN: dict[str, Any] = {
    "replay.min_steps": 1_000,
    "run.frames": 10**9,
    "run.minutes": 0.2,
    "run.metrics_every_updates": 25,
    "run.probe_every_frames": 0,
    "run.track": ("off",),
    "evaluation.every_minutes": 0.0,
    "evaluation.every_frames": 0,
}

Row = dict[str, float]


def end_to_end(config: Config) -> Results:
    """Three runs of some twelve seconds at the configured replay ratio, and what is predicted.

    Nothing is predicted where actors and learner share the cores of a CPU.
    """
    device = devices.learner_device(config)
    in_turn = not ENGINES[config.run.engine].samples_ahead
    learner = random_learner(
        config, build.make_agent(config, build.env_spec(config, GAME), seed=0, device=device)
    )
    rows: list[Row] = []
    acting: list[float] = []
    updating: list[float] = []
    with random_actor(config, device) as actor:
        for _ in range(_ROUNDS):  # interleaved: the machine's speed moves
            acting.append(steps_per_second(actor.step))
            updating += seconds_of_updates(learner, device, at_least=3.0)
            rows += _rows_of_a_run(config)[1:]  # the first holds the time before learning
    results = _results(rows, config.replay.replay_ratio)
    if rows and (in_turn or device.type == "cuda"):
        # A sum where parts take turns, else the slower.
        act = 1.0 / statistics.harmonic_mean(acting)
        updates_per_step = config.replay.replay_ratio / config.learner.steps_per_update
        learn = statistics.fmean(updating) * updates_per_step
        predicted = 1.0 / (act + learn if in_turn else max(act, learn))
        results["predicted_steps_per_second"] = predicted
        results["predicted_over_measured"] = predicted / results["steps_per_second"]
    return results


def _rows_of_a_run(config: Config) -> list[Row]:
    config = configuration.changed(config, _SHORT_RUN)
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("w") as nowhere:
        with closing(Training(Path(folder), config, GAME, 0, Console(stream=nowhere))) as training:
            training.train(StopRequest())
        lines = (Path(folder) / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _results(rows: Sequence[Row], configured_replay_ratio: float) -> Results:
    """Rates and shares of the wall time over rows of metrics.jsonl.

    Of actors beside the learner, seconds are all actors': shares add up to more than 1.
    """
    if not rows:
        return {"steps_per_second": "too slow to measure: under 50 updates in 12 seconds"}
    window = sum(row["window_seconds"] for row in rows)
    shares = {
        name: sum(row.get(f"{name}_seconds", 0.0) for row in rows) / window
        for name in ("environment", "inference", "learning", "sampling", "recording")
    }
    gpu_busy = [row["gpu_busy_fraction"] for row in rows if "gpu_busy_fraction" in row]
    return {
        **{name: _rate(rows, name, window) for name in ("steps_per_second", "updates_per_second")},
        "replay_ratio": rows[-1]["replay_ratio"],
        "configured_replay_ratio": configured_replay_ratio,
        "busy_fraction": shares["environment"] + shares["inference"] + shares["learning"],
        **{f"{name}_fraction": share for name, share in shares.items()},
        **({"gpu_busy_fraction": statistics.fmean(gpu_busy)} if gpu_busy else {}),
    }


def _rate(rows: Sequence[Row], name: str, window: float) -> float:
    return sum(row[name] * row["window_seconds"] for row in rows) / window
