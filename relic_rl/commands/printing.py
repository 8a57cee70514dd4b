"""How verbs print what they found: tables, JSON, and a score beside a human's."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.table import Table

from envs.games import Game
from envs.interface import EnvSpec

FILE_WIDTH_COLUMNS = 160
"""Of a table that goes into a file or a pipe."""
FOLDED_COLUMNS = 10
"""Of a screen that a column of prose has at least, where others are left out for it."""


def new_table(words: Iterable[str], numbers: Iterable[str] = (), **options: Any) -> Table:
    """An empty table: words on the left of their columns, numbers on the right, none folded."""
    table = Table(box=None, title_justify="left", caption_justify="left", **options)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def print_table(table: Table, spare: Sequence[str] = ()) -> None:
    """Prints a table; one whose columns all must not fold may be wider than the terminal.

    Args:
      table: what to print.
      spare: columns that a narrow terminal is left without, the first named first.
    """
    console = table_console()
    leave_out(table, spare, console)
    if all(column.no_wrap for column in table.columns):
        unfolded = console.measure(table, options=console.options.update(max_width=10_000))
        console.width = max(console.width, unfolded.maximum)
    console.print(table)


def leave_out(table: Table, names: Sequence[str], console: Console) -> None:
    """Leaves columns out, the first named first, until those that must not fold have room."""
    unlimited = console.options.update(max_width=10_000)
    rigid = copy(table)
    for name in names:
        rigid.columns = [column for column in table.columns if column.no_wrap]
        taken = console.measure(rigid, options=unlimited).maximum
        others = len(table.columns) - len(rigid.columns)
        if taken + others * FOLDED_COLUMNS <= console.width:
            return
        table.columns = [column for column in table.columns if column.header != name]


def table_console() -> Console:
    """A console for tables: as wide as the terminal, or as a file is read."""
    console = Console(highlight=False, markup=False)
    if not console.file.isatty():
        console.width = FILE_WIDTH_COLUMNS
    elif console.is_dumb_terminal:  # which for rich has 80 columns
        console.size = ConsoleDimensions(*shutil.get_terminal_size())
    return console


def print_json(document: Mapping[str, Any]) -> None:
    """Prints one JSON object, on one line."""
    print(json.dumps(document))


def against_human(reference: Game | None, score: float) -> str:
    """A score beside random play and a human's, in brackets; empty where nobody measured them."""
    if reference is None:
        return ""
    return (
        f" (random play {reference.random:,.1f}, human {reference.human:,.1f}: "
        f"{100 * reference.human_normalized(score):.1f} % human-normalized)"
    )


def under_rules(spec: EnvSpec) -> str:
    """What was chosen of an environment, after a comma; empty where there is nothing to choose."""
    protocol = f", protocol {spec.protocol.name}" if spec.protocol else ""
    return protocol + (f", {spec.action_set} action set" if spec.action_set else "")
