"""What stands side by side in a report: series of runs and references, over equal games."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.games import ATARI57
from relic_rl.analysis.references import Reference, read_references
from relic_rl.analysis.scores import Aggregate, aggregate
from relic_rl.analysis.series import Series


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the tables: a series of runs, or a reference to compare them with."""

    label: str
    scores: dict[str, list[float]]
    """Game → a score per seed, over the games that all columns have."""
    aggregate: Aggregate
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
      ValueError: if they share no game, two have one label, or a reference cannot be read.
    """
    found: list[tuple[str, dict[str, list[float]], Reference | None]] = [
        (one.label, one.scores(), None) for one in series
    ]
    found += [(one.label, one.scores, one) for one in read_references(against)]
    labels = [label for label, _, _ in found]
    if repeated := [label for label in labels if labels.count(label) > 1]:
        raise ValueError(f"two columns are named {repeated[0]}: give other names by --label")
    games = [game for game in ATARI57 if all(game in scores for _, scores, _ in found)]
    if not games:
        listed = "; ".join(f"{label} has {_named(list(scores))}" for label, scores, _ in found)
        first = shlex.join(str(run.folder) for run in series[0].runs[:3])
        raise ValueError(
            f"no game is in all columns: {listed}; report each alone, such as `relic-rl report"
            f" {first}`"
        )
    columns = []
    for label, scores, reference in found:
        shared = {game: scores[game] for game in games}
        columns.append(Column(label, shared, aggregate(shared), reference))
    return columns


def _named(games: Sequence[str]) -> str:
    first = ", ".join(games[:3])
    return f"{first} and {len(games) - 3} more" if len(games) > 3 else first
