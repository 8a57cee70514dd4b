"""What a report says of robustness: from saved evaluations, and from probes, where there are any.

Of a run the newest checkpoint counts that was judged, and of its rows those of one seed and number
of episodes: what most conditions were played with. Arms are compared under what all of them were
judged under; what is left out is named. A mean has its interval where every game has seeds enough
for one, as everywhere in a report.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from envs.corruptions import CORRUPTIONS, LEVELS
from envs.games import ATARI57, find_game
from relic_rl.analysis.notes import span
from relic_rl.analysis.runs import Run, common_frames
from relic_rl.analysis.scores import Estimate, mean_over_games, mean_over_seeds
from relic_rl.analysis.series import Series, first_few
from relic_rl.analysis.tables import Cell, Table, with_best
from relic_rl.errors import UserError
from relic_rl.records.probes import Probing, averages, read_probings
from relic_rl.records.robustness import (
    NO_CORRUPTION,
    ROBUSTNESS_FILE,
    Judgement,
    read_judgements,
)
from relic_rl.records.tables import csv_table

_Look = tuple[str, int]
"""A corruption and its severity."""
_Flavour = tuple[int, int]
"""A mode and its difficulty."""
_Game = tuple[str, dict[str, list["Judged"]]]
"""With the runs of each series, by its label."""

_CLEAN: _Look = (NO_CORRUPTION, 0)
LEAST_EARNED = 0.05
"""Of the human's score above random play. Of less than that, every share is noise."""

KEPT = (
    "Kept: (score - random) / (clean score - random), the mean over a game's seeds above and below"
    f" the line. An arm whose clean score is less than {LEAST_EARNED:.0%} of the human's has no"
    " share. Corruptions and levels are ImageNet-C's (Hendrycks & Dietterich, 2019), where they are"
    " not named as ours in envs/corruptions.py."
)
_BEST = "The best of a row is bold; below a mean is its 95 % interval over seeds."


@dataclass(frozen=True, slots=True)
class Judged:
    """A run, and what was saved of its newest checkpoint that was judged."""

    label: str
    """Of its series."""
    run: Run
    looks: dict[_Look, Judgement]
    """In the default mode, the clean one among them; empty if nothing was saved."""
    flavours: dict[_Flavour, Judgement]
    """Uncorrupted, the default and others."""
    probings: tuple[Probing, ...]
    """Of each moment that was probed, by frames."""

    @property
    def name(self) -> str:
        """Of several arms, runs may have the same name."""
        return f"{self.label} {self.run.name}"

    @property
    def rows(self) -> list[Judgement]:
        """All that count."""
        return list(dict.fromkeys([*self.looks.values(), *self.flavours.values()]))

    def above_random(self, look: _Look) -> float:
        """What it earned in the default mode, on average, more than random play."""
        return self.looks[look].mean_score - find_game(self.run.game).random

    def clean_score(self) -> float:
        """In the default mode, uncorrupted."""
        return self.looks[_CLEAN].mean_score


@dataclass(frozen=True, slots=True)
class Robustness:
    """All that was saved of the runs of a report."""

    judged: tuple[Judged, ...]
    """All runs, in the order of their series and games."""
    failures: tuple[str, ...]
    """What is left out, and why."""

    @property
    def corrupted(self) -> list[Judged]:
        """Runs that were judged under a corruption."""
        return [one for one in self.judged if len(one.looks) > 1]

    def heat(self) -> "Heat | None":
        """The shares that are kept, for a picture; None without any."""
        judged = self.corrupted
        earned = _earned(judged)
        corruptions = _ordered((name for one in judged for name, _ in one.looks), CORRUPTIONS)
        corruptions = [name for name in corruptions if name != NO_CORRUPTION]
        rows, shares = [], []
        for game, by_label in _by_game(judged).items():
            for label, runs in by_label.items():
                rows.append((game, label))
                known = [_mean_share(runs, name, earned.get((game, label))) for name in corruptions]
                shares.append(known)
        if not any(share is not None for row in shares for share in row):
            return None
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
                for row in one.rows
            ]
        )


