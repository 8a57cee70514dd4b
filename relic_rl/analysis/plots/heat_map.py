"""A heat map of shares: what is kept of a score under each corruption."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from relic_rl.analysis.plots.style import INK, SOFT, styled
from relic_rl.analysis.robustness import Heat

_COLOURS = LinearSegmentedColormap.from_list("kept", ["#f6d9c9", "#f7f3ee", "#9dbfdf", "#1b5e9e"])
_DARK = 0.8
"""From this share on, letters are white."""


@styled
def heat_map(heat: Heat) -> Figure:
    """A cell for each share, with its percentage; the rows of one game stand together.

    No share leaves a cell empty; colours end at 0 and 1.
    """
    rows, columns = heat.rows, heat.corruptions
    names = list(dict.fromkeys(label for _, label in rows))
    starts = [row for row, (game, _) in enumerate(rows) if row == 0 or rows[row - 1][0] != game]
    labels = [
        game if len(names) == 1 else f"{game}   {label}" if row in starts else label
        for row, (game, label) in enumerate(rows)
    ]
    longest = max(map(len, labels))
    width = max(0.9 + 0.066 * longest + 0.48 * len(columns), 3.6)  # the axis' label is wide
    size = (width, 1.2 + 0.24 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    values = np.array(heat.shares, np.float64)
    axis.imshow(values, cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(np.isfinite(values)):
        share = values[row, column]
        axis.text(
            column,
            row,
            f"{round(100 * share)}",
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if share >= _DARK else INK,
        )
    axis.set_xticks(
        range(len(columns)),
        [name.replace("_", " ") for name in columns],
        rotation=40,
        ha="left",
        rotation_mode="anchor",
        fontsize=8,
    )
    axis.set_yticks(range(len(rows)), labels, fontsize=8, color=INK)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    if len(names) > 1:
        for start in starts[1:]:
            axis.axhline(start - 0.5, color="white", lw=3)
    figure.supxlabel("percent of the score above random play that is kept", fontsize=9, color=SOFT)
    return figure
