"""Show every setting: its value, where it comes from, and the source of its default."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from relic_rl import config as configuration
from relic_rl.commands import arguments
from relic_rl.commands.arguments import shown
from relic_rl.commands.printing import print_json, print_table, table_console
from relic_rl.config import Resolved
from relic_rl.records.identity import environment_of

_MEANING_COLUMNS = 36
"""The least width for a column of sentences; with less, it is left out."""
_SOURCE_COLUMNS = 24


def add_to(verbs: Any) -> None:
    """Adds `relic-rl config`."""
    parser = arguments.add_verb(
        verbs, "config", run, usage="[GAME] [flags] [--SECTION.FIELD VALUE ...]", doc=__doc__
    )
    arguments.add_game(parser, nargs="?")
    arguments.add_preset(parser)
    arguments.add_json(parser)
    arguments.add_settings(parser)


def run(
    game: str = "pong",
    *,
    settings: Mapping[str, str],
    preset: str | None = None,
    as_json: bool = False,
) -> None:
    """Prints the resolved configuration."""
    from relic_rl.machine import devices

    name = environment_of(game).name
    resolved = configuration.resolve(devices.chosen_preset(preset), settings)
    if as_json:
        print_json(_document(name, resolved))
    else:
        print_table(_table(name, resolved, table_console().width))


def _table(game: str, resolved: Resolved, width: int) -> Table:
    """Names and values are never folded, to be copied; columns without room are left out."""
    docs = configuration.field_docs()
    rows = [
        (field, shown(value), resolved.origins[field], *docs[field])
        for field, value in configuration.values(resolved.config).items()
    ]
    table = Table(title=f"{game}, preset {resolved.preset}", title_justify="left", box=None)
    for column in ("setting", "value", "from"):
        table.add_column(column, no_wrap=True, overflow="ignore")
    left = width - sum(2 + max(map(len, column)) for column in list(zip(*rows, strict=True))[:3])
    texts = (
        ("meaning", _MEANING_COLUMNS),
        ("source of the default", _MEANING_COLUMNS + _SOURCE_COLUMNS),
    )
    names = [name for name, needed in texts if left >= needed]
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*row[: 3 + len(names)])
    return table


def _document(game: str, resolved: Resolved) -> dict[str, Any]:
    docs = configuration.field_docs()
    return {
        "game": game,
        "preset": resolved.preset,
        "settings": {
            field: {
                "value": value,
                "from": resolved.origins[field],
                "meaning": docs[field][0],
                "source": docs[field][1],
            }
            for field, value in configuration.values(resolved.config).items()
        },
    }
