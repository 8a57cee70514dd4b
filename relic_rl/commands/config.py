"""Show every setting: its value, where it comes from, and the source of its default."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from rich.table import Table

from relic_rl import config as configuration
from relic_rl.commands import arguments
from relic_rl.commands.arguments import shown
from relic_rl.commands.printing import print_json, print_table, table_console
from relic_rl.config import Resolved
from relic_rl.records.identity import environment_of

USAGE = "[GAME] [flags] [--SECTION.FIELD VALUE ...]"
_HEADS = ("setting", "value", "from", "meaning", "source of the default")
_KNOWN = ("value", "from", "meaning", "source")
_MEANING_COLUMNS = 36
"""The least width for a column of sentences; with less, it is left out."""
_SOURCE_COLUMNS = 24


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
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
    resolved = devices.resolve(preset, settings)
    if as_json:
        print_json(_document(name, resolved))
    else:
        print_table(_table(name, resolved, table_console().width))


def _table(game: str, resolved: Resolved, width: int) -> Table:
    """Names and values are never folded, to be copied; columns without room are left out."""
    rows = [(field, shown(value), *known) for field, value, *known in _settings(resolved)]
    needed = [2 + max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    needed += (_MEANING_COLUMNS, _SOURCE_COLUMNS)
    fitting = sum(total <= width for total in accumulate(needed))
    heads = _HEADS[:fitting]
    cells: list[tuple[str, ...]] = [row[:fitting] for row in rows]
    if fitting < 2:  # one column: a long name seldom has a long value
        heads, cells = ("setting and value",), [(f"{row[0]} {row[1]}",) for row in rows]
    table = Table(title=f"{game}, preset {resolved.preset}", title_justify="left", box=None)
    for head in heads:
        is_prose = head in _HEADS[3:]
        table.add_column(head, no_wrap=not is_prose, overflow="fold" if is_prose else "ignore")
    for cell in cells:
        table.add_row(*cell)
    return table


def _document(game: str, resolved: Resolved) -> dict[str, Any]:
    return {
        "game": game,
        "preset": resolved.preset,
        "settings": {
            field: dict(zip(_KNOWN, known, strict=True)) for field, *known in _settings(resolved)
        },
    }


def _settings(resolved: Resolved) -> list[tuple[str, Any, str, str, str]]:
    """Of each its name, and what `_KNOWN` names."""
    docs = configuration.field_docs()
    return [
        (field, value, resolved.origins[field], *docs[field])
        for field, value in configuration.values(resolved.config).items()
    ]
