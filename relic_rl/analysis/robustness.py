"""What a report says of robustness: from saved evaluations, and from probes, where there are any.

Of a run count the rows of the newest checkpoint that was judged; of each condition the row with the
most episodes. Arms are compared under what all of them were judged under, and a mean has its
interval where every game has seeds enough for one, as everywhere in a report.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from envs.corruptions import CORRUPTIONS
from envs.games import ATARI57
from relic_rl.analysis.notes import span
from relic_rl.analysis.runs import Run, common_frames
from relic_rl.analysis.scores import Estimate, mean_over_games, mean_over_seeds
from relic_rl.analysis.series import Series
from relic_rl.analysis.tables import Cell, Table
from relic_rl.errors import UserError
from relic_rl.records.probes import Probing, read_probings
from relic_rl.records.robustness import ROBUSTNESS_FILE, Judgement, read_judgements
from relic_rl.records.tables import csv_table

_Look = tuple[str, int]
"""A corruption and its severity."""
_Values = dict[str, list[float]]
"""Game → a number per seed."""

KEPT = (
    "Kept: (score - random) / (clean score - random), of the same checkpoint, episodes and seed."
    " Corruptions and levels are ImageNet-C's (Hendrycks & Dietterich, 2019), where they are not"
    " named as ours in envs/corruptions.py."
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A run, and what was saved of its newest checkpoint that was judged."""

    label: str
    """Of its series."""
    run: Run
    judgements: tuple[Judgement, ...]
    """One of each condition."""
    probings: tuple[Probing, ...]
    """Of each moment that was probed, by frames."""

    @property
    def probing(self) -> Probing | None:
        """Of the newest checkpoint that was probed."""
        return self.probings[-1] if self.probings else None

    def corrupted(self) -> dict[_Look, Judgement]:
        """In the default mode."""
        return {
            (one.corruption, one.severity): one
            for one in self.judgements
            if one.default_mode and not one.is_clean
        }

    def kept(self) -> dict[_Look, float]:
        """Share of the score that is kept, where a clean score is better than random play."""
        looks = self.corrupted().items()
        return {look: one.kept for look, one in looks if one.kept is not None}

    def clean_score(self) -> float:
        """In the default mode, uncorrupted."""
        return next(one.mean_score for one in self.judgements if one.default_mode and one.is_clean)

    def default_modes(self) -> set[tuple[int, int]]:
        """The mode and difficulty that it was trained in."""
        return {(one.mode, one.difficulty) for one in self.judgements if one.default_mode}

    def modes(self) -> dict[tuple[int, int], float]:
        """Mean score of each mode and difficulty, if any but the default was played."""
        clean = [one for one in self.judgements if one.is_clean]
        if all(one.default_mode for one in clean):
            return {}
        return {(one.mode, one.difficulty): one.mean_score for one in clean}


