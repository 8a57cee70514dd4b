"""Tables as CSV: how a row becomes a line, and how columns are read back.

The items of a tuple stand in one cell, separated by semicolons.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


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


def parse_columns(
    text: str, parsers: Mapping[str, Callable[[str], Any]], name: object
) -> dict[str, list[Any]]:
    """Returns column → a value per line of a table.

    Args:
      text: lines of CSV, the first of which has the names.
      parsers: column → what its text becomes; other columns are passed over.
      name: of the file, for messages.

    Raises:
      ValueError: a line is damaged; the message names file and line.
    """
    table: dict[str, list[Any]] = {column: [] for column in parsers}
    reader = csv.DictReader(text.split("\n"), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"it has not the {len(reader.fieldnames or ())} columns")
            for column, parse in parsers.items():
                table[column].append(parse(row[column]))
    except (ValueError, KeyError, csv.Error) as error:
        words = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}, line {reader.line_num} is damaged: {words}") from error
    return table


def finite(text: str) -> float:
    """A number; raises ValueError for anything else."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def finite_each(text: str) -> tuple[float, ...]:
    """The numbers of one cell."""
    return tuple(map(finite, text.split(";")))
