"""The pictures of a run and of a report, as files.

A picture that fails is named in a line; no run and no report is lost to it. Matplotlib, which may
fail at its import, is therefore imported with the first picture and not before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from relic_rl.analysis import probe_tables
from relic_rl.analysis.columns import Column
from relic_rl.analysis.judged import Judged
from relic_rl.analysis.robustness import heat_of
from relic_rl.analysis.runs import Run
from relic_rl.analysis.scores import MIN_SEEDS, Estimate, performance_profile
from relic_rl.analysis.series import Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_SINGLE_RUNS = 12
"""More runs than these are shown together only."""
_THRESHOLDS = np.concatenate([np.linspace(0, 1, 41), np.geomspace(1.03, 100, 90)])


class PictureError(Exception):
    """A picture could not be made; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A titled figure, which lies in a folder as PNG and SVG."""

    title: str
    caption: str
    png: Path
    svg: Path
    width_inches: float


class Drawn(NamedTuple):
    """The pictures of a report, in their order."""

    pictures: Sequence[Picture] = ()
    of_robustness: Sequence[Picture] = ()
    failures: Sequence[str] = ()
    """A line for each that failed."""


NO_PICTURES = Drawn()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A picture still to be drawn."""

    name: str
    """Of its files."""
    title: str
    caption: str
    draw: Callable[[], "Figure"]


def draw_run(run: Run, folder: Path) -> Picture:
    """Writes a run's learning curve into a folder, as curves.png and curves.svg.

    Raises:
      PictureError: it failed, for whatever reason.
    """
    try:
        return _made(_plan_of_run("curves", run.folder.name, run), folder)
    except Exception as error:
        raise PictureError(_not_drawn("curves.png and curves.svg", error)) from error


def draw_report(
    series: Sequence[Series], columns: Sequence[Column], judged: Sequence[Judged], folder: Path
) -> Drawn:
    """Writes the pictures of a report, those of robustness as far as there is something to show.

    Args:
      series: all, with their unfinished runs.
      columns: those of the series that have one, and the published ones.
      judged: what was saved of the runs.
      folder: where to; it is there.
    """
    labels = [column.label for column in columns if column.is_own]
    try:
        plans = [*_plans_of_columns(series, columns), *_plans_of_runs(series)]
        of_robustness = _plans_of_robustness(judged, labels)
    except Exception as error:
        return Drawn(failures=[_not_drawn("all pictures", error)])
    failures: list[str] = []
    pictures = _drawn(plans, folder, failures)
    return Drawn(pictures, _drawn(of_robustness, folder, failures), failures)


def _drawn(plans: Sequence[_Plan], folder: Path, failures: list[str]) -> list[Picture]:
    """The pictures; adds a line for each that failed."""
    pictures: list[Picture] = []
    for plan in plans:
        try:
            pictures.append(_made(plan, folder))
        except Exception as error:
            failures.append(_not_drawn(f"{plan.name}.png and {plan.name}.svg", error))
    return pictures


def _plans_of_robustness(judged: Sequence[Judged], labels: Sequence[str]) -> list[_Plan]:
    from relic_rl.analysis.plots import heat_map, probe_curves

    plans = []
    if (heat := heat_of(judged)) is not None:
        plans.append(
            _Plan(
                "robustness",
                "Robustness: score kept",
                "The share of its score that an agent keeps when what it sees is corrupted, mean"
                " over the severities and seeds that were played. 100 is the clean score, 0 is"
                " random play. A row without numbers has a clean score hardly above random play.",
                partial(heat_map.heat_map, heat),
            )
        )
    if curves := probe_tables.probe_curves(judged):
        plans.append(
            _Plan(
                "probes",
                "Robustness: probes over training",
                "F1 and R² of linear probes for the game's state, and what is known of a"
                " representation without them, of runs that were probed more than once; over the"
                " variables that all of a game's probings have. Mean over seeds, as far as all were"
                " probed. Bands are 95 % intervals, where there are"
                f" {MIN_SEEDS} seeds or more. The controls are the mean over all runs of a game. An"
                " R² far below 0 is off the picture.",
                partial(probe_curves.probe_curves, curves, labels),
            )
        )
    return plans


def _plans_of_columns(series: Sequence[Series], columns: Sequence[Column]) -> list[_Plan]:
    from relic_rl.analysis.plots import curves, final_scores

    games = columns[0].shared
    ours = [column for column in columns if column.is_own]
    others = [column for column in columns if not column.is_own]
    levels = {column.label: column.aggregate.rows() for column in others if column.aggregate}
    reference_curves = {
        column.label: column.reference.curves for column in others if column.reference
    }
    common = [
        Series(one.label, tuple(run for run in one.runs if run.game in games), ())
        for one in series
        if one.runs
    ]
    # A series without a column comes last, so that the others' colours are those of their columns.
    with_curves = sorted((one for one in series if one.evaluated), key=lambda one: not one.runs)

    def means(of: Sequence[Column]) -> dict[str, dict[str, float]]:
        return {column.label: column.means() for column in of}

    def profiles(of: Sequence[Column]) -> dict[str, Estimate]:
        return {column.label: performance_profile(column.shared, _THRESHOLDS) for column in of}

    of_shared_games = [
        _Plan(
            "aggregates",
            "Aggregates over frames",
            "Up to the frames that all runs have reached, with straight lines between evaluations."
            " Published agents trained for frames of their own (see the notes). An arrow means far"
            " above the picture.",
            lambda: curves.aggregate_curves(common, levels),
        ),
        _Plan(
            "profile",
            "Performance profile",
            "The share of runs above each score; every game has the same weight. Bands are 95 %"
            f" intervals over seeds, where each game has {MIN_SEEDS} or more.",
            lambda: final_scores.profile(_THRESHOLDS, profiles(ours), profiles(others)),
        ),
    ]
    return [
        _Plan(
            "games",
            "Score of each game",
            "The last evaluation, as mean over seeds. Light bars are below human.",
            lambda: final_scores.score_bars(means(ours), means(others)),
        ),
        *(of_shared_games if games else ()),
        _Plan(
            "curves",
            "Learning curves",
            "Evaluations of each run; the bold line is the mean over the seeds that count. A fine"
            " line is the running mean of training episodes, in which lanes explore.",
            lambda: curves.learning_grid(with_curves, reference_curves),
        ),
    ]


def _plans_of_runs(series: Sequence[Series]) -> list[_Plan]:
    runs = [(one.label, run) for one in series for run in one.evaluated]
    if len(runs) > _MOST_SINGLE_RUNS:
        return []
    return [
        _plan_of_run(f"run_{number:02d}", label, run)
        for number, (label, run) in enumerate(runs, start=1)
    ]


def _plan_of_run(name: str, label: str, run: Run) -> _Plan:
    from relic_rl.analysis.plots.curves import learning_curve

    unfinished = ", not finished" if run.unfinished else ""
    return _Plan(
        name,
        f"{run.game}, seed {run.seed} ({label}{unfinished})",
        "Dots are training episodes of all lanes, in which they explore.",
        lambda: learning_curve(run),
    )


def _made(plan: _Plan, folder: Path) -> Picture:
    from relic_rl.analysis.plots.style import save_figure

    figure = plan.draw()
    png, svg = save_figure(figure, folder / plan.name)
    return Picture(plan.title, plan.caption, png, svg, figure.get_figwidth())


def _not_drawn(pictures: str, error: Exception) -> str:
    """A drawing library fails in more ways than can be listed, and none is worth a run."""
    words = " ".join(str(error).split())[:200]
    return f"not drawn: {pictures} ({type(error).__name__}: {words})"