@dataclass(frozen=True, slots=True)
class Heat:
    """Shares of a score that are kept: a row for each game and series, a column a corruption."""

    rows: list[tuple[str, str]]
    """Game and label."""
    corruptions: list[str]
    shares: list[list[float | None]]
    """Means over severities and seeds; None where there is none."""


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
    judged: list[Judged] = []
    failures: list[str] = []
    for one in series:
        for run in one.runs:
            judgements: list[Judgement] = []
            probings: list[Probing] = []
            try:
                judgements = read_judgements(run.folder)
            except UserError as error:
                failures.append(f"{one.label} {run.name}: {error}")
            try:
                probings = read_probings(run.folder)
            except UserError as error:
                failures.append(f"{one.label} {run.name}: {error}")
            newest = [
                j for j in judgements if j.env_frames == max(j.env_frames for j in judgements)
            ]
            looks = _of_most(
                [j for j in newest if j.default_mode], lambda j: (j.corruption, j.severity)
            )
            flavours = _of_most([j for j in newest if j.is_clean], lambda j: (j.mode, j.difficulty))
            if looks and _CLEAN not in looks:
                failures.append(
                    f"{one.label} {run.name}: {ROBUSTNESS_FILE} has no row without a corruption"
                )
                looks = {}
            judged.append(Judged(one.label, run, looks, flavours, tuple(probings)))
    return Robustness(tuple(judged), (*failures, *_gaps(judged)))


_Condition = TypeVar("_Condition", bound=tuple[Any, ...])


def _of_most(
    rows: Iterable[Judgement], condition: Callable[[Judgement], _Condition]
) -> dict[_Condition, Judgement]:
    """By condition, of the seed, episodes and protocol that most conditions were played with.

    Of equals, of the most episodes, and then of the lowest seed.
    """
    alike: dict[tuple[Any, ...], dict[_Condition, Judgement]] = {}
    for row in rows:
        protocol = (row.episodes, -row.seed, row.protocol, row.epsilon)
        alike.setdefault(protocol, {})[condition(row)] = row
    return max(alike.items(), key=lambda item: (len(item[1]), item[0]), default=((), {}))[1]


def _gaps(judged: Sequence[Judged]) -> Iterator[str]:
    """Runs of which less was saved than of others."""
    kinds: dict[str, Callable[[Judged], bool]] = {
        "corruptions": lambda one: len(one.looks) > 1,
        "other modes": lambda one: len(one.flavours) > 1,
        "probes": lambda one: bool(one.probings),
    }
    for what, has in kinds.items():
        games = {one.run.game for one in judged if has(one)}
        lacking = [one.name for one in judged if one.run.game in games and not has(one)]
        if lacking:
            yield f"{first_few(lacking)}: no {what} were saved"
    corrupted = [one for one in judged if len(one.looks) > 1]
    for look in sorted({look for one in corrupted for look in one.looks}):
        lacking = [one.name for one in corrupted if look not in one.looks]
        if lacking:
            yield f"{look[0]} {look[1]} from the table: {first_few(lacking)} did not play it"


def _earned(judged: Sequence[Judged]) -> dict[tuple[str, str], float]:
    """By game and label, the mean clean score above random play, where it is worth a share."""
    found = {}
    for game, by_label in _by_game(judged).items():
        for label, runs in by_label.items():
            earned = fmean(one.above_random(_CLEAN) for one in runs)
            if ATARI57[game].human_normalized(earned + ATARI57[game].random) >= LEAST_EARNED:
                found[game, label] = earned
    return found


def _mean_share(runs: Sequence[Judged], corruption: str, earned: float | None) -> float | None:
    """Over severities, and then over the runs that played any."""
    looks = [[look for look in one.looks if look[0] == corruption] for one in runs]
    scores = [
        fmean(map(one.above_random, of_one))
        for one, of_one in zip(runs, looks, strict=True)
        if of_one
    ]
    return fmean(scores) / earned if scores and earned is not None else None


def _corrupted_table(robustness: Robustness) -> Table | None:
    """Of each game what is kept, and the scores that this comes from; then the means over games."""
    judged = robustness.corrupted
    common = set.intersection(*(set(one.looks) for one in judged)) if judged else set()
    common -= {_CLEAN}
    if not common:
        return None
    earned = _earned(judged)

    def kept(one: Judged) -> float | None:
        whole = earned.get((one.run.game, one.label))
        return None if whole is None else fmean(map(one.above_random, common)) / whole

    def corrupted(one: Judged) -> float:
        return fmean(one.looks[look].mean_score for look in common)

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
        if all((game, label) in earned for label in labels)
    ]
    if len(shared) > 1:
        named = f": {', '.join(game for game, _ in shared)}" * (len(shared) < len(games))
        lines.append(_line(f"score kept{named}", shared, labels, kept, _percent))
    caption = (
        f"Mean over {_in_words(common)}: what all runs here were judged under. {_BEST}"
        f" {_checkpoints([row for one in judged for row in one.looks.values()])}"
    )
    return Table("Robustness: clean and corrupted", caption, ("Game", *labels), tuple(lines))


