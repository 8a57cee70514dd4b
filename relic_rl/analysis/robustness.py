"""What a report says of robustness: from saved evaluations, and from probes, where there are any.

Of a run count the rows of the newest checkpoint that was judged; of each condition the row with the
most episodes. Arms are compared under what all of them were judged under, and a mean has its
interval where every game has seeds enough for one, as everywhere in a report.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from envs.corruptions import CORRUPTIONS
from envs.games import ATARI57
from relic_rl.analysis.notes import span
from relic_rl.analysis.runs import Run, common_frames
from relic_rl.analysis.scores import Estimate, mean_over_games, mean_over_seeds
from relic_rl.analysis.series import Series
from relic_rl.analysis.tables import Cell, Table, with_best
from relic_rl.errors import UserError
from relic_rl.records.probes import Probing, read_probings
from relic_rl.records.robustness import ROBUSTNESS_FILE, Judgement, read_judgements
from relic_rl.records.tables import csv_table

_Look = tuple[str, int]
"""A corruption and its severity."""
_Flavour = tuple[int, int]
"""A mode and its difficulty."""
_Game = tuple[str, dict[str, list["Judged"]]]
"""With the runs of each series, by its label."""

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

    def flavours(self) -> dict[_Flavour, Judgement]:
        """Uncorrupted, the default and others."""
        return {(one.mode, one.difficulty): one for one in self.judgements if one.is_clean}


@dataclass(frozen=True, slots=True)
class Robustness:
    """All that was saved of the runs of a report."""

    judged: tuple[Judged, ...]
    """Runs of which something was saved, in the order of their series and games."""
    failures: tuple[str, ...]
    """Run and reason of each file that cannot be read."""

    def heat(self) -> "Heat | None":
        """The shares that are kept, for a picture; None without any."""
        kept = [one for one in self.judged if one.kept()]
        if not kept:
            return None
        corruptions = _ordered((name for one in kept for name, _ in one.kept()), CORRUPTIONS)
        rows, shares = [], []
        for game, by_label in _by_game(kept).items():
            for label, runs in by_label.items():
                rows.append((game, label))
                looks = [look for one in runs for look in one.kept().items()]
                found = [[share for (of, _), share in looks if of == name] for name in corruptions]
                shares.append([fmean(each) if each else None for each in found])
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


def _corrupted_table(robustness: Robustness) -> Table | None:
    """Of each game what is kept, and the scores that this comes from; then the means over games."""
    judged = [one for one in robustness.judged if one.corrupted()]
    common = set.intersection(*(set(one.corrupted()) for one in judged)) if judged else set()
    if not common:
        return None

    def kept(one: Judged) -> float | None:
        # A run whose clean score was no better than random play has none, or not of all.
        shares = one.kept()
        return fmean(shares[look] for look in common) if common <= shares.keys() else None

    def corrupted(one: Judged) -> float:
        return fmean(one.corrupted()[look].mean_score for look in common)

    games, labels = _by_game(judged), _labels(judged)
    lines = []
    for game in games.items():
        lines += [
            _line("score kept", [game], labels, kept, _percent),
            _line("clean score", [game], labels, Judged.clean_score, _points),
            _line("corrupted score", [game], labels, corrupted, _points),
        ]
    shared = [
        (game, by_label)
        for game, by_label in games.items()
        if all(any(kept(one) is not None for one in by_label.get(label, ())) for label in labels)
    ]
    if len(shared) > 1:
        lines.append(_line("score kept", shared, labels, kept, _percent))
    names = _ordered((name for name, _ in common), CORRUPTIONS)
    severities = sorted({severity for _, severity in common})
    caption = (
        f"Mean over {', '.join(names)}, severity {', '.join(map(str, severities))}: what all runs"
        f" here were judged under. The best of a row is bold. {_checkpoints(judged)}"
    )
    return Table("Robustness: clean and corrupted", caption, ("Game", *labels), tuple(lines))


def _modes_table(robustness: Robustness) -> Table | None:
    """A row for each mode and difficulty of each game, the default first."""
    judged = [one for one in robustness.judged if not all(j.default_mode for j in one.judgements)]
    if not judged:
        return None
    labels, lines = _labels(judged), []
    for game, by_label in _by_game(judged).items():
        flavours = {
            flavour: look.default_mode
            for runs in by_label.values()
            for one in runs
            for flavour, look in one.flavours().items()
        }
        for flavour, is_default in sorted(flavours.items(), key=lambda one: (not one[1], one[0])):
            what = f"mode {flavour[0]}, difficulty {flavour[1]}" + ", default" * is_default
            measure = partial(_score_in, flavour=flavour)
            lines.append(_line(what, [(game, by_label)], labels, measure, _points))
    caption = (
        "Mean score in the mode and difficulty that an agent was trained in, the default, and in"
        " those that it never saw (Farebrother et al., 2018). Scores of two modes are points of two"
        f" games. The best of a row is bold. {_checkpoints(judged)}"
    )
    return Table("Robustness: other modes", caption, ("Game", *labels), tuple(lines))


def _score_in(one: Judged, flavour: _Flavour) -> float | None:
    found = one.flavours().get(flavour)
    return None if found is None else found.mean_score


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
    """Of each game F1 and R² of what was learned and of the controls, and the encoder's rank."""
    judged = [one for one in robustness.judged if one.probings]
    if not judged:
        return None
    shown = [
        (name, quantity, f"{words}, {quantity.upper()}", _two)
        for name, words in PROBED.items()
        for quantity in ("f1", "r2")
    ]
    shown.append(("encoder", "effective_rank", "encoder, effective rank", _points))
    labels, lines = _labels(judged), []
    for game in _by_game(judged).items():
        for name, quantity, what, write in shown:
            measure = partial(_probed, name=name, quantity=quantity)
            lines.append(_line(what, [game], labels, measure, write))
    caption = (
        "Linear probes for the variables of the game's memory, mean over their categories (Anand et"
        " al., 2019): of what was learned, and of two controls. The best of a row is bold."
    )
    known = tuple(line for line in lines if any(cell.key is not None for cell in line))
    return Table("Robustness: probes and controls", caption, ("Game", *labels), known)


