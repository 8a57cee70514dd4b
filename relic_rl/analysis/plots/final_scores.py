"""Figures of final scores: each game's, and how many runs reach which.

Human-normalized scores are in percent, linear up to the human's 100 and logarithmic beyond, because
games differ by a factor of ten thousand.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.artist import Artist
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
    legend,
    percent_axis,
    published_line,
    styled,
)
from relic_rl.analysis.scores import Estimate, human_normalized


@styled
def score_bars(
    series: Mapping[str, Mapping[str, float]], references: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Human-normalized score of each game, the games sorted by the first series that has them.

    One series, or two, are bars, with their percentages; of more the first one is, the others are
    marks like the references.

    Args:
      series: label → game → raw score; one may lack games of another.
      references: the same of what to compare with.
    """
    labels = list(series)
    barred = labels if len(labels) == 2 else labels[:1]
    first = {game: score for label in reversed(labels) for game, score in series[label].items()}
    rows = sorted(first, key=lambda game: human_normalized(game, first[game]))
    row_inches = 0.19 if len(barred) == 1 else 0.28
    figure = Figure(figsize=(9.6, 1.6 + row_inches * max(4, len(rows))), layout="constrained")
    axis = figure.subplots()
    colours = dict(zip(labels, cycle(COLOURS), strict=False))
    handles: list[Artist] = []
    shown: list[float] = []
    for place, label in enumerate(barred):
        percents, places = _percents(rows, series[label])
        offset = ((len(barred) - 1) / 2 - place) * 0.8 / len(barred)
        y = [row + offset for row in places]
        handles += _bars(axis, y, percents, colours[label], label, height=0.7 / len(barred))
        shown += percents
    looks = [(label, series[label], "o", colours[label]) for label in labels[len(barred) :]]
    looks += [
        (label, scores, PUBLISHED_MARKERS[i % 6], PUBLISHED_COLOURS[i % 6])
        for i, (label, scores) in enumerate(references.items())
    ]
    for label, scores, marker, colour in looks:
        percents, places = _percents(rows, scores)
        handles += axis.plot(
            percents,
            places,
            marker,
            color=colour,
            label=label,
            ms=4.6,
            mec="white",
            mew=0.7,
            clip_on=False,
        )
        shown += percents
    axis.axvline(0, color=FAINT, lw=1.0, zorder=0.5)
    axis.axvline(100, color=INK, lw=1.1)
    percent_axis(axis, top=len(rows) > 20)
    axis.set_xlim(min(-8.0, 1.15 * min(shown)), max(130.0, 1.3 * max(shown)))
    axis.set_yticks(range(len(rows)), rows, fontsize=8, color=INK)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    whose = f"; numbers: {labels[0]}" * (len(labels) > len(barred))
    axis.set_xlabel(
        "human-normalized score in percent: 0 random, 100 human, logarithmic beyond" + whose
    )
    legend(figure, handles, "outside upper center", columns=4)
    return figure


def _percents(games: Sequence[str], scores: Mapping[str, float]) -> tuple[list[float], list[int]]:
    """The percentages of those games that have a score, and their rows."""
    rows = [row for row, game in enumerate(games) if game in scores]
    return [100 * human_normalized(games[row], scores[games[row]]) for row in rows], rows


def _bars(
    axis: Axes,
    y: Sequence[float],
    percents: Sequence[float],
    colour: str,
    label: str,
    *,
    height: float,
) -> list[Artist]:
    """Draws a series, with its numbers at the right; returns what its legend shows."""
    tints = {"at or above human": colour, "below human": BELOW_HUMAN.get(colour, FAINT)}
    sides = ["at or above human" if percent >= 100 else "below human" for percent in percents]
    axis.barh(y, percents, color=[tints[side] for side in sides], height=height)
    for at, percent in zip(y, percents, strict=True):
        axis.annotate(
            f"{percent:,.1f} %" if abs(percent) < 99.95 else f"{percent:,.0f} %",
            (1.0, at),
            xycoords=("axes fraction", "data"),
            xytext=(48, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=INK if percent >= 100 else SOFT,
        )
    return [
        Patch(color=tint, label=f"{label}, {side}") for side, tint in tints.items() if side in sides
    ]


@styled
def profile(
    thresholds: NDArray[np.float64],
    series: Mapping[str, Estimate],
    references: Mapping[str, Estimate],
) -> Figure:
    """Performance profile: the fraction of runs above each human-normalized score.

    Args:
      thresholds: float64[N], fractions of the human score.
      series: label → the profile at the thresholds, with a band where there are many seeds.
      references: the same of what to compare with.
    """
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    axis = figure.subplots()
    x = 100 * thresholds
    lines: list[Line2D] = []
    for colour, (label, curve) in zip(cycle(COLOURS), series.items(), strict=False):
        lines += axis.plot(x, 100 * curve.value, color=colour, lw=2.2, label=label, zorder=3)
        if curve.low is not None and curve.high is not None:
            low, high = 100 * curve.low, 100 * curve.high
            axis.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    for i, (label, curve) in enumerate(references.items()):
        lines += axis.plot(x, 100 * curve.value, **published_line(i), label=label)
    axis.axvline(100, color=INK, lw=1.0)
    percent_axis(axis)
    axis.set_xlim(0, x[-1])
    axis.set_ylim(0, 102)
    axis.set(xlabel="human-normalized score τ in percent", ylabel="runs above τ, percent")
    legend(figure, lines, "outside upper center", columns=6)
    return figure
