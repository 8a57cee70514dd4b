"""Measure this machine's ceilings and the product against them.

A preset's own parts are measured with its settings, the replay's and one update at the paper's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from relic_rl.commands import arguments
from relic_rl.commands.printing import new_table, print_table
from relic_rl.console import print_line, size
from relic_rl.errors import UsageError
from relic_rl.runtime.engines import ENGINES, EngineName

USAGE = "[flags] [--SECTION.FIELD VALUE ...]"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_preset(parser, otherwise="laptop")
    arguments.add_path(
        parser, "--json", dest="json_file", metavar="FILE", help="Where to write the figures"
    )
    parser.add_argument(
        "--parts",
        metavar="PART",
        nargs="+",
        help="Measure only these: replay_full, ceilings, acting, corruptions, replay, learner, "
        "end_to_end, bytes_per_game",
    )
    parser.add_argument(
        "--engine",
        choices=[name for name, kind in ENGINES.items() if kind.needs_cluster],
        help="Instead of these, actors on Ray against threads, and what they predict at size",
    )
    arguments.add_settings(parser)


def run(
    *,
    settings: Mapping[str, str],
    preset: str | None = None,
    json_file: Path | None = None,
    parts: Sequence[str] = (),
    engine: EngineName | None = None,
) -> None:
    """Measures the parts, prints a table of each and writes the JSON.

    Raises:
      UsageError: a part is unknown, or the file cannot be written.
    """
    from relic_rl.bench.run import CLUSTER_PARTS, PARTS, measure
    from relic_rl.machine import devices

    known = PARTS if engine is None else CLUSTER_PARTS
    if unknown := sorted(set(parts) - known.keys()):
        raise UsageError(f"unknown part {unknown[0]!r}: there are {', '.join(known)}")
    if json_file is not None:
        _expect_writable(json_file)
    config = devices.resolve(preset or "laptop", settings).config
    if ENGINES[asked := config.run.engine].needs_cluster:
        raise UsageError(
            f"run.engine is {asked}: leave it out, --engine {asked} measures a cluster"
        )
    for name, seconds, results in measure(config, {name: known[name] for name in parts or known}):
        print_table(_table(name, results[name], seconds))
        if json_file is not None:  # after each: what was measured outlives what fails
            json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_line(f"peak memory {size(results['peak_memory_bytes'])}")


def _expect_writable(file: Path) -> None:
    """Checks before minutes of measuring that the file can be written; an older one stays."""
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


def _table(name: str, results: Mapping[str, Any], seconds: float) -> Table:
    table = new_table(["what"], ["figure"], title=f"{name} ({seconds:.0f} s)")
    for key, value in _flat(results):
        table.add_row(key, value if isinstance(value, str) else _figure(value))
    return table


def _figure(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def _flat(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | str]]:
    for key, value in results.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
