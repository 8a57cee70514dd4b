"""The figures of a report, each a `matplotlib.figure.Figure`, drawn without a display.

Every figure says what it shows: frames or minutes below, units at the axes, human and random play
as lines. Human-normalized scores are in percent, linear up to the human's 100 and logarithmic
beyond, because games differ by a factor of ten thousand. `save_figure` writes PNG and SVG, the
same bytes for the same data.
"""

import io
import math
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from envs.games import ATARI57, Game
from relic_rl.analysis.plot_style import (
    BELOW_HUMAN,
    COLOURS,
    FAINT,
    INK,
    PUBLISHED_COLOURS,
    PUBLISHED_MARKERS,
    SOFT,
    STYLE,
    legend_above,
    percent_axis,
    published_line,
    short,
    styled,
)
from relic_rl.analysis.runs import Curve, Run, Series
from relic_rl.analysis.scores import Estimate, aggregate, human_normalized

_FAR = 2.5
"""A published level so many times above ours is named at the panel's edge, not drawn."""
_LABEL_PLACE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "xytext": (4, 0),
    "textcoords": "offset points",
    "fontsize": 8,
    "color": SOFT,
}


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes `stem`.png and `stem`.svg and returns their paths."""
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    drawn = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, dpi=150, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None})
    # A few colours and their blends: a palette holds them in a third of the bytes.
    palette = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    palette.save(png, optimize=True)
    return png, svg


@styled
def learning_curve(run: Run) -> Figure:
    """One run: scores of evaluations and training episodes, against frames and minutes."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    game = ATARI57[run.game]
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, unit in ((left, "frames"), (right, "minutes")):
        x = getattr(run.episodes, unit)
        dots = {"ms": 3.2, "color": BELOW_HUMAN, "mew": 0, "zorder": 1}
        axis.plot(x, run.episodes.scores, ".", label="training episode", **dots)
        if (width := len(x) // 20) > 1:
            smooth = _running_mean(run.episodes.scores, width)
            axis.plot(x, smooth, color=SOFT, lw=1.3, label=f"training, mean of {width} episodes")
        axis.plot(
            getattr(run.evaluations, unit),
            run.evaluations.scores,
            "o-",
            color=COLOURS[0],
            ms=4,
            label="evaluation",
        )
        axis.set_xlim(left=0)
    scores = np.concatenate([run.episodes.scores, run.evaluations.scores])
    for axis in (left, right):
        _reference_lines(axis, game, scores, labels=axis is right)
    left.xaxis.set_major_formatter(FuncFormatter(short))
    left.yaxis.set_major_formatter(FuncFormatter(short))
    right.xaxis.set_major_locator(MaxNLocator(5))  # long numbers: a run may take seconds
    left.set(xlabel="environment frames", ylabel="score", title=f"{run.game}, seed {run.seed}")
    right.set(xlabel="minutes of training")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5
    )
    return figure


