"""The tables of a report as plain data: aggregates, and the score of each game."""

from collections.abc import Sequence
from dataclasses import dataclass

from envs.games import ATARI57, ATARI100K
from relic_rl.analysis.columns import Column
from relic_rl.analysis.notes import span
from relic_rl.analysis.scores import MIN_SEEDS, ROW_LABELS, human_normalized


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table, with a smaller line below it."""

    text: str
    small: str = ""
    best: bool = False
    key: float | None = None
    """What the page sorts by; None: the text, or below all numbers."""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; the first cell of a row names it."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sorts: bool = False
    """Whether a reader of the page may sort it."""


def aggregate_table(columns: Sequence[Column]) -> Table:
    """A row for each aggregate, with its interval where there are seeds enough.

    Args:
      columns: which share games.
    """
    rows = []
    aggregates = [column.aggregate for column in columns if column.aggregate]
    for name, label in ROW_LABELS.items():
        digits = 0 if name == "superhuman_games" else 2
        values = [one.rows()[name] for one in aggregates]
        best = min(values) if name == "optimality_gap" else max(values)
        cells = [Cell(label)]
        for one, value in zip(aggregates, values, strict=True):
            interval = (one.intervals or {}).get(name)
            small = f"{interval[0]:,.{digits}f} to {interval[1]:,.{digits}f}" if interval else ""
            is_best = value == best and len(values) > 1
            cells.append(Cell(f"{value:,.{digits}f}", small, best=is_best))
        rows.append(tuple(cells))
    games = f"the same {len(columns[0].shared)} of 57 games"
    if columns[0].shared.keys() == set(ATARI100K):
        games = "the 26 games of Atari 100k"
    seeds = " ".join(_seeds(column) for column in columns if column.is_own)
    caption = f"Percent of the human score, over {games}. {seeds}"
    return Table("Aggregates", caption, ("", *(column.label for column in columns)), tuple(rows))


def score_table(columns: Sequence[Column]) -> Table:
    """A row for each game: the score of every column that has it, of random play, of the human."""
    rows = []
    means_of = [column.means() for column in columns]
    for name, game in ATARI57.items():
        means = [of_column.get(name) for of_column in means_of]
        scores = [score for score in means if score is not None]
        if not scores:
            continue
        cells = [Cell(name)]
        for score in means:
            if score is None:
                cells.append(Cell("-"))
                continue
            normalized = human_normalized(name, score)
            best = score == max(scores) and len(scores) > 1
            percent = f"{100 * normalized:,.1f} %"
            cells.append(Cell(f"{score:,.1f}", percent, best=best, key=normalized))
        cells += [Cell(f"{score:,.1f}", key=score) for score in (game.random, game.human)]
        rows.append(tuple(cells))
    head = ("Game", *(column.label for column in columns), "Random", "Human")
    caption = "Mean over seeds, and below it the percent of human. The best of a row is bold."
    return Table("Scores", caption, head, tuple(rows), sorts=True)


def _seeds(column: Column) -> str:
    seeds = span([len(scores) for scores in column.shared.values()])
    named = f"{column.label}: {seeds} {'seed' if seeds == '1' else 'seeds'} per game"
    if column.aggregate is None or column.aggregate.intervals is None:
        return f"{named}, so no intervals: they need {MIN_SEEDS} of every game."
    return f"{named}, with 95 % intervals."
