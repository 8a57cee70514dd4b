"""Measure this machine's ceilings and the product against them.

Settings change the laptop preset that is measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from relic_rl.commands import arguments


def add_to(verbs: Any) -> None:
    """Adds `relic-rl bench`."""
    parser = arguments.add_verb(
        verbs, "bench", run, usage="[flags] [--SECTION.FIELD VALUE ...]", doc=__doc__
    )
    arguments.add_path(
        parser, "--json", dest="json_file", metavar="FILE", help="Where to write the figures"
    )
    parser.add_argument(
        "--parts",
        metavar="PART",
        nargs="+",
        help="Only these: replay_full, ceilings, acting, replay, learner, end_to_end, "
        "bytes_per_game",
    )
    parser.add_argument(
        "--engine",
        choices=("ray",),
        help="Instead of these, actors on Ray against threads, and what they predict at size",
    )
    arguments.add_settings(parser)


def run(
    *,
    settings: Mapping[str, str],
    json_file: Path | None = None,
    parts: Sequence[str] = (),
    engine: Literal["ray"] | None = None,
) -> None:
    """Measures."""
    from relic_rl.bench import run as bench

    bench.run(tuple(parts), json_file, dict(settings), on_ray=engine == "ray")
