"""Figures of final scores: each game's, and how many runs reach which.

Human-normalized scores are in percent, linear up to the human's 100 and logarithmic beyond, because
games differ by a factor of ten thousand.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from relic_rl.analysis.plots.style import (
    BELOW_HUMAN,
    COLOURS,
    FAINT,
    INK,
    PUBLISHED_COLOURS,
    PUBLISHED_MARKERS,
    SOFT,
    percent_axis,
    published_line,
    styled,
)
from relic_rl.analysis.scores import Estimate, human_normalized


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
