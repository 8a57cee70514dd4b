"""Figures against training time: scores of runs over frames and minutes, aggregates over frames.

Human and random play stand as lines beside the scores.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from envs.games import ATARI57, Game
from envs.registry import ENVIRONMENTS
from relic_rl.analysis.plots.style import (
    BELOW_HUMAN,
    COLOURS,
    FAINT,
    INK,
    SOFT,
    legend,
    legend_above,
    published_line,
    short,
    styled,
)
from relic_rl.analysis.runs import Curve, Run, common_frames
from relic_rl.analysis.scores import aggregate
from relic_rl.analysis.series import Series

_MOST_DOTS = 2_000
"""More than these are one picture within the SVG, which would grow by 90 bytes for each."""
_MOST_MARKERS = 60
"""More evaluations than these are a line alone."""
_FAR = 2.5
"""A published level so many times above ours is named at the panel's edge, not drawn."""
_LABEL_PLACE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "xytext": (4, 0),
    "textcoords": "offset points",
    "fontsize": 8,
    "color": SOFT,
}


@styled
def learning_curve(run: Run) -> Figure:
    """One run: scores of evaluations and training episodes, against frames and minutes."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    reference = ENVIRONMENTS[run.game].reference
    left, right = figure.subplots(1, 2, sharey=True)
    training, width = _training_mean(run, 1 / 20, parts=200)
    for axis, unit in ((left, "frames"), (right, "minutes")):
        x = getattr(run.episodes, unit)
        axis.plot(
            x,
            run.episodes.scores,
            ".",
            ms=3.2,
            color=BELOW_HUMAN[COLOURS[0]],
            mew=0,
            zorder=1,
            label="training episode",
            rasterized=len(x) > _MOST_DOTS,
        )
        if width > 1 and len(training.scores):
            label = f"training, mean of {width} episodes"
            axis.plot(getattr(training, unit), training.scores, color=SOFT, lw=1.3, label=label)
        axis.plot(
            getattr(run.evaluations, unit),
            run.evaluations.scores,
            "o-" if len(run.evaluations.scores) <= _MOST_MARKERS else "-",
            color=COLOURS[0],
            ms=4,
            label="evaluation",
        )
        axis.set_xlim(left=0)
    scores = np.concatenate([run.episodes.scores, run.evaluations.scores])
    if reference is not None:
        for axis in (left, right):
            _reference_lines(axis, reference, scores, labels=axis is right)
    left.xaxis.set_major_formatter(short)
    left.yaxis.set_major_formatter(short)
    right.xaxis.set_major_locator(MaxNLocator(5))  # long numbers: a run may take seconds
    left.set(xlabel="environment frames", ylabel="score", title=f"{run.game}, seed {run.seed}")
    right.set(xlabel="minutes of training")
    legend(figure, left.get_legend_handles_labels()[0], "outside lower center", columns=3)
    return figure


@styled
def learning_grid(
    series: Sequence[Series], references: Mapping[str, Mapping[str, Sequence[Curve]]] | None = None
) -> Figure:
    """Small multiples: evaluations of every game and seed, one colour a series.

    The means over seeds are of the runs that count. With one series, or where no run was evaluated
    on its way, the running mean of its training episodes stands behind them.

    Args:
      series: those with curves.
      references: label → game → a curve per seed, drawn as their mean as far as our runs go.
    """
    runs = [run for one in series for run in one.evaluated]
    shows_training = len(series) == 1 or all(len(run.evaluations.frames) == 1 for run in runs)
    played = {run.game for run in runs}
    games = [game for game in ATARI57 if game in played]
    columns = min(len(games), 6 if len(games) > 12 else 4)
    rows = math.ceil(len(games) / columns)
    size = (max(1.85 * columns + 0.3, 4.0), 1.45 * rows + 0.7)  # the axes' label is wide
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    furthest = max(float(run.evaluations.frames[-1]) for run in runs)
    reference_lines: dict[str, Line2D] = {}
    for axis, game in zip(axes, games, strict=False):
        _draw_game(axis, game, series, shows_training=shows_training)
        for i, (label, curves) in enumerate((references or {}).items()):
            if curves.get(game):
                x, y = _mean_curve(curves[game], until=furthest)
                reference_lines[label] = axis.plot(x, y, **published_line(i), label=label)[0]
    axes[0].set_xlim(left=0)  # all games': not before the last is drawn, it fixes the right end
    for axis in axes[len(games) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(games) - columns) : len(games)]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel("environment frames; on the vertical axes, score", fontsize=8.5, color=SOFT)
    handles = [
        Line2D([], [], color=colour, label=one.label if len(series) > 1 else "evaluation")
        for colour, one in zip(cycle(COLOURS), series, strict=False)
    ]
    if shows_training:
        colour = COLOURS[0] if len(series) == 1 else SOFT
        handles.append(Line2D([], [], c=colour, lw=1, alpha=0.45, label="training, exploring"))
    handles += reference_lines.values()
    handles.append(Line2D([], [], color=INK, lw=1.0, ls="--", label="human"))
    handles.append(Line2D([], [], color=FAINT, lw=1.0, ls=":", label="random"))
    legend_above(figure, handles)
    return figure


def _draw_game(axis: Axes, game: str, series: Sequence[Series], *, shows_training: bool) -> None:
    """One panel of `learning_grid`: a thin line a run, a bold one for the mean over seeds."""
    shown = []
    for colour, one in zip(cycle(COLOURS), series, strict=False):
        drawn = [run for run in one.evaluated if run.game == game]
        for run in drawn:
            if shows_training:
                training, _ = _training_mean(run, 1 / 10, parts=32)
                axis.plot(training.frames, training.scores, color=colour, lw=1.0, alpha=0.45)
                shown.append(training.scores)
            curve = run.evaluations
            thin: dict[str, Any] = {"lw": 0.8, "alpha": 0.6} if len(drawn) > 1 else {"lw": 1.6}
            axis.plot(curve.frames, curve.scores, _dots(curve.frames), color=colour, **thin)
            shown.append(curve.scores)
        counted = [run.evaluations for run in one.runs if run.game == game]
        if len(counted) > 1:
            frames, mean = _mean_curve(counted)
            axis.plot(frames, mean, _dots(frames), color=colour, lw=1.8)
    _reference_lines(axis, ATARI57[game], np.concatenate(shown), labels=False)
    axis.set_title(game, fontsize=8.5, fontweight="normal", pad=3)
    axis.tick_params(labelsize=7, length=0, pad=2)
    axis.xaxis.set_major_formatter(short)
    axis.yaxis.set_major_formatter(short)
    axis.locator_params(nbins=4)


@styled
def aggregate_curves(
    series: Sequence[Series], published: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Capped mean, median and IQM over games against frames, where every run has evaluations.

    Args:
      series: of one without a frame that all its runs have passed, the legend says so.
      published: label → aggregate row → value, as level lines; far above, as a note at the top.
    """
    panels = (("capped_mean", "Capped mean"), ("median", "Median"), ("iqm", "IQM"))
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    curves = [(one.label, *_aggregates_over_frames(one)) for one in series]
    curves = [
        (label if len(frames) else f"{label}: no frames that all runs passed", frames, points)
        for label, frames, points in curves
    ]
    handles: dict[str, Line2D] = {}
    for axis, (row, title) in zip(axes, panels, strict=True):
        lowest, highest = 0.0, 1.0
        for colour, (label, frames, points) in zip(cycle(COLOURS), curves, strict=False):
            values = [point[row] for point in points]
            handles[label] = axis.plot(
                frames, values, _dots(frames), color=colour, lw=2.0, label=label
            )[0]
            lowest, highest = min([lowest, *values]), max([highest, *values])
        far = 0
        for i, (label, final) in enumerate(published.items()):
            look = published_line(i)
            if final[row] <= _FAR * highest:
                lowest = min(lowest, final[row])
                handles[label] = axis.axhline(final[row], **look, label=label)
                continue
            axis.annotate(
                f"{label.removesuffix(' (published)')} {short(final[row])} ↑",
                (1.0, 1.0),
                (0, -2 - 11 * far),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=8,
                color=look["color"],
            )
            far += 1
        axis.set(xlabel="environment frames", title=f"{title}, percent of human")
        axis.set_xlim(left=0)
        top = max(axis.get_ylim()[1], -0.1 * lowest)
        axis.set_ylim(1.05 * lowest, top + (0.25 * (top - lowest) if far else 0.0))
        axis.tick_params(length=0)
        axis.locator_params(axis="x", nbins=5)
        axis.xaxis.set_major_formatter(short)
        axis.yaxis.set_major_formatter(short)
    legend(figure, list(handles.values()), "outside lower center", columns=6)
    return figure


