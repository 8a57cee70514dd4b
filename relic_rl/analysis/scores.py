"""From raw scores to human-normalized ones, and from 57 games to a few numbers.

A human-normalized score (HNS) is (score - random) / (human - random): 0 is random play, 1 the
human of `envs.games.ATARI57`. It is a fraction in every function here; only `Aggregate`, which
mirrors published tables, is in percent.

Many seeds: the paper's rows take each game's mean over its seeds first; IQM, optimality gap and
profile look at single runs, as their authors do. Every game weighs the same, however many seeds it
has. Intervals are 95 % percentile intervals of a bootstrap stratified by game: each game's seeds
are resampled from its own, games stay. The draws have a seed of their own, so the same scores give
the same interval. Where a game has fewer than `MIN_SEEDS` seeds there is no interval.

Sources: Mitrovic et al., ICLR 2021, Table 4 (capped mean ... percentiles). Agarwal et al.,
"Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021 (the rest).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.games import ATARI57, find_game

Scores = Mapping[str, float | Sequence[float]]
"""Game, in any spelling → raw score, or one raw score per seed."""

_FloatArray = NDArray[np.float64]
_Games = Sequence[_FloatArray]
"""Of each game the HNS of its seeds: float64[..., seeds]; not every game has as many."""

REPETITIONS = 2000
MIN_SEEDS = 3
"""Of every game, for an interval: drawn from two, a mean spreads 0.71 times as far as it should."""
_BOOTSTRAP_SEED = 0
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The rows of the paper's Table 4 and of rliable; percent of the human score."""

    capped_mean: float
    """Mean over games of the HNS clipped to [0, 100]."""
    superhuman_games: int
    """Games with an HNS of 100 or more."""
    mean: float
    median: float
    percentile_40: float
    percentile_30: float
    percentile_20: float
    percentile_10: float
    percentile_5: float
    iqm: float
    """Mean of the middle half of all runs."""
    optimality_gap: float
    """How far runs stay below 100 on average; what is above counts as 100."""

    games: tuple[str, ...]
    """The games that count here."""
    missing: tuple[str, ...]
    """Those of the 57 without a score: the numbers above say nothing about them."""
    seeds: int
    """Of the game with fewest."""
    intervals: dict[str, tuple[float, float]] | None
    """Row → 95 % interval; None where a game has fewer than `MIN_SEEDS`."""

    def rows(self) -> dict[str, float]:
        """Returns row name → value, in the order of the tables."""
        return {name: getattr(self, name) for name in ROW_LABELS}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number or a curve, with its 95 % interval; None where a game has too few seeds."""

    value: _FloatArray
    low: _FloatArray | None
    high: _FloatArray | None


def human_normalized(game: str, score: float) -> float:
    """Returns (score - random) / (human - random): a fraction, 1 = human.

    Args:
      game: in any spelling `envs.games.find_game` knows.
      score: undiscounted raw return.

    Raises:
      ValueError: if the game is none of the 57.
    """
    return float(find_game(game).human_normalized(score))


def aggregate(scores_by_game: Scores, *, repetitions: int = REPETITIONS) -> Aggregate:
    """Returns the rows of the paper's Table 4 over the games given, in percent.

    Games that are missing are named and never averaged away: read `missing` before any number.

    Args:
      scores_by_game: raw scores; an empty sequence of seeds counts as missing.
      repetitions: bootstrap samples behind the intervals.

    Raises:
      ValueError: if a game is unknown or given twice, a score is not finite, or none is given.
    """
    normalized = _normalize(scores_by_game)
    games = list(normalized.values())
    rows = _estimate(
        lambda found: np.stack([row(found) for _, row in _ROWS.values()], axis=-1),
        [games],
        repetitions,
    )
    intervals = None
    if rows.low is not None and rows.high is not None:
        pairs = zip(map(float, rows.low), map(float, rows.high), strict=True)
        intervals = dict(zip(_ROWS, pairs, strict=True))
    values = dict(zip(_ROWS, map(float, rows.value), strict=True))
    superhuman_games = int(values.pop("superhuman_games"))
    return Aggregate(
        **values,
        superhuman_games=superhuman_games,
        games=tuple(normalized),
        missing=tuple(game for game in ATARI57 if game not in normalized),
        seeds=_fewest_seeds(games),
        intervals=intervals,
    )


def performance_profile(scores_by_game: Scores, thresholds: ArrayLike) -> Estimate:
    """Returns the fraction of runs whose HNS is above each threshold (a fraction, 1 = human).

    The mean over games of the fraction of a game's seeds.
    """
    limits = np.asarray(thresholds, np.float64)

    def profile(games: _Games) -> _FloatArray:
        above = [_means([seeds > limit for seeds in games]).mean(axis=-1) for limit in limits]
        return np.stack(above, axis=-1)

    return _estimate(profile, [list(_normalize(scores_by_game).values())])


def probability_of_improvement(scores_by_game: Scores, baseline_by_game: Scores) -> Estimate:
    """Returns how probably a run beats a run of the baseline on a game drawn at random.

    P(X > Y) + P(X = Y) / 2, averaged over the games that both have; a number, not a curve. Its
    interval needs `MIN_SEEDS` of every game on either side.

    Raises:
      ValueError: if no game is in both.
    """
    ours, theirs = _normalize(scores_by_game), _normalize(baseline_by_game)
    common = [game for game in ours if game in theirs]
    if not common:
        raise ValueError("no game has a score from both: nothing to compare")

    def probability(xs: _Games, ys: _Games) -> _FloatArray:
        pairs = [
            np.sign(x[..., :, None] - y[..., None, :]).mean(axis=(-2, -1))
            for x, y in zip(xs, ys, strict=True)
        ]
        return np.asarray(0.5 + 0.5 * np.mean(pairs, axis=0))

    sides = [[scores[game] for game in common] for scores in (ours, theirs)]
    return _estimate(probability, sides)


def mean_over_games(values_by_game: Mapping[str, Sequence[float]]) -> Estimate:
    """Returns the mean over games of the mean over a game's seeds, of any quantity."""
    games = [np.asarray(values, np.float64) for values in values_by_game.values()]
    return _estimate(lambda found: _means(found).mean(axis=-1), [games])


