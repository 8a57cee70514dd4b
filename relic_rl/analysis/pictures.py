"""The pictures of a run and of a report, as files.

A picture that fails is named in a line; no run and no report is lost to it. Matplotlib, which may
fail at its import, is therefore imported with the first picture and not before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relic_rl.analysis.columns import Column
from relic_rl.analysis.robustness import Heat, ProbeCurve, Robustness
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
    with _any_failure_named("curves.png and curves.svg"):
        return _made(_plan_of_run("curves", run.folder.name, run), folder)


def draw_report(
    series: Sequence[Series], columns: Sequence[Column], folder: Path
) -> tuple[list[Picture], list[str]]:
    """Writes the pictures of a report.

    Args:
      series: all, with their unfinished runs.
      columns: those of the series that have one, and the published ones.
      folder: where to; it is there.

    Returns:
      the pictures in their order, and a line for each that failed.
    """
    try:
        with _any_failure_named("all pictures"):
            plans = [*_plans_of_columns(series, columns), *_plans_of_runs(series)]
    except PictureError as error:
        return [], [str(error)]
    return _drawn(plans, folder)


def draw_robustness(
    robustness: Robustness, labels: Sequence[str], folder: Path
) -> tuple[list[Picture], list[str]]:
    """Writes a heat map and curves of probes, as far as there is something to show.

    Args:
      robustness: what was saved.
      labels: of all series that have a column, so that each has its colour.
      folder: where to; it is there.

    Returns:
      as `draw_report`.
    """
    plans = []
    if (heat := robustness.heat()) is not None:
        plans.append(_plan_of_heat(heat))
    if curves := robustness.probe_curves():
        plans.append(_plan_of_probes(curves, labels))
    return _drawn(plans, folder)


def _plan_of_heat(heat: Heat) -> _Plan:
    def draw() -> "Figure":
        from relic_rl.analysis.plots.heat_map import heat_map

        return heat_map(heat)

    return _Plan(
        "robustness",
        "Robustness: score kept",
        "The share of its score that an agent keeps when what it sees is corrupted, mean over the"
        " severities and seeds that were played. 100 is the clean score, 0 is random play.",
        draw,
    )


def _plan_of_probes(curves: Sequence[ProbeCurve], labels: Sequence[str]) -> _Plan:
    def draw() -> "Figure":
        from relic_rl.analysis.plots.probe_curves import probe_curves

        return probe_curves(curves, labels)

    return _Plan(
        "probes",
        "Robustness: probes over training",
        "F1 and R² of linear probes for the game's state, and what is known of a representation"
        " without them, of runs that were probed more than once; mean over seeds, as far as all"
        f" were probed. Bands are 95 % intervals, where there are {MIN_SEEDS} seeds or more. The"
        " controls are the mean over all runs of a game. An R² far below 0 is off the picture.",
        draw,
    )


def _drawn(plans: Sequence[_Plan], folder: Path) -> tuple[list[Picture], list[str]]:
    """The pictures, and a line for each that failed."""
    pictures: list[Picture] = []
    failures: list[str] = []
    for plan in plans:
        try:
            with _any_failure_named(f"{plan.name}.png and {plan.name}.svg"):
                pictures.append(_made(plan, folder))
        except PictureError as error:
            failures.append(str(error))
    return pictures, failures


def _plans_of_columns(series: Sequence[Series], columns: Sequence[Column]) -> list[_Plan]:
    from relic_rl.analysis.plots import curves, final_scores

    games = columns[0].shared
    ours = {column.label: column for column in columns if column.is_own}
    papers = {column.label: column for column in columns if not column.is_own}
    published = {label: column.means() for label, column in papers.items()}
    aggregates = {label: one.aggregate.rows() for label, one in papers.items() if one.aggregate}
    reference_curves = {
        column.label: column.reference.curves for column in columns if column.reference
    }
    common = [
        Series(one.label, tuple(run for run in one.runs if run.game in games), ())
        for one in series
        if one.runs
    ]
    # A series without a column comes last, so that the others' colours are those of their columns.
    with_curves = sorted((one for one in series if one.evaluated), key=lambda one: not one.runs)

    def profiles(of: Mapping[str, Column]) -> dict[str, Estimate]:
        return {
            label: performance_profile(column.shared, _THRESHOLDS) for label, column in of.items()
        }

    of_shared_games = [
        _Plan(
            "aggregates",
            "Aggregates over frames",
            "Up to the frames that all runs have reached, with straight lines between evaluations."
            " Published agents trained for frames of their own (see the notes). An arrow means far"
            " above the picture.",
            lambda: curves.aggregate_curves(common, aggregates),
        ),
        _Plan(
            "profile",
            "Performance profile",
            "The share of runs above each score; every game has the same weight. Bands are 95 %"
            f" intervals over seeds, where each game has {MIN_SEEDS} or more.",
            lambda: final_scores.profile(_THRESHOLDS, profiles(ours), profiles(papers)),
        ),
    ]
    return [
        _Plan(
            "games",
            "Score of each game",
            "The last evaluation, as mean over seeds. Light bars are below human.",
            lambda: final_scores.score_bars(
                {label: column.means() for label, column in ours.items()}, published
            ),
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


@contextmanager
def _any_failure_named(pictures: str) -> Iterator[None]:
    """A drawing library fails in more ways than can be listed, and none is worth a run."""
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise PictureError(f"not drawn: {pictures} ({type(error).__name__}: {words})") from error