def _aggregates_over_frames(series: Series) -> tuple[NDArray[np.float64], list[dict[str, float]]]:
    """Frame counts, up to 50, that all runs have passed, and the aggregate rows at each."""
    common = common_frames([run.evaluations.frames for run in series.runs])
    frames = np.unique(np.linspace(common[0], common[-1], 50)) if len(common) else common
    points = []
    for at in frames:
        scores: dict[str, list[float]] = {}
        for run in series.runs:
            value = float(np.interp(at, run.evaluations.frames, run.evaluations.scores))
            scores.setdefault(run.game, []).append(value)
        points.append(aggregate(scores, repetitions=1).rows())
    return frames, points


def _mean_curve(
    curves: Sequence[Curve], until: float = math.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As far as all have come, or to a frame before that, with a point there."""
    common = common_frames([curve.frames for curve in curves])
    frames = np.unique(np.minimum(common, until))
    return frames, np.mean([np.interp(frames, c.frames, c.scores) for c in curves], axis=0)


def _dots(frames: NDArray[np.float64]) -> str:
    """A line of one or two points would hardly be seen."""
    return ".-" if len(frames) <= 3 else "-"


def _training_mean(run: Run, share: float, *, parts: int) -> tuple[Curve, int]:
    """Mean of the latest training episodes, at the end of each of so many parts; of how many it is.

    They are that share of all, and one of each lane at least: the lanes explore unlike one another,
    and where they end together a mean over fewer swings from one to the next.
    """
    episodes = run.episodes
    width = max(int(share * len(episodes.scores)), run.settings.get("actor.lanes", 1))
    sums = np.cumsum(np.concatenate([[0.0], episodes.scores]))
    frames = episodes.frames[width - 1 :]
    part = np.ceil(parts * frames / frames.max(initial=1.0))
    last = np.diff(part, append=np.inf) > 0
    means = (sums[width:] - sums[:-width]) / width
    return Curve(frames[last], episodes.minutes[width - 1 :][last], means[last]), width


def _reference_lines(axis: Axes, game: Game, scores: NDArray[np.float64], *, labels: bool) -> None:
    """Draws human and random play; a human far above the curve is named at the top instead."""
    low, high = min(float(scores.min()), game.random), max(float(scores.max()), game.random)
    span = high - low or abs(game.human - game.random)
    near = low - 0.5 * span <= game.human <= high + 1.5 * span
    axis.axhline(game.random, color=FAINT, lw=1.0, ls=":")
    if near:
        axis.axhline(game.human, color=INK, lw=1.0, ls="--")
    else:
        # In a small panel: on the left, and at the end where the curve does not begin.
        at_top = scores[0] - low < 0.5 * span
        axis.text(
            1.0 if labels else 0.04,
            1.02 if labels else 0.95 if at_top else 0.05,
            f"human {short(game.human)} {'↑' if game.human > high else '↓'}",
            transform=axis.transAxes,
            ha="right" if labels else "left",
            va="bottom" if labels or not at_top else "top",
            fontsize=8 if labels else 6.5,
            color=SOFT,
            bbox={"color": "white", "pad": 0.8, "lw": 0},
            zorder=1.5,  # above the grid, below the curves
        )
    if not labels:
        return
    # Side by side the two names would print over each other where the levels nearly meet.
    apart = abs(game.human - game.random) > 0.08 * span if near else True
    axis.annotate("random", (1.0, game.random), va="center" if apart else "top", **_LABEL_PLACE)
    if near:
        axis.annotate(
            "human", (1.0, game.human), va="center" if apart else "bottom", **_LABEL_PLACE
        )
