"""What probes found over training: a row of panels for each game, a panel for each quantity."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relic_rl.analysis.plots.style import COLOURS, INK, SOFT, legend_above, short, styled
from relic_rl.analysis.probe_tables import PROBED, QUANTITIES, ProbeCurve

_LOWEST_R2 = -0.25
"""What is below is off the panel, unless all is: on few episodes pixels can go to -100."""
_LOOKS: dict[str, dict[str, Any]] = {
    "encoder": {"lw": 1.8},
    "lstm": {"lw": 1.4, "ls": (0, (3, 1.2))},
    "random_encoder": {"lw": 1.0, "ls": "--", "color": INK},
    "pixels": {"lw": 1.0, "ls": ":", "color": SOFT},
}
"""What is learned has the colour of its series."""


@styled
def probe_curves(curves: Sequence[ProbeCurve], labels: Sequence[str]) -> Figure:
    """The mean over seeds of everything that was probed, against frames; bands where it has some.

    Args:
      curves: at least one; without one that ends a panel stays empty.
      labels: of all series of the report, whose colours are in this order.
    """
    colours = dict(zip(labels, cycle(COLOURS), strict=False))
    games = list(dict.fromkeys(curve.game for curve in curves))
    size = (1.85 * len(QUANTITIES) + 0.3, 1.45 * len(games) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(games), len(QUANTITIES), squeeze=False, sharex=True)
    for row, game in zip(axes, games, strict=True):
        for axis, quantity in zip(row, QUANTITIES, strict=True):
            shown = [one for one in curves if (one.game, one.quantity) == (game, quantity)]
            _draw(axis, shown, colours)
            axis.set_title(QUANTITIES[quantity], fontsize=8.5, fontweight="normal", pad=3)
        row[0].set_ylabel(game)
    axes[0, 0].set_xlim(left=0)  # all panels': not before the last is drawn, it fixes the right end
    figure.supxlabel("environment frames", fontsize=8.5, color=SOFT)
    arms = [label for label in labels if any(one.label == label for one in curves)]
    own = colours[arms[0]] if len(arms) == 1 else SOFT
    handles = [Line2D([], [], color=colours[arm], label=arm) for arm in arms if len(arms) > 1]
    for name, words in PROBED.items():
        if any(one.representation == name for one in curves):
            handles.append(Line2D([], [], label=words, **{"color": own, **_LOOKS[name]}))
    legend_above(figure, handles)
    return figure


def _draw(axis: Axes, curves: Sequence[ProbeCurve], colours: dict[str, str]) -> None:
    for one in curves:
        look = {"color": colours.get(one.label), **_LOOKS[one.representation]}
        axis.plot(one.frames, one.mean.value, **look)
        if one.label and one.mean.low is not None and one.mean.high is not None:
            axis.fill_between(
                one.frames, one.mean.low, one.mean.high, color=look["color"], alpha=0.15, lw=0
            )
    if any(one.quantity == "r2" for one in curves):
        bottom, top = axis.get_ylim()
        lowest = bottom if top <= _LOWEST_R2 else max(bottom, _LOWEST_R2)
        axis.set_ylim(lowest, min(top, 1.0))
    axis.tick_params(labelsize=7, length=0, pad=2)
    axis.xaxis.set_major_formatter(short)
    axis.yaxis.set_major_formatter(short)
    axis.locator_params(nbins=4)