@dataclass(frozen=True, slots=True)
class Robustness:
    """All that was saved of the runs of a report."""

    judged: tuple[Judged, ...]
    """Runs of which something was saved, in the order of their series and games."""
    failures: tuple[str, ...]
    """Run and reason of each file that cannot be read."""

    def heat(self) -> "Heat | None":
        """The shares that are kept, for a picture; None without any."""
        found: dict[tuple[str, str, str], list[float]] = {}
        for one in self.judged:
            for (corruption, _), share in one.kept().items():
                found.setdefault((one.run.game, one.label, corruption), []).append(share)
        if not found:
            return None
        games = _ordered((game for game, _, _ in found), ATARI57)
        labels = _labels([one for one in self.judged if one.kept()])
        corruptions = _ordered((name for _, _, name in found), CORRUPTIONS)
        rows = [
            (game, label)
            for game in games
            for label in labels
            if any((game, label, name) in found for name in corruptions)
        ]
        shares = [
            [fmean(found[*row, name]) if (*row, name) in found else None for name in corruptions]
            for row in rows
        ]
        return Heat(rows, corruptions, shares)

    def probe_curves(self) -> "list[ProbeCurve]":
        """What probes found over training, for a picture: of runs that were probed more than once.

        Of what was learned a curve for each series; of a control one for all, as it has no arm.
        """
        probed = [one for one in self.judged if len(one.probings) > 1]
        found = []
        for game, by_label in _by_game(probed).items():
            everyone = [one for runs in by_label.values() for one in runs]
            for quantity in QUANTITIES:
                for name in PROBED:
                    groups = {"": everyone} if name in CONTROLS else by_label
                    curves = [
                        _probe_curve(game, quantity, name, label, runs)
                        for label, runs in groups.items()
                    ]
                    found += [curve for curve in curves if curve is not None]
        return found

    def tables(self) -> list[Table]:
        """Those that have something to show."""
        tables = (_corrupted_table(self), _modes_table(self), _probes_table(self))
        return [table for table in tables if table is not None]

    def csv(self) -> str:
        """A line for each evaluation that counts; empty without any."""
        return csv_table(
            [
                {"series": one.label, "game": one.run.game, "run_seed": one.run.seed, **asdict(row)}
                for one in self.judged
                for row in one.judgements
            ]
        )


@dataclass(frozen=True, slots=True)
class Heat:
    """Shares of a score that are kept: a row for each game and series, a column a corruption."""

    rows: list[tuple[str, str]]
    """Game and label."""
    corruptions: list[str]
    shares: list[list[float | None]]
    """Means over severities and seeds; None where nothing was played."""


@dataclass(frozen=True, slots=True)
class ProbeCurve:
    """One quantity of one representation over training."""

    game: str
    quantity: str
    """One of `QUANTITIES`."""
    representation: str
    """One of `PROBED`."""
    label: str
    """Of the series; empty of a control."""
    frames: NDArray[np.float64]
    """float64[N], as far as all of the runs were probed."""
    mean: Estimate
    """Over runs, float64[N]."""


def read_robustness(series: Sequence[Series]) -> Robustness:
    """Reads what was saved of the runs that count."""
    judged, failures = [], []
    for one in series:
        for run in one.runs:
            try:
                judgements = _newest(read_judgements(run.folder))
                probings = read_probings(run.folder)
            except UserError as error:
                failures.append(f"{run.name}: {error}")
                continue
            if judgements and not any(one.default_mode and one.is_clean for one in judgements):
                failures.append(f"{run.name}: {ROBUSTNESS_FILE} has no row without a corruption")
                continue
            if judgements or probings:
                judged.append(Judged(one.label, run, judgements, tuple(probings)))
    return Robustness(tuple(judged), tuple(failures))