@styled
def score_bars(
    series: Mapping[str, Mapping[str, float]], published: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Human-normalized score of each game: the first series as bars, all others as marks.

    Args:
      series: label → game → raw score; the games of the first one, sorted, are the rows.
      published: the same of the methods to compare with.
    """
    (first, bars), *others = series.items()
    rows = sorted(bars, key=lambda game: human_normalized(game, bars[game]))
    figure = Figure(figsize=(9.6, 1.6 + 0.19 * max(4, len(rows))), layout="constrained")
    axis = figure.subplots()
    y = np.arange(len(rows))
    values = [100 * human_normalized(game, bars[game]) for game in rows]
    tint = [COLOURS[0] if value >= 100 else BELOW_HUMAN for value in values]
    axis.barh(y, values, color=tint, height=0.7)
    marks = [
        _marks(axis, rows, scores, "o", colour, label)
        for (label, scores), colour in zip(others, islice(cycle(COLOURS), 1, None), strict=False)
    ]
    marks += [
        _marks(axis, rows, scores, PUBLISHED_MARKERS[i % 6], PUBLISHED_COLOURS[i % 6], label)
        for i, (label, scores) in enumerate(published.items())
    ]
    shown = [*values, *(x for mark in marks for x in np.asarray(mark.get_xdata()))]
    axis.axvline(0, color=FAINT, lw=1.0, zorder=0.5)
    axis.axvline(100, color=INK, lw=1.1)
    percent_axis(axis, top=len(rows) > 20)
    axis.set_xlim(min(-8.0, 1.15 * min(shown)), max(130.0, 1.3 * max(shown)))
    axis.set_yticks(y, rows, fontsize=8, color=INK)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    for row, value in zip(y, values, strict=True):
        place = {"xy": (1.0, row), "xycoords": ("axes fraction", "data")}
        axis.annotate(
            f"{value:,.1f} %" if abs(value) < 99.95 else f"{value:,.0f} %",
            **place,  # type: ignore[arg-type]
            xytext=(48, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=INK if value >= 100 else SOFT,
        )
    axis.set_xlabel("human-normalized score in percent: 0 random, 100 human, logarithmic beyond")
    handles: list[Any] = [
        Patch(color=tinted, label=f"{first}, {side} human")
        for tinted, side in ((COLOURS[0], "at or above"), (BELOW_HUMAN, "below"))
        if tinted in tint
    ]
    figure.legend(handles=[*handles, *marks], loc="outside upper center", ncols=4)
    return figure


@styled
def learning_grid(series: Sequence[Series]) -> Figure:
    """Small multiples: evaluations of every game and seed, one colour a series.

    The means over seeds are of the runs that count. With one series, or where no run was evaluated
    on its way, the running mean of its training episodes stands behind them.
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
    for axis, game in zip(axes, games, strict=False):
        shown = []
        for colour, one in zip(cycle(COLOURS), series, strict=False):
            drawn = [run for run in one.evaluated if run.game == game]
            for run in drawn:
                if shows_training and len(run.episodes.frames):
                    training = _smooth(run.episodes)
                    axis.plot(training.frames, training.scores, color=colour, lw=1.0, alpha=0.45)
                    shown.append(training.scores)
                curve = run.evaluations
                thin = {"lw": 0.8, "alpha": 0.6} if len(drawn) > 1 else {"lw": 1.6}
                axis.plot(curve.frames, curve.scores, _dots(curve.frames), color=colour, **thin)
                shown.append(curve.scores)
            counted = [run.evaluations for run in one.runs if run.game == game]
            if len(counted) > 1:
                frames, mean = _mean_curve(counted)
                axis.plot(frames, mean, _dots(frames), color=colour, lw=1.8)
        _reference_lines(axis, ATARI57[game], np.concatenate(shown), labels=False)
        axis.set_title(game, fontsize=8.5, fontweight="normal", pad=3)
        axis.tick_params(labelsize=7, length=0, pad=2)
        axis.xaxis.set_major_formatter(FuncFormatter(short))
        axis.yaxis.set_major_formatter(FuncFormatter(short))
        axis.locator_params(nbins=4)
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
    handles.append(Line2D([], [], color=INK, lw=1.0, ls="--", label="human"))
    handles.append(Line2D([], [], color=FAINT, lw=1.0, ls=":", label="random"))
    legend_above(figure, handles)
    return figure


@styled
def profile(
    thresholds: NDArray[np.float64],
    series: Mapping[str, Estimate],
    published: Mapping[str, Estimate],
) -> Figure:
    """Performance profile: the fraction of runs above each human-normalized score.

    Args:
      thresholds: float64[N], fractions of the human score.
      series: label → the profile at the thresholds, with a band where there are many seeds.
      published: the same of the methods to compare with; they have one score a game.
    """
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    axis = figure.subplots()
    x = 100 * thresholds
    for colour, (label, curve) in zip(cycle(COLOURS), series.items(), strict=False):
        axis.plot(x, 100 * curve.value, color=colour, lw=2.2, label=label, zorder=3)
        if curve.low is not None and curve.high is not None:
            low, high = 100 * curve.low, 100 * curve.high
            axis.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    for i, (label, curve) in enumerate(published.items()):
        axis.plot(x, 100 * curve.value, **published_line(i), label=label)
    axis.axvline(100, color=INK, lw=1.0)
    percent_axis(axis)
    axis.set_xlim(0, x[-1])
    axis.set_ylim(0, 102)
    axis.set(xlabel="human-normalized score τ in percent", ylabel="runs above τ, percent")
    figure.legend(loc="outside upper center", ncols=6)
    return figure


@styled
def aggregate_curves(
    series: Sequence[Series], published: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Capped mean, median and IQM over games against frames, where every run has evaluations.

    Args:
      series: those without a frame that all their runs have passed are left out.
      published: label → game → raw final score, as level lines; far above, as a note at the top.
    """
    panels = (("capped_mean", "Capped mean"), ("median", "Median"), ("iqm", "IQM"))
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    curves = [(one.label, *_aggregates_over_frames(one)) for one in series]
    finals = {label: aggregate(scores, repetitions=1).rows() for label, scores in published.items()}
    handles: dict[str, Line2D] = {}
    for axis, (row, title) in zip(axes, panels, strict=True):
        lowest, highest = 0.0, 1.0
        for colour, (label, frames, points) in zip(cycle(COLOURS), curves, strict=False):
            values = [point[row] for point in points]
            handles[label] = axis.plot(
                frames, values, _dots(frames), color=colour, lw=2.0, label=label
            )[0]
            lowest, highest = min([lowest, *values]), max([highest, *values])
        far = []
        for i, (label, final) in enumerate(finals.items()):
            look = published_line(i)
            if final[row] > _FAR * highest:
                far.append((f"{label.removesuffix(' (published)')} {short(final[row])} ↑", look))
            else:
                handles[label] = axis.axhline(final[row], **look, label=label)
        for line, (text, look) in enumerate(far):
            axis.annotate(
                text,
                (1.0, 1.0),
                (0, -2 - 11 * line),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=8,
                color=look["color"],
            )
        axis.set(xlabel="environment frames", title=f"{title}, percent of human")
        axis.set_xlim(left=0)
        top = max(axis.get_ylim()[1], -0.1 * lowest)
        axis.set_ylim(1.05 * lowest, top + (0.25 * (top - lowest) if far else 0.0))
        axis.tick_params(length=0)
        axis.locator_params(axis="x", nbins=5)
        axis.xaxis.set_major_formatter(FuncFormatter(short))
        axis.yaxis.set_major_formatter(FuncFormatter(short))
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=6)
    return figure


def _marks(
    axis: Axes,
    rows: Sequence[str],
    scores: Mapping[str, float],
    marker: str,
    colour: str,
    label: str,
) -> Line2D:
    at = [row for row, game in enumerate(rows) if game in scores]
    x = [100 * human_normalized(rows[row], scores[rows[row]]) for row in at]
    style: dict[str, Any] = {"ms": 4.6, "mec": "white", "mew": 0.7, "clip_on": False}
    return axis.plot(x, at, marker, color=colour, label=label, **style)[0]


def _aggregates_over_frames(series: Series) -> tuple[NDArray[np.float64], list[dict[str, float]]]:
    """Frame counts, up to 50, that all runs have passed, and the aggregate rows at each.

    Runs that were evaluated at their end alone make one point, where the longest ends.
    """
    first = max(float(run.evaluations.frames[0]) for run in series.runs)
    last = min(float(run.evaluations.frames[-1]) for run in series.runs)
    last = first if all(len(run.evaluations.frames) == 1 for run in series.runs) else last
    frames = np.unique(np.linspace(first, last, 50)) if last >= first else np.array([])
    points = []
    for at in frames:
        scores: dict[str, list[float]] = {}
        for run in series.runs:
            value = float(np.interp(at, run.evaluations.frames, run.evaluations.scores))
            scores.setdefault(run.game, []).append(value)
        points.append(aggregate(scores, repetitions=1).rows())
    return frames, points


def _dots(frames: NDArray[np.float64]) -> str:
    """A line of one or two points would hardly be seen."""
    return ".-" if len(frames) <= 3 else "-"


def _mean_curve(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    last = min(curve.frames[-1] for curve in curves)
    frames = np.unique(np.concatenate([curve.frames for curve in curves]))
    frames = frames[frames <= last]
    return frames, np.mean([np.interp(frames, c.frames, c.scores) for c in curves], axis=0)


def _smooth(episodes: Curve) -> Curve:
    """Running mean over a tenth of the episodes, thinned out to some thirty points."""
    width = max(1, len(episodes.frames) // 10)
    scores = _running_mean(episodes.scores, width)
    at = np.unique(np.linspace(min(width, len(scores)) - 1, len(scores) - 1, 32).astype(int))
    return Curve(episodes.frames[at], episodes.minutes[at], scores[at])


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Returns the mean of the last `width` values at each place, of fewer at the beginning."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - width)
    return np.asarray((sums[ends] - sums[begins]) / (ends - begins))


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
