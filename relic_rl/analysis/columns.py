"""What stands side by side in a report: series of runs and references.

The reader's games are those of their runs. A column has a score of each that it was played on;
aggregates are over the games that all columns have, for others would compare games.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.games import ATARI57
from relic_rl.analysis.references import Reference, read_references
from relic_rl.analysis.scores import Aggregate, aggregate
from relic_rl.analysis.series import Series, expect_distinct, first_few


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the tables: a series of runs, or a reference to compare them with."""

    label: str
    scores: dict[str, list[float]]
    """Game → a score per seed, over those of the reader's games that it has."""
    shared: dict[str, list[float]]
    """The same over the games that all columns have: perhaps none."""
    aggregate: Aggregate | None
    """Over the shared games; None without any."""
    reference: Reference | None
    """None: the reader's own runs."""

    @property
    def is_own(self) -> bool:
        """Whether it is of the reader's own runs."""
        return self.reference is None

    def means(self) -> dict[str, float]:
        """Returns game → mean score over its seeds."""
        return {game: float(np.mean(scores)) for game, scores in self.scores.items()}


def make_columns(series: Sequence[Series], against: Sequence[str]) -> list[Column]:
    """Returns a column for each series and then for each reference.

    Args:
      series: with runs that count.
      against: published methods and files, as in `references.read_references`.

    Raises:
      ValueError: if a reference has none of the runs' games, two columns have one label, or a
        reference cannot be read.
    """
    found: list[tuple[str, dict[str, list[float]], Reference | None]] = [
        (one.label, one.scores(), None) for one in series
    ]
    played = {game for _, scores, _ in found for game in scores}
    found += [(one.label, one.scores, one) for one in read_references(against)]
    expect_distinct([label for label, _, _ in found])
    shared_games = [game for game in ATARI57 if all(game in scores for _, scores, _ in found)]
    columns = []
    for label, all_scores, reference in found:
        known = played & all_scores.keys()
        scores = {game: all_scores[game] for game in ATARI57 if game in known}
        if not scores:
            theirs, ours = first_few(sorted(all_scores)), first_few(sorted(played))
            raise ValueError(
                f"{label} has {theirs}, the runs have {ours}: there is no game to compare"
            )
        shared = {game: scores[game] for game in shared_games}
        columns.append(
            Column(label, scores, shared, aggregate(shared) if shared else None, reference)
        )
    return columns
