"""Tables as CSV: how a row becomes a line, and how columns are read back.

The items of a tuple stand in one cell, separated by semicolons.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """A line for each row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_cells, rows))
    return text.getvalue()


def csv_table(rows: Sequence[Mapping[str, object]]) -> str:
    """A line of the first row's names, and a line for each row; empty without any."""
    return csv_lines([rows[0], *(row.values() for row in rows)]) if rows else ""


def _cells(row: Iterable[object]) -> list[object]:
    return [";".join(map(str, cell)) if isinstance(cell, tuple) else cell for cell in row]


def read_table(path: Path, row: type, *names: str, appended: bool = True) -> dict[str, list[Any]]:
    """Column → a value per line of a file, none without a file.

    Args:
      path: of the table.
      row: a dataclass, whose fields are the columns.
      names: of those that are wanted; all without any.
      appended: a crash may have cut the last line short: it is left out then. A table that was
        written whole has no such line.

    Raises:
      ValueError: it is damaged; the message names file and line.
      OSError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    if appended:
        content = content.rpartition(b"\n")[0]
    try:
        whole = content.decode(errors="replace" if appended else "strict")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error
    kinds = get_type_hints(row)
    table: dict[str, list[Any]] = {name: [] for name in names or kinds}
    reader = csv.DictReader(whole.split("\n"), strict=True)
    try:
        for line in reader:
            if None in line or None in line.values():
                raise ValueError(f"it has not the {len(reader.fieldnames or ())} columns")
            for name, column in table.items():
                column.append(_PARSERS[kinds[name]](line[name]))
    except (ValueError, KeyError, csv.Error) as error:
        words = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path.name}, line {reader.line_num} is damaged: {words}") from error
    return table


def finite(text: str) -> float:
    """A number; raises ValueError for anything else."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    bool: {"True": True, "False": False, "1": True, "0": False}.__getitem__,
    float: finite,
    float | None: lambda text: finite(text) if text else None,
    tuple[float, ...]: lambda text: tuple(map(finite, text.split(";"))),
}
"""Of a column, by its field's type."""
