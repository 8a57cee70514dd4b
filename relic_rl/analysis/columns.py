"""What stands side by side in a report: series of runs and published methods, over equal games."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.games import ATARI57
from relic_rl.analysis.published import METHODS, published_scores
from relic_rl.analysis.runs import Series
from relic_rl.analysis.scores import Aggregate, aggregate


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the tables: a series of runs, or a published method."""

    label: str
    scores: dict[str, list[float]]
    """Game → a score per seed, over the games that all columns have."""
    aggregate: Aggregate
    is_published: bool

    def means(self) -> dict[str, float]:
        """Returns game → mean score over its seeds."""
        return {game: float(np.mean(scores)) for game, scores in self.scores.items()}


def make_columns(series: Sequence[Series], against: Sequence[str]) -> list[Column]:
    """Returns a column for each series and then for each published method.

    Raises:
      ValueError: if the series share no game, or a method is unknown.
    """
    all_scores = [one.scores() for one in series]
    common = [game for game in ATARI57 if all(game in scores for scores in all_scores)]
    if not common:
        raise ValueError(
            f"{', '.join(one.label for one in series)} share no game: report each alone"
        )
    named = [(one.label, scores, False) for one, scores in zip(series, all_scores, strict=True)]
    for method in dict.fromkeys(against):
        scores = {game: [score] for game, score in published_scores(method).items()}
        named.append((f"{METHODS[method].name} (published)", scores, True))
    columns = []
    for label, scores, is_published in named:
        shared = {game: scores[game] for game in common}
        columns.append(Column(label, shared, aggregate(shared), is_published))
    return columns
