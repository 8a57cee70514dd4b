"""`relic-rl config` and `relic-rl games`: what there is to choose from, as tables."""

import shutil
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from envs.games import ATARI57, REFERENCE_SOURCE
from relic_rl import config as configuration
from relic_rl.machine import devices
from relic_rl.run_game import game_name


def show_config(game: str, preset: str | None, overrides: dict[str, Any]) -> None:
    """Prints every setting with its value, where that came from, and the default's source."""
    name = game_name(game)
    resolved = configuration.resolve(devices.chosen_preset(preset), overrides)
    docs = configuration.field_docs()
    width = max(160, shutil.get_terminal_size().columns)
    table = Table(title=f"{name}, preset {resolved.preset}", title_justify="left", box=None)
    for column in ("setting", "value", "from", "meaning", "source of the default"):
        table.add_column(column, overflow="fold")
    for field, value in configuration.values(resolved.config).items():
        meaning, source = docs[field]
        table.add_row(field, _shown(value), resolved.origins[field], meaning, source)
    Console(width=width if not sys.stdout.isatty() else None, highlight=False).print(table)


def show_games() -> None:
    """Prints the 57 games."""
    table = Table(box=None)
    for column, justify in (("game", "left"), ("name here", "left"), ("random", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("human", justify="right")
    for game in ATARI57.values():
        table.add_row(game.name, game.slug, f"{game.random:,.1f}", f"{game.human:,.1f}")
    table.caption, table.caption_justify = f"From the {REFERENCE_SOURCE}.", "left"
    Console(width=100 if not sys.stdout.isatty() else None, highlight=False).print(table)


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