def _probed(one: Judged, name: str, quantity: str) -> float | None:
    """Of the newest checkpoint that was probed."""
    value: float | None = getattr(one.probings[-1].representations.get(name), quantity, None)
    return value


def _line(
    what: str,
    games: Sequence[_Game],
    labels: Sequence[str],
    measure: Callable[[Judged], float | None],
    write: Callable[[float], str],
) -> tuple[Cell, ...]:
    """Means over runs and games with their intervals; and of how many runs, where not all have one.

    Args:
      what: is measured, in words.
      games: one, or those that all series have a number of.
      labels: of the columns.
      measure: a number of a run; None if it has none.
      write: a number as text.
    """
    found = {
        label: {game: list(map(measure, by_label.get(label, ()))) for game, by_label in games}
        for label in labels
    }
    known = {
        label: {game: [n for n in numbers if n is not None] for game, numbers in of_games.items()}
        for label, of_games in found.items()
    }
    means = {
        label: mean_over_games(of_games)
        for label, of_games in known.items()
        if all(of_games.values())
    }
    cells = []
    for label in labels:
        counted, runs = (sum(map(len, of[label].values())) for of in (known, found))
        small = [f"{counted} of {runs} runs"] * (counted < runs)
        if label not in means:
            cells.append(Cell("-" if runs else "", "".join(small)))
            continue
        mean = means[label]
        if mean.low is not None and mean.high is not None:
            small.insert(0, f"{write(float(mean.low))} to {write(float(mean.high))}")
        cells.append(Cell(write(float(mean.value)), ", ".join(small), key=float(mean.value)))
    name = games[0][0] if len(games) == 1 else f"Mean of {len(games)} games"
    return (Cell(name, what), *with_best(cells))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


_points = "{:,.1f}".format
_two = "{:.2f}".format


def _labels(judged: Sequence[Judged]) -> list[str]:
    return list(dict.fromkeys(one.label for one in judged))


def _by_game(judged: Sequence[Judged]) -> dict[str, dict[str, list[Judged]]]:
    """Game → label → runs, in the order of the games and of the series."""
    found: dict[str, dict[str, list[Judged]]] = {}
    for one in sorted(judged, key=lambda one: list(ATARI57).index(one.run.game)):
        found.setdefault(one.run.game, {}).setdefault(one.label, []).append(one)
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
