"""List the 57 games with their random and human scores."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from envs.games import ATARI57, REFERENCE_SOURCE
from relic_rl.commands import arguments


def add_to(verbs: Any) -> None:
    """Adds `relic-rl games`."""
    arguments.add_verb(verbs, "games", run, usage="[flags]", doc=__doc__)


def run() -> None:
    """Prints the table."""
    table = Table(box=None)
    for column, justify in (("game", "left"), ("name here", "left"), ("random", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("human", justify="right")
    for game in ATARI57.values():
        table.add_row(game.name, game.slug, f"{game.random:,.1f}", f"{game.human:,.1f}")
    table.caption, table.caption_justify = f"From the {REFERENCE_SOURCE}.", "left"
    Console(width=100 if not sys.stdout.isatty() else None, highlight=False).print(table)
