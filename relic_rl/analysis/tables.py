"""The tables of a report as plain data: aggregates, and the score of each game."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    """What the page sorts by; None: the text."""


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
    """A row for each aggregate, with its interval where there are seeds enough."""
    rows = []
    for name, label in ROW_LABELS.items():
        digits = 0 if name == "superhuman_games" else 2
        values = [column.aggregate.rows()[name] for column in columns]
        best = min(values) if name == "optimality_gap" else max(values)
        cells = [Cell(label)]
        for column, value in zip(columns, values, strict=True):
            interval = (column.aggregate.intervals or {}).get(name)
            small = f"{interval[0]:,.{digits}f} to {interval[1]:,.{digits}f}" if interval else ""
            cells.append(Cell(f"{value:,.{digits}f}", small, best=value == best))
        rows.append(tuple(cells))
    games = f"the same {len(columns[0].scores)} of 57 games"
    if columns[0].scores.keys() == set(ATARI100K):
        games = "the 26 games of Atari 100k"
    seeds = " ".join(_seeds(column) for column in columns if column.is_own)
    caption = f"Percent of the human score, over {games}. {seeds}"
    return Table("Aggregates", caption, ("", *(column.label for column in columns)), tuple(rows))


def score_table(columns: Sequence[Column]) -> Table:
    """A row for each game: every column's score, then those of random play and of the human."""
    rows = []
    for name in columns[0].scores:
        game = ATARI57[name]
        scores = [float(np.mean(column.scores[name])) for column in columns]
        cells = [Cell(name)]
        for score in scores:
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
    seeds = span([len(scores) for scores in column.scores.values()])
    named = f"{column.label}: {seeds} {'seed' if seeds == '1' else 'seeds'} per game"
    if column.aggregate.intervals is None:
        return f"{named}, so no intervals: they need {MIN_SEEDS} of every game."
    return f"{named}, with 95 % intervals."
