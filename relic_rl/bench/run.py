"""The machine's ceilings, and the product against them, in one run.

A share of a ceiling is comparable between machines where a rate is not. Ceilings move (turbo,
neighbours): those that something is compared with are medians of probes taken around it.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from relic_rl.bench.acting import acting
from relic_rl.bench.ceilings import Results, ceilings
from relic_rl.bench.cluster import cluster
from relic_rl.bench.corruptions import corruptions
from relic_rl.bench.end_to_end import end_to_end
from relic_rl.bench.learner import learner
from relic_rl.bench.replay import bytes_per_game, replay, replay_full
from relic_rl.config import Config
from relic_rl.machine import devices
from relic_rl.machine.capacity import cores

Part = Callable[[Config], Results]
PARTS: dict[str, Part] = {
    # First: memory that another part has freed would serve it, and its growth would not be seen.
    "replay_full": replay_full,
    "ceilings": ceilings,
    "acting": acting,
    "corruptions": corruptions,
    "replay": replay,
    "learner": learner,
    "end_to_end": end_to_end,
    "bytes_per_game": bytes_per_game,
}
CLUSTER_PARTS: dict[str, Part] = {"cluster": cluster}


def measure(config: Config, parts: Mapping[str, Part]) -> Iterator[tuple[str, float, Results]]:
    """Measures the parts one after the other: name, seconds it took, and all figures so far."""
    devices.set_threads(config)
    devices.set_gpu_arithmetic(config)
    results: Results = {"machine": machine(devices.learner_device(config))}
    for name, part in parts.items():
        started = time.perf_counter()
        results[name] = part(config)
        _relate(results)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        results["peak_memory_bytes"] = peak * (1 if sys.platform == "darwin" else 1024)
        yield name, time.perf_counter() - started, results


def _relate(results: Results) -> None:
    """Figures of the replay that rest on two parts, where both were measured."""
    replayed = results.get("replay", {})
    if replayed and "learner" in results:
        update_seconds = results["learner"]["paper"]["update_seconds"]
        replayed["sample_fraction_of_paper_update"] = replayed["sample_seconds"] / update_seconds
    if replayed and "bytes_per_game" in results:  # instead of one game's
        replayed["bytes_per_step"] = results["bytes_per_game"]["mean_bytes_per_step"]


def machine(device: torch.device) -> Results:
    """What the figures were taken on."""
    return {
        "device": devices.device_name(device),
        "cores": cores(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
