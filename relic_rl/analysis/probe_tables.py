"""What a report says of probes: a table at the newest checkpoints, and curves over training."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from relic_rl.analysis.judged import BEST, Judged, by_game, labels_of, line, points
from relic_rl.analysis.runs import common_frames
from relic_rl.analysis.scores import Estimate, mean_over_seeds
from relic_rl.analysis.series import span
from relic_rl.analysis.tables import Table
from relic_rl.records.probes import Probing, averages

PROBED: dict[str, str] = {
    "encoder": "encoder",
    "lstm": "LSTM",
    "random_encoder": "control: untrained encoder",
    "pixels": "control: pixels",
}
"""What was probed, in words."""
CONTROLS = ("random_encoder", "pixels")
AVERAGED = ("f1", "r2")
"""Over variables: runs are compared over those that all of them were asked for."""
QUANTITIES: dict[str, str] = {
    "f1": "F1",
    "r2": "R²",
    "effective_rank": "effective rank",
    "mean_share": "mean share",
    "invariance": "invariance",
    "contrastive_accuracy": "contrastive accuracy",
}
"""What is known of each, fields of `records.probes.Representation`, in words."""


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


def probe_curves(judged: Sequence[Judged]) -> list[ProbeCurve]:
    """What was found over training, for a picture: of runs that were probed more than once.

    Of what was learned a curve for each series; of a control one for all, as it has no arm.
    """
    probed = [one for one in judged if len(one.probings) > 1]
    found = []
    for game, by_label in by_game(probed).items():
        everyone = [one for runs in by_label.values() for one in runs]
        variables = _shared_variables(probing for one in everyone for probing in one.probings)
        for quantity in QUANTITIES:
            for name in PROBED:
                groups = {"": everyone} if name in CONTROLS else by_label
                curves = [
                    _probe_curve(game, quantity, name, label, runs, variables)
                    for label, runs in groups.items()
                ]
                found += [curve for curve in curves if curve is not None]
    return found


def _probe_curve(
    game: str,
    quantity: str,
    name: str,
    label: str,
    runs: Sequence[Judged],
    variables: Collection[str],
) -> ProbeCurve | None:
    """None if no run has two points of it, or no frame was passed by all."""
    curves = []
    for one in runs:
        found = [
            (probing.env_frames, _measured(probing, name, quantity, variables))
            for probing in one.probings
        ]
        known = [(frames, value) for frames, value in found if value is not None]
        if len(known) > 1:
            curves.append(np.array(known, np.float64).T)
    frames = common_frames([curve[0] for curve in curves]) if curves else np.array([])
    if not len(frames):
        return None
    values = np.array([np.interp(frames, *curve) for curve in curves])
    return ProbeCurve(game, quantity, name, label, frames, mean_over_seeds(values))


def probes_table(judged: Sequence[Judged]) -> Table | None:
    """Of each game F1 and R² of what was learned and of the controls, and the encoder's rank."""
    judged = [one for one in judged if one.probings]
    if not judged:
        return None
    labels, lines = labels_of(judged), []
    for game in by_game(judged).items():
        variables = _shared_variables(one.probings[-1] for runs in game[1].values() for one in runs)
        newest = partial(_newest, variables=variables)
        for probed, words in PROBED.items():
            for quantity in AVERAGED:
                measure = partial(newest, name=probed, quantity=quantity)
                what = f"{words}, {QUANTITIES[quantity]}"
                is_ranked = probed not in CONTROLS
                lines.append(line(what, [game], labels, measure, _two, is_ranked=is_ranked))
        rank = partial(newest, name="encoder", quantity="effective_rank")
        lines.append(line("encoder, effective rank", [game], labels, rank, points, is_ranked=False))
    last = [one.probings[-1] for one in judged]
    caption = (
        "Linear probes for the variables of the game's memory, mean over their categories (Anand et"
        " al., 2019): of what was learned, and of two controls; of the variables that changed in"
        f" the play of all runs of a game. {BEST} {span([one.steps for one in last], 'step')} of"
        f" checkpoints of {span([one.env_frames for one in last], 'frame')}."
    )
    known = tuple(line for line in lines if any(cell.key is not None for cell in line))
    return Table("Robustness: probes and controls", caption, ("Game", *labels), known)


def _shared_variables(probings: Iterable[Probing]) -> set[str]:
    """Those that all of them were asked for."""
    return set.intersection(
        *(
            {variable for found in one.representations.values() for variable in found.variables}
            for one in probings
        )
    )


def _newest(one: Judged, name: str, quantity: str, variables: Collection[str]) -> float | None:
    """`_measured` of the newest checkpoint that was probed."""
    return _measured(one.probings[-1], name, quantity, variables)


def _measured(
    probing: Probing, name: str, quantity: str, variables: Collection[str]
) -> float | None:
    """One of `QUANTITIES` of a representation, if it has it: F1 and R² over these variables."""
    found = probing.representations.get(name)
    if found is None:
        return None
    if quantity not in AVERAGED:
        known: float | None = getattr(found, quantity)
        return known
    asked = {key: value for key, value in found.variables.items() if key in variables}
    return averages(asked)[AVERAGED.index(quantity)] if asked else None


_two = "{:.2f}".format