def mean_share_over_games(pairs_by_game: Mapping[str, Sequence[tuple[float, float]]]) -> Estimate:
    """Returns the mean over games of a share: the mean over seeds of a part, by that of a whole.

    A seed's part and whole are drawn together. There is no interval where a draw has no whole.

    Args:
      pairs_by_game: part and whole of each seed; a game's wholes have a mean above 0.
    """
    games = [np.asarray(pairs, np.float64) for pairs in pairs_by_game.values()]  # [seeds, 2]

    def shares(found: _Games) -> _FloatArray:
        parts, wholes = (_means([pairs[..., side] for pairs in found]) for side in (0, 1))
        wholes = np.where(wholes > 0, wholes, np.nan)
        return np.asarray((parts / wholes).mean(axis=-1))

    found = _estimate(shares, [games])
    has_interval = found.low is not None and np.isfinite(found.low)
    return found if has_interval else Estimate(found.value, None, None)


def mean_over_seeds(curves: _FloatArray) -> Estimate:
    """Returns the mean curve of one game's seeds, float64[N], of float64[seeds, N]."""
    return _estimate(_means, [list(curves.T)])


def _normalize(scores_by_game: Scores) -> dict[str, _FloatArray]:
    """Returns game → float64[seeds], in the order of the 57."""
    normalized: dict[str, _FloatArray] = {}
    for text, scores in scores_by_game.items():
        game = find_game(text)
        if game.name in normalized:
            raise ValueError(f"scores_by_game has {game.name} twice; one entry may hold all seeds")
        values = np.atleast_1d(np.asarray(scores, np.float64))
        if not np.isfinite(values).all():
            raise ValueError(f"the scores of {game.name} are {values}: they must be finite")
        if len(values):
            normalized[game.name] = (values - game.random) / (game.human - game.random)
    if not normalized:
        raise ValueError("scores_by_game has no scores: give at least one game")
    return {game: normalized[game] for game in ATARI57 if game in normalized}


