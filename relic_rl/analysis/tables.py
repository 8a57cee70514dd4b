"""The tables of a report as plain data: aggregates, and the score of each game."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from envs.games import ATARI57, title_of
from relic_rl.analysis.columns import Column
from relic_rl.analysis.scores import MIN_SEEDS, ROW_LABELS, human_normalized
from relic_rl.analysis.series import span


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table, with a smaller line below it."""

    text: str
    small: str = ""
    best: bool = False
    key: float | None = None
    """The number as it is compared, and sorted by; None: the text, or below all numbers."""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; the first cell of a row names it."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sorts: bool = False
    """Whether a reader of the page may sort it."""


def with_best(cells: Sequence[Cell], best: Callable[[Iterable[float]], float] = max) -> list[Cell]:
    """The same cells of a row, the best marked where there are several numbers."""
    keys = [cell.key for cell in cells if cell.key is not None]
    return [replace(cell, best=len(keys) > 1 and cell.key == best(keys)) for cell in cells]


def aggregate_table(columns: Sequence[Column]) -> Table:
    """A row for each aggregate, with its interval where there are seeds enough.

    Args:
      columns: which share games.
    """
    rows = []
    aggregates = [column.aggregate for column in columns if column.aggregate]
    for name, label in ROW_LABELS.items():
        digits = 0 if name == "superhuman_games" else 2
        cells = []
        for one in aggregates:
            value, interval = one.rows()[name], (one.intervals or {}).get(name)
            small = f"{interval[0]:,.{digits}f} to {interval[1]:,.{digits}f}" if interval else ""
            cells.append(Cell(f"{value:,.{digits}f}", small, key=value))
        best = min if name == "optimality_gap" else max
        rows.append((Cell(label), *with_best(cells, best)))
    shared = columns[0].shared
    games = title_of(shared) or f"the same {len(shared)} of 57 games"
    seeds = " ".join(_seeds(column) for column in columns if column.is_own)
    caption = f"Percent of the human score, over {games}. {seeds}"
    return Table("Aggregates", caption, ("", *(column.label for column in columns)), tuple(rows))


def score_table(columns: Sequence[Column]) -> Table:
    """A row for each game: the score of every column that has it, of random play, of the human."""
    rows = []
    means_of = [column.means() for column in columns]
    for name, game in ATARI57.items():
        if not any(name in means for means in means_of):
            continue
        cells = []
        for means in means_of:
            if name in means:
                normalized = human_normalized(name, means[name])
                percent = f"{100 * normalized:,.1f} %"
                cells.append(Cell(f"{means[name]:,.1f}", percent, key=normalized))
            else:
                cells.append(Cell("-"))
        others = [Cell(f"{score:,.1f}", key=score) for score in (game.random, game.human)]
        rows.append((Cell(name), *with_best(cells), *others))
    head = ("Game", *(column.label for column in columns), "Random", "Human")
    caption = "Mean over seeds, and below it the percent of human. The best of a row is bold."
    return Table("Scores", caption, head, tuple(rows), sorts=True)


def _seeds(column: Column) -> str:
    seeds = span([len(scores) for scores in column.shared.values()], "seed")
    named = f"{column.label}: {seeds} per game"
    if column.aggregate is None or column.aggregate.intervals is None:
        return f"{named}, so no intervals: they need {MIN_SEEDS} of every game."
    return f"{named}, with 95 % intervals."
