"""Show every setting: its value, where it comes from, and the source of its default."""

import shutil
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from relic_rl import config as configuration
from relic_rl.commands import arguments
from relic_rl.commands.arguments import shown
from relic_rl.run_game import game_name


def add_to(verbs: Any) -> None:
    """Adds `relic-rl config`."""
    parser = arguments.add_verb(
        verbs, "config", run, usage="[GAME] [flags] [--SECTION.FIELD VALUE ...]", doc=__doc__
    )
    arguments.add_game(parser, nargs="?")
    arguments.add_preset(parser)
    arguments.add_settings(parser)


def run(game: str = "pong", *, settings: Mapping[str, str], preset: str | None = None) -> None:
    """Prints the resolved configuration."""
    from relic_rl.machine import devices

    name = game_name(game)
    resolved = configuration.resolve(devices.chosen_preset(preset), settings)
    docs = configuration.field_docs()
    width = max(160, shutil.get_terminal_size().columns)
    table = Table(title=f"{name}, preset {resolved.preset}", title_justify="left", box=None)
    for column in ("setting", "value", "from", "meaning", "source of the default"):
        table.add_column(column, overflow="fold")
    for field, value in configuration.values(resolved.config).items():
        meaning, source = docs[field]
        table.add_row(field, shown(value), resolved.origins[field], meaning, source)
    Console(width=width if not sys.stdout.isatty() else None, highlight=False).print(table)