def _in_words(looks: Iterable[_Look]) -> str:
    """`shift 3, jpeg 1`; `shift, jpeg at severity 3` where all have one."""
    ordered = _ordered(looks, [(name, level) for name in CORRUPTIONS for level in LEVELS])
    severities = {severity for _, severity in ordered}
    if len(severities) > 1:
        return ", ".join(f"{name} {severity}" for name, severity in ordered)
    return f"{', '.join(name for name, _ in ordered)} at severity {severities.pop()}"


def _modes_table(robustness: Robustness) -> Table | None:
    """A row for each mode and difficulty of each game, the default first."""
    judged = [one for one in robustness.judged if len(one.flavours) > 1]
    if not judged:
        return None
    labels, lines = _labels(judged), []
    for game, by_label in _by_game(judged).items():
        flavours = {
            flavour: look.default_mode
            for runs in by_label.values()
            for one in runs
            for flavour, look in one.flavours.items()
        }
        for flavour, is_default in sorted(flavours.items(), key=lambda one: (not one[1], one[0])):
            what = f"mode {flavour[0]}, difficulty {flavour[1]}" + ", default" * is_default
            measure = partial(_score_in, flavour=flavour)
            lines.append(_line(what, [(game, by_label)], labels, measure, _points))
    caption = (
        "Mean score in the mode and difficulty that an agent was trained in, the default, and in"
        " those that it never saw (Farebrother et al., 2018). Scores of two modes are points of two"
        f" games. {_BEST} {_checkpoints([row for one in judged for row in one.flavours.values()])}"
    )
    return Table("Robustness: other modes", caption, ("Game", *labels), tuple(lines))


def _score_in(one: Judged, flavour: _Flavour) -> float | None:
    found = one.flavours.get(flavour)
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
    labels, lines = _labels(judged), []
    for name, by_label in _by_game(judged).items():
        variables = set.intersection(
            *(_variables(one) for runs in by_label.values() for one in runs)
        )
        for probed, words in PROBED.items():
            for place, quantity in enumerate(("f1", "r2")):
                measure = partial(_readout, name=probed, variables=variables, place=place)
                what = f"{words}, {QUANTITIES[quantity]}"
                is_ranked = probed not in CONTROLS
                lines.append(
                    _line(what, [(name, by_label)], labels, measure, _two, is_ranked=is_ranked)
                )
        lines.append(
            _line(
                "encoder, effective rank",
                [(name, by_label)],
                labels,
                _rank,
                _points,
                is_ranked=False,
            )
        )
    newest = [one.probings[-1] for one in judged]
    caption = (
        "Linear probes for the variables of the game's memory, mean over their categories (Anand et"
        " al., 2019): of what was learned, and of two controls; of the variables that changed in"
        f" the play of all runs of a game. {_BEST} {span([one.steps for one in newest])} steps of"
        f" checkpoints of {span([one.env_frames for one in newest])} frames."
    )
    known = tuple(line for line in lines if any(cell.key is not None for cell in line))
    return Table("Robustness: probes and controls", caption, ("Game", *labels), known)


def _variables(one: Judged) -> set[str]:
    """Those that its newest checkpoint was asked for."""
    return {
        variable
        for representation in one.probings[-1].representations.values()
        for variable in representation.variables
    }


def _readout(one: Judged, name: str, variables: set[str], place: int) -> float | None:
    """F1 (place 0) or R² (place 1) over the variables, of the newest checkpoint that was probed."""
    found = one.probings[-1].representations.get(name)
    asked = (
        {key: value for key, value in found.variables.items() if key in variables} if found else {}
    )
    return averages(asked)[place] if asked else None


def _rank(one: Judged) -> float | None:
    found = one.probings[-1].representations.get("encoder")
    return found.effective_rank if found else None


def _line(
    what: str,
    games: Sequence[_Game],
    labels: Sequence[str],
    measure: Callable[[Judged], float | None],
    write: Callable[[float], str],
    *,
    is_ranked: bool = True,
) -> tuple[Cell, ...]:
    """Means over runs and games with their intervals; and of how many runs, where not all have one.

    Args:
      what: is measured, in words.
      games: one, or those that all series have a number of.
      labels: of the columns.
      measure: a number of a run; None if it has none.
      write: a number as text.
      is_ranked: whether more is better.
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
    return (Cell(name, what), *(with_best(cells) if is_ranked else cells))


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


def _checkpoints(rows: Sequence[Judgement]) -> str:
    return (
        f"{span([row.episodes for row in rows])} episodes of checkpoints of"
        f" {span([row.env_frames for row in rows])} frames."
    )


_Name = TypeVar("_Name", bound=Hashable)


def _ordered(names: Iterable[_Name], known: Iterable[_Name]) -> list[_Name]:
    """Each name once, in the order of those that are known; others come last."""
    order = list(known)
    return sorted(
        dict.fromkeys(names), key=lambda name: order.index(name) if name in order else len(order)
    )
