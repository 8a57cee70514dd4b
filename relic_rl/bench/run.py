"""`relic-rl bench`: the machine's ceilings, and the product against them, in one run.

A share of a ceiling is comparable between machines where a rate is not. Ceilings move (turbo,
neighbours): those that something is held against are medians of probes taken around it.
"""

import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from relic_rl import config as configuration
from relic_rl.bench.acting import acting
from relic_rl.bench.ceilings import Results, ceilings
from relic_rl.bench.cluster import cluster
from relic_rl.bench.learner import end_to_end, learner
from relic_rl.bench.replay import bytes_per_game, replay, replay_full
from relic_rl.config import Config
from relic_rl.errors import UsageError
from relic_rl.machine import devices
from relic_rl.machine.capacity import cores
from relic_rl.runtime.engines import ENGINES

PARTS: dict[str, Callable[[Config], Results]] = {
    # First: memory that another part has freed would serve it, and its growth would not be seen.
    "replay_full": replay_full,
    "ceilings": ceilings,
    "acting": acting,
    "replay": replay,
    "learner": learner,
    "end_to_end": end_to_end,
    "bytes_per_game": bytes_per_game,
}
RAY_PARTS: dict[str, Callable[[Config], Results]] = {"cluster": cluster}


def run(
    parts: tuple[str, ...],
    json_file: Path | None,
    overrides: dict[str, Any],
    *,
    on_ray: bool = False,
) -> None:
    """Measures the parts, prints a table and writes the JSON.

    Args:
      parts: by name; none: all.
      json_file: where to, if anywhere.
      overrides: `section.field` to value, on the laptop preset.
      on_ray: measure what concerns Ray, instead of one process.

    Raises:
      UsageError: a part is unknown, or the file cannot be written.
    """
    known = RAY_PARTS if on_ray else PARTS
    unknown = set(parts) - known.keys()
    if unknown:
        raise UsageError(f"unknown part {unknown.pop()!r}: there are {', '.join(known)}")
    if json_file is not None:
        _expect_writable(json_file)
    laptop = configuration.resolve("laptop", overrides).config
    if ENGINES[laptop.run.engine].needs_cluster:
        raise UsageError("run.engine is ray: use --engine ray, which measures what concerns Ray")
    devices.set_threads(laptop)
    console = Console(highlight=False, soft_wrap=True)
    results: Results = {"machine": machine()}
    for name in parts or tuple(known):
        started = time.perf_counter()
        results[name] = known[name](laptop)
        console.print(_table(name, results[name], time.perf_counter() - started))
        _relate(results)
        results["peak_memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if json_file is not None:  # after each: what was measured outlives what fails
            json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    console.print(f"peak memory {results['peak_memory_bytes'] / 2**30:.2f} GiB")


def _expect_writable(file: Path) -> None:
    """Found out before the minutes of measuring, not after; what is there stays until then."""
    is_new = not file.exists()
    try:
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise UsageError(
            f"--json: cannot write {file}: {error.strerror}; give another file"
        ) from error
    if is_new:
        file.unlink()


def _relate(results: Results) -> None:
    """Figures of the replay that rest on two parts, where both were measured."""
    replayed = results.get("replay", {})
    if replayed and "learner" in results:
        update_seconds = results["learner"]["paper"]["update_seconds"]
        replayed["sample_fraction_of_paper_update"] = replayed["sample_seconds"] / update_seconds
    if replayed and "bytes_per_game" in results:  # instead of one game's
        replayed["bytes_per_step"] = results["bytes_per_game"]["mean_bytes_per_step"]


def machine() -> Results:
    """What the figures were taken on."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "device": devices.device_name(device),
        "cores": cores(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _table(name: str, results: Results, seconds: float) -> Table:
    table = Table(title=f"{name} ({seconds:.0f} s)", title_justify="left", box=None)
    table.add_column("what")
    table.add_column("figure", justify="right")
    for key, value in _flat(results):
        table.add_row(key, value if isinstance(value, str) else _figure(value))
    return table


def _figure(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def _flat(results: Results, prefix: str = "") -> Iterator[tuple[str, float | str]]:
    for key, value in results.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