def _fewest_seeds(games: _Games) -> int:
    return min(len(seeds) for seeds in games)


def _bootstrap(games: _Games, repetitions: int, stream: int) -> list[_FloatArray]:
    """Returns of each game float64[repetitions, seeds]: its seeds drawn with replacement.

    The generator is our own and seeded: rliable's takes a `random_state` and then draws from
    NumPy's global one.
    """
    generator = np.random.default_rng((_BOOTSTRAP_SEED, stream))
    return [
        seeds[generator.integers(len(seeds), size=(repetitions, len(seeds)))] for seeds in games
    ]


def _estimate(
    statistic: Callable[..., _FloatArray],
    sides: Sequence[_Games],
    repetitions: int = REPETITIONS,
) -> Estimate:
    value = statistic(*sides)
    if min(map(_fewest_seeds, sides)) < MIN_SEEDS:
        return Estimate(value, None, None)
    samples = [_bootstrap(games, repetitions, stream) for stream, games in enumerate(sides)]
    low, high = np.percentile(statistic(*samples), _INTERVAL, axis=0)
    return Estimate(value, low, high)


def _means(games: Sequence[NDArray[Any]]) -> _FloatArray:
    """Returns float64[..., games]: each game's mean over its seeds."""
    return np.stack([seeds.mean(axis=-1) for seeds in games], axis=-1)


def _interquartile_mean(games: _Games) -> _FloatArray:
    """Cuts floor(n / 4) of the n runs off either end, as scipy's trim_mean does in rliable.

    Every game weighs the same, so a run weighs 1 / seeds of its game. With as many seeds of every
    game that is 1 / n, and what is cut are whole runs.
    """
    pooled = np.concatenate(games, axis=-1)
    counts = [seeds.shape[-1] for seeds in games]
    weights = np.repeat([1 / (len(games) * count) for count in counts], counts)
    order = np.argsort(pooled, axis=-1)
    cut = len(weights) // 4 / len(weights)
    kept = np.clip(np.cumsum(weights[order], axis=-1), cut, 1 - cut)
    kept = np.diff(kept, axis=-1, prepend=cut)
    total = (kept * np.take_along_axis(pooled, order, axis=-1)).sum(axis=-1)
    return np.asarray(100 * total / (1 - 2 * cut))


def _percentile(percent: int) -> Callable[[_Games], _FloatArray]:
    return lambda games: np.asarray(100 * np.percentile(_means(games), percent, axis=-1))


def _optimality_gap(games: _Games) -> _FloatArray:
    return np.asarray(100 * (1 - _means([np.minimum(seeds, 1) for seeds in games]).mean(axis=-1)))


# Label, and what returns float64[...]; in the order of the tables.
_ROWS: dict[str, tuple[str, Callable[[_Games], _FloatArray]]] = {
    "capped_mean": ("Capped mean", lambda games: 100 * np.clip(_means(games), 0, 1).mean(axis=-1)),
    "superhuman_games": ("Superhuman games", lambda games: (_means(games) >= 1).sum(axis=-1)),
    "mean": ("Mean", lambda games: 100 * _means(games).mean(axis=-1)),
    "median": ("Median", _percentile(50)),
    **{f"percentile_{n}": (f"{n} % percentile", _percentile(n)) for n in (40, 30, 20, 10, 5)},
    "iqm": ("IQM", _interquartile_mean),
    "optimality_gap": ("Optimality gap", _optimality_gap),
}
ROW_LABELS: dict[str, str] = {name: label for name, (label, _) in _ROWS.items()}
