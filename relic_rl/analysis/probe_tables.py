"""What a report says of probes: a table at the newest checkpoints, and curves over training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from relic_rl.analysis.judged import BEST, Judged, by_game, labels_of, line, points
from relic_rl.analysis.notes import span
from relic_rl.analysis.runs import common_frames
from relic_rl.analysis.scores import Estimate, mean_over_seeds
from relic_rl.analysis.tables import Table
from relic_rl.records.probes import averages

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
        for quantity in QUANTITIES:
            for name in PROBED:
                groups = {"": everyone} if name in CONTROLS else by_label
                curves = [
                    _probe_curve(game, quantity, name, label, runs)
                    for label, runs in groups.items()
                ]
                found += [curve for curve in curves if curve is not None]
    return found


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


def probes_table(judged: Sequence[Judged]) -> Table | None:
    """Of each game F1 and R² of what was learned and of the controls, and the encoder's rank."""
    judged = [one for one in judged if one.probings]
    if not judged:
        return None
    labels, lines = labels_of(judged), []
    for name, by_label in by_game(judged).items():
        variables = set.intersection(
            *(_variables(one) for runs in by_label.values() for one in runs)
        )
        for probed, words in PROBED.items():
            for place, quantity in enumerate(("f1", "r2")):
                measure = partial(_readout, name=probed, variables=variables, place=place)
                what = f"{words}, {QUANTITIES[quantity]}"
                is_ranked = probed not in CONTROLS
                lines.append(
                    line(what, [(name, by_label)], labels, measure, _two, is_ranked=is_ranked)
                )
        lines.append(
            line(
                "encoder, effective rank",
                [(name, by_label)],
                labels,
                _rank,
                points,
                is_ranked=False,
            )
        )
    newest = [one.probings[-1] for one in judged]
    caption = (
        "Linear probes for the variables of the game's memory, mean over their categories (Anand et"
        " al., 2019): of what was learned, and of two controls; of the variables that changed in"
        f" the play of all runs of a game. {BEST} {span([one.steps for one in newest])} steps of"
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


_two = "{:.2f}".format
