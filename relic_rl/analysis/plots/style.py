"""How all figures look and are saved: colours, type, scales, how a number is written at an axis.

Each is a `matplotlib.figure.Figure`, drawn without a display; the same data gives the same bytes.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

COLOURS = (
    "#1b5e9e",
    "#2e8b6d",
    "#8a5aa8",
    "#b03a5b",
    "#5a6b1f",
    "#2f4858",
    "#4aa3df",
    "#7cc47f",
    "#c9a0dc",
    "#e58aa0",
    "#a9b665",
    "#111111",
)
"""Of a reader's own series; beyond these they repeat."""
PUBLISHED_COLOURS = ("#d9762b", "#7b8794", "#c2477f", "#a68a12", "#3c9aa6", "#9a6b4f")
PUBLISHED_MARKERS = "Ds^vPX"
INK, SOFT, FAINT = "#1c2530", "#5d6b7a", "#a3adb8"
BELOW_HUMAN = {"#1b5e9e": "#9dbfdf", "#2e8b6d": "#a9d6c7"}
"""The light tints of the first colours."""
_STYLE: Any = {  # matplotlib types the keys, one by one
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9edf1",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a run may be called anything
    "svg.hashsalt": "relic-rl",
}
_PARAMETERS: Any = {  # all of them, or a user's would show; the backend is named when saving
    **{name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"},
    **_STYLE,
}
# Percent of human: linear to 100, logarithmic beyond, ticks where a reader looks for them.
_PERCENT_TICKS = (-10_000, -1000, -300, -100, 0, 50, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
_LEGEND_ROW_INCHES = 0.18
styled = mpl.rc_context(_PARAMETERS)
"""Draws a figure in the style of all: a decorator."""


def short(value: float, _: object = None) -> str:
    """A number as an axis shows it: 12.5k, 200M; a formatter of matplotlib."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def percent_axis(axis: Axes, *, top: bool = False) -> None:
    """A horizontal axis of human-normalized scores in percent; `top`: with labels there, too."""
    axis.set_xscale("symlog", linthresh=100, linscale=1.3)
    axis.set_xticks(_PERCENT_TICKS, [short(tick) for tick in _PERCENT_TICKS])
    axis.minorticks_off()
    axis.tick_params(axis="x", length=0, labeltop=top)


def legend(
    figure: Figure,
    handles: Sequence[Artist],
    place: Literal["outside upper center", "outside lower center"],
    *,
    columns: int,
) -> None:
    """One that shows every handle: matplotlib leaves out labels that begin with an underscore."""
    made = figure.legend(handles, [" "] * len(handles), loc=place, ncols=columns)
    for text, handle in zip(made.get_texts(), handles, strict=True):
        text.set_text(str(handle.get_label()))


def legend_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """One in as many columns as the figure is wide enough for; each further row makes it taller."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(max(int(figure.get_figwidth() / (0.6 + 0.06 * longest)), 1), 6)
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW_INCHES * (rows - 1))
    legend(figure, handles, "outside upper center", columns=columns)


def published_line(i: int) -> dict[str, Any]:
    """The look of the i-th published method as a line."""
    dashes = ((0, (5, 2)), (0, (5, 2, 1, 2)), (0, (1, 1.5)))[i % 3]
    return {"ls": dashes, "lw": 1.3, "color": PUBLISHED_COLOURS[i % len(PUBLISHED_COLOURS)]}


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes `stem`.png and `stem`.svg and returns their paths; both are drawn before."""
    drawn, svg = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(_PARAMETERS):
        figure.savefig(drawn, format="png", backend="agg", dpi=150, metadata={"Software": None})
        figure.set_layout_engine("none")  # laid out by now: that is a third of the work
        figure.savefig(svg, format="svg", backend="svg", dpi=150, metadata={"Date": None})
    # A few colours and their blends: a palette holds them in a third of the bytes.
    palette = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    png = io.BytesIO()
    palette.save(png, format="PNG", optimize=True)
    files = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    for file, content in zip(files, (png, svg), strict=True):
        file.write_bytes(content.getvalue())
    return files
