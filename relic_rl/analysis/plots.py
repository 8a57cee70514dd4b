"""The figures of a report, each a `matplotlib.figure.Figure`, drawn without a display.

Every figure says what it shows: frames or minutes below, units at the axes, human and random play
as lines. Human-normalized scores are in percent, linear up to the human's 100 and logarithmic
beyond, because games differ by a factor of ten thousand. `save_figure` writes PNG and SVG, the
same bytes for the same data.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from envs.games import ATARI57, Game
from relic_rl.analysis.runs import Curve, Run, Series
from relic_rl.analysis.scores import Estimate, aggregate, human_normalized

COLOURS = ("#1b5e9e", "#c8552b", "#2e8b6d", "#8a5aa8", "#b58a13", "#4a4a4a")
_PUBLISHED_COLOURS = ("#7a7a7a", "#b0885a", "#6c9a8b", "#9a86b0", "#a0a0a0", "#c9b27a")
_INK, _FAINT = "#333333", "#9a9a9a"
_STYLE: Any = {  # matplotlib types the keys, one by one
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.8,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "relic-rl",
}
# Percent of human: linear to 100, logarithmic beyond, ticks where a reader looks for them.
_PERCENT_TICKS = (-100, 0, 50, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
_LABEL_PLACE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "xytext": (4, 0),
    "textcoords": "offset points",
    "fontsize": 8,
}
_P = ParamSpec("_P")


def _styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes `stem`.png and `stem`.svg and returns their paths."""
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    with mpl.rc_context(_STYLE):
        figure.savefig(png, dpi=150, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None})
    return png, svg