def _newest(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """One row for each condition of the newest checkpoint."""
    newest = max((one.env_frames for one in judgements), default=0)
    found: dict[tuple[object, ...], Judgement] = {}
    for one in sorted(judgements, key=lambda one: (one.episodes, -one.seed)):
        if one.env_frames == newest:
            condition = (one.mode, one.difficulty, one.corruption, one.severity)
            found[condition] = one
    return tuple(one for one in judgements if one in found.values())


@dataclass(frozen=True, slots=True)
class _Row:
    """A quantity of one game, or a mean over games, for every series."""

    name: str
    what: str
    values: dict[str, _Values]
    """Label → game → a number per run; without what was not measured."""
    write: Callable[[float], str]
    runs: dict[str, int] | None = None
    """Label → runs, where some may have no number."""


def _corrupted_table(robustness: Robustness) -> Table | None:
    """Of each game what is kept, and the scores that this comes from; then the means over games."""
    judged = [one for one in robustness.judged if one.corrupted()]
    common = set.intersection(*(set(one.corrupted()) for one in judged)) if judged else set()
    if not common:
        return None
    kept: dict[str, _Values] = {label: {} for label in _labels(judged)}
    rows = []
    for game, by_label in _by_game(judged).items():
        clean: dict[str, _Values] = {}
        corrupted: dict[str, _Values] = {}
        for label, runs in by_label.items():
            shares_of = [one.kept() for one in runs]
            # A run whose clean score was no better than random play has none, or not of all.
            shares = [
                fmean(of_run[look] for look in common)
                for of_run in shares_of
                if common <= of_run.keys()
            ]
            kept[label] |= {game: shares} if shares else {}
            clean[label] = {game: [one.clean_score() for one in runs]}
            corrupted[label] = {
                game: [fmean(one.corrupted()[look].mean_score for look in common) for one in runs]
            }
        of_game = {label: {game: kept[label][game]} for label in by_label if game in kept[label]}
        counts = {label: len(runs) for label, runs in by_label.items()}
        rows += [
            _Row(game, "score kept", of_game, _percent, counts),
            _Row(game, "clean score", clean, _points),
            _Row(game, "corrupted score", corrupted, _points),
        ]
    shared = [game for game in ATARI57 if all(game in of_games for of_games in kept.values())]
    if len(shared) > 1:
        means = {label: {game: kept[label][game] for game in shared} for label in kept}
        rows.append(_Row(f"Mean of {len(shared)} games", "score kept", means, _percent))
    names = _ordered((name for name, _ in common), CORRUPTIONS)
    severities = sorted({severity for _, severity in common})
    caption = (
        f"Mean over {', '.join(names)}, severity {', '.join(map(str, severities))}: what all runs"
        f" here were judged under. The best of a row is bold. {_checkpoints(judged)}"
    )
    return _table("Robustness: clean and corrupted", caption, judged, rows)


def _modes_table(robustness: Robustness) -> Table | None:
    """A row for each mode and difficulty of each game, the default first."""
    judged = [one for one in robustness.judged if one.modes()]
    if not judged:
        return None
    rows = []
    for game, by_label in _by_game(judged).items():
        runs = [one for of_label in by_label.values() for one in of_label]
        default = {flavour for one in runs for flavour in one.default_modes()}
        flavours = {flavour for one in runs for flavour in one.modes()}
        for flavour in sorted(flavours, key=lambda one: (one not in default, one)):
            found = {
                label: [one.modes()[flavour] for one in of_label if flavour in one.modes()]
                for label, of_label in by_label.items()
            }
            values = {label: {game: scores} for label, scores in found.items() if scores}
            what = f"mode {flavour[0]}, difficulty {flavour[1]}"
            rows.append(_Row(game, what + ", default" * (flavour in default), values, _points))
    caption = (
        "Mean score in the mode and difficulty that an agent was trained in, the default, and in"
        " those that it never saw (Farebrother et al., 2018). Scores of two modes are points of two"
        f" games. The best of a row is bold. {_checkpoints(judged)}"
    )
    return _table("Robustness: other modes", caption, judged, rows)


PROBED: dict[str, str] = {
    "encoder": "encoder",
    "lstm": "LSTM",
    "random_encoder": "control: untrained encoder",
    "pixels": "control: pixels",
}
"""What was probed, in words."""
CONTROLS = ("random_encoder", "pixels")
QUANTITIES: dict[str, str] = {
    "f1": "F1",
    "r2": "R²",
    "effective_rank": "effective rank",
    "mean_share": "mean share",
    "invariance": "invariance",
    "contrastive_accuracy": "contrastive accuracy",
}
"""What is known of each, fields of `records.probes.Representation`, in words."""


def _probe_curve(
    game: str, quantity: str, name: str, label: str, runs: Sequence[Judged]
) -> ProbeCurve | None:
    """None if no run has two points of it, or no frame was passed by all."""
    curves = []
    for one in runs:
        found = [
            (probing.env_frames, getattr(probing.representations[name], quantity))
            for probing in one.probings
            if name in probing.representations
        ]
        known = [(frames, value) for frames, value in found if value is not None]
        if len(known) > 1:
            curves.append(np.array(known, np.float64).T)
    frames = common_frames([curve[0] for curve in curves]) if curves else np.array([])
    if not len(frames):
        return None
    values = np.array([np.interp(frames, *curve) for curve in curves])
    return ProbeCurve(game, quantity, name, label, frames, mean_over_seeds(values))


def _probes_table(robustness: Robustness) -> Table | None:
    """Of each game F1 of what was learned and of the controls, and the encoder's rank."""
    judged = [one for one in robustness.judged if one.probing is not None]
    if not judged:
        return None
    rows = []
    for game, by_label in _by_game(judged).items():
        for name, words in PROBED.items():
            for quantity in ("f1", "r2"):
                values = _probed(game, by_label, name, quantity)
                rows.append(_Row(game, f"{words}, {quantity.upper()}", values, _two))
        ranks = _probed(game, by_label, "encoder", "effective_rank")
        rows.append(_Row(game, "encoder, effective rank", ranks, _points))
    caption = (
        "Linear probes for the variables of the game's memory, mean over their categories (Anand et"
        " al., 2019): of what was learned, and of two controls. The best of a row is bold."
    )
    shown = [row for row in rows if row.values]
    return _table("Robustness: probes and controls", caption, judged, shown)


def _probed(
    game: str, by_label: dict[str, list[Judged]], name: str, quantity: str
) -> dict[str, _Values]:
    found: dict[str, _Values] = {}
    for label, runs in by_label.items():
        representations = [one.probing.representations.get(name) for one in runs if one.probing]
        values = [getattr(one, quantity) for one in representations if one is not None]
        if known := [value for value in values if value is not None]:
            found[label] = {game: known}
    return found


def _table(title: str, caption: str, judged: Sequence[Judged], rows: Sequence[_Row]) -> Table:
    """A column for each series of the runs that were judged."""
    labels = _labels(judged)
    lines = [(Cell(row.name, row.what), *_cells(row, labels)) for row in rows]
    return Table(title, caption, ("Game", *labels), tuple(lines))


def _cells(row: _Row, labels: Sequence[str]) -> list[Cell]:
    """A mean with its interval, or how many runs have a number where not all have one."""
    means = {label: mean_over_games(of_games) for label, of_games in row.values.items()}
    best = max((float(mean.value) for mean in means.values()), default=0.0)
    cells = []
    for label in labels:
        runs = (row.runs or {}).get(label, 0)
        counted = sum(map(len, row.values.get(label, {}).values()))
        small = [f"{counted} of {runs} runs"] * (counted < runs)
        if label not in means:
            cells.append(Cell("-" if runs else "", "".join(small)))
            continue
        value, low, high = means[label].value, means[label].low, means[label].high
        if low is not None and high is not None:
            small.insert(0, f"{row.write(float(low))} to {row.write(float(high))}")
        is_best = float(value) == best and len(labels) > 1
        text = row.write(float(value))
        cells.append(Cell(text, ", ".join(small), best=is_best, key=float(value)))
    return cells


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _points(score: float) -> str:
    return f"{score:,.1f}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def _labels(judged: Sequence[Judged]) -> list[str]:
    return list(dict.fromkeys(one.label for one in judged))


def _by_game(judged: Sequence[Judged]) -> dict[str, dict[str, list[Judged]]]:
    """Game → label → runs, in the order of the games and of the series."""
    found: dict[str, dict[str, list[Judged]]] = {}
    for game in _ordered((one.run.game for one in judged), ATARI57):
        for one in judged:
            if one.run.game == game:
                found.setdefault(game, {}).setdefault(one.label, []).append(one)
    return found


def _checkpoints(judged: Sequence[Judged]) -> str:
    rows = [one.judgements[0] for one in judged]
    return (
        f"{span([row.episodes for row in rows])} episodes of checkpoints of"
        f" {span([row.env_frames for row in rows])} frames."
    )


def _ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Each name once, in the order of those that are known; others come last."""
    order = list(known)
    return sorted(
        dict.fromkeys(names), key=lambda name: order.index(name) if name in order else len(order)
    )