@_styled
def learning_curve(run: Run) -> Figure:
    """One run: scores of evaluations and training episodes, against frames and minutes."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    game = ATARI57[run.game]
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, unit in ((left, "frames"), (right, "minutes")):
        x = getattr(run.episodes, unit)
        axis.plot(x, run.episodes.scores, ".", ms=2.5, color=_FAINT, alpha=0.5, mew=0, zorder=1)
        width = max(1, len(x) // 50)
        if len(x) >= 10:
            smooth = _running_mean(run.episodes.scores, width)
            axis.plot(x, smooth, color=_FAINT, lw=1.4, label=f"training, mean of {width} episodes")
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
    left.xaxis.set_major_formatter(FuncFormatter(_short))
    left.yaxis.set_major_formatter(FuncFormatter(_short))
    right.xaxis.set_major_locator(MaxNLocator(5))  # long numbers: a run may take seconds
    left.set(xlabel="environment frames", ylabel="score", title=f"{run.game}, seed {run.seed}")
    right.set(xlabel="minutes of training")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5
    )
    return figure


@_styled
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
    figure = Figure(figsize=(8.2, 1.5 + 0.185 * max(4, len(rows))), layout="constrained")
    axis = figure.subplots()
    y = np.arange(len(rows))
    values = [100 * human_normalized(game, bars[game]) for game in rows]
    tint = [COLOURS[0] if value >= 100 else "#8fb3d6" for value in values]
    axis.barh(y, values, color=tint, height=0.68)
    marks = [
        _marks(axis, rows, scores, "o", colour, label)
        for (label, scores), colour in zip(others, COLOURS[1:], strict=False)
    ]
    marks += [
        _marks(axis, rows, scores, "Ds^vPX"[i % 6], _PUBLISHED_COLOURS[i % 6], label)
        for i, (label, scores) in enumerate(published.items())
    ]
    shown = [*values, *(x for mark in marks for x in np.asarray(mark.get_xdata()))]
    axis.axvline(0, color=_FAINT, lw=0.8)
    axis.axvline(100, color=_INK, lw=1.2)
    _percent_axis(axis)
    axis.set_xlim(min(-5.0, 1.1 * min(shown)), max(130.0, 1.25 * max(shown)))
    axis.set_yticks(y, rows, fontsize=8)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("human-normalized score (%): 0 random, 100 human, logarithmic beyond")
    handles = [Patch(color=COLOURS[0], label=first), *marks]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8.5)
    return figure


@_styled
def learning_grid(series: Sequence[Series]) -> Figure:
    """Small multiples: evaluations of every game and seed, one colour a series."""
    games = [game for game in ATARI57 if any(run.game == game for s in series for run in s.runs)]
    columns = min(len(games), 6 if len(games) > 12 else 4)
    rows = math.ceil(len(games) / columns)
    figure = Figure(figsize=(2.15 * columns + 0.4, 1.6 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axis, game in zip(axes, games, strict=False):
        shown = []
        for colour, one in zip(COLOURS, series, strict=False):
            runs = [run for run in one.runs if run.game == game]
            for run in runs:
                curve = run.evaluations
                thin = {"lw": 0.8, "alpha": 0.6} if len(runs) > 1 else {"lw": 1.5}
                axis.plot(curve.frames, curve.scores, _dots(curve.frames), color=colour, **thin)
                shown.append(curve.scores)
            if len(runs) > 1:
                frames, mean = _mean_curve([run.evaluations for run in runs])
                axis.plot(frames, mean, _dots(frames), color=colour, lw=1.8)
        _reference_lines(axis, ATARI57[game], np.concatenate(shown), labels=False)
        axis.set_title(game, fontsize=8, fontweight="normal", pad=3)
        axis.tick_params(labelsize=6.5, length=2)
        axis.xaxis.set_major_formatter(FuncFormatter(_short))
        axis.yaxis.set_major_formatter(FuncFormatter(_short))
        axis.locator_params(nbins=4)
    for axis in axes[len(games) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(games) - columns) : len(games)]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel(
        "environment frames; evaluation score, dashed: human, dotted: random", fontsize=8.5
    )
    if len(series) > 1:
        lines = [
            Line2D([], [], color=colour, label=one.label)
            for colour, one in zip(COLOURS, series, strict=False)
        ]
        figure.legend(handles=lines, loc="outside upper center", ncols=6)
    return figure


@_styled
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
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axis = figure.subplots()
    x = 100 * thresholds
    for i, (label, curve) in enumerate(published.items()):
        axis.plot(x, curve.value, **_published_line(i), label=label)
    for colour, (label, curve) in zip(COLOURS, series.items(), strict=False):
        axis.plot(x, curve.value, color=colour, label=label)
        if curve.low is not None and curve.high is not None:
            axis.fill_between(x, curve.low, curve.high, color=colour, alpha=0.2, lw=0)
    axis.axvline(100, color=_INK, lw=1.0)
    _percent_axis(axis)
    axis.set_xlim(0, x[-1])
    axis.set_ylim(0, 1.02)
    axis.set(xlabel="human-normalized score τ (%)", ylabel="fraction of runs with score > τ")
    axis.legend(loc="upper right", fontsize=8.5)
    return figure


@_styled
def aggregate_curves(
    series: Sequence[Series], published: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Capped mean, median and IQM over games against frames, where every run has evaluations.

    Args:
      series: those without a frame that all their runs have passed are left out.
      published: label → game → raw final score, as level lines.
    """
    panels = (("capped_mean", "capped mean (%)"), ("median", "median (%)"), ("iqm", "IQM (%)"))
    figure = Figure(figsize=(10, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    for colour, one in zip(COLOURS, series, strict=False):
        frames, points = _aggregates_over_frames(one)
        for axis, (row, _) in zip(axes, panels, strict=True):
            values = [point[row] for point in points]
            axis.plot(frames, values, _dots(frames), color=colour, label=one.label)
    for i, (label, scores) in enumerate(published.items()):
        final = aggregate(scores).rows()
        for axis, (row, _) in zip(axes, panels, strict=True):
            axis.axhline(final[row], **_published_line(i), label=label)
    for axis, (_, title) in zip(axes, panels, strict=True):
        axis.set(xlabel="environment frames", title=title)
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_formatter(FuncFormatter(_short))
        axis.yaxis.set_major_formatter(FuncFormatter(_short))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8.5)
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
    style: dict[str, Any] = {"ms": 4.5, "mfc": "white", "mew": 1.1, "clip_on": False}
    return axis.plot(x, at, marker, color=colour, label=label, **style)[0]


def _published_line(i: int) -> dict[str, Any]:
    dashes = ("--", "-.", ":")[i % 3]
    return {"ls": dashes, "lw": 1.3, "color": _PUBLISHED_COLOURS[i % len(_PUBLISHED_COLOURS)]}


def _aggregates_over_frames(series: Series) -> tuple[NDArray[np.float64], list[dict[str, float]]]:
    """Returns up to 50 frame counts that all runs have passed, and the aggregate rows at each."""
    first = max(float(run.evaluations.frames[0]) for run in series.runs)
    last = min(float(run.evaluations.frames[-1]) for run in series.runs)
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
    axis.axhline(game.random, color=_FAINT, lw=1.0, ls=":")
    if near:
        axis.axhline(game.human, color=_INK, lw=1.0, ls="--")
    else:
        axis.text(
            1.0,
            1.02 if labels else 0.12,
            f"human {_short(game.human)} {'↑' if game.human > high else '↓'}",
            transform=axis.transAxes,
            ha="right",
            va="bottom",
            fontsize=8 if labels else 6.5,
            color="#6a6a6a",
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


def _percent_axis(axis: Axes) -> None:
    axis.set_xscale("symlog", linthresh=100, linscale=1.3)
    axis.set_xticks(_PERCENT_TICKS, [_short(tick) for tick in _PERCENT_TICKS])
    axis.minorticks_off()


def _short(value: float, _: object = None) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
