"""Draws curves_two_cores.png from the CSVs beside it, evaluations and training episodes."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from envs.games import ATARI57
from relic_rl.analysis.plots.style import COLOURS, FAINT, INK, SOFT, short, styled

HERE = Path(__file__).parent
SMOOTHED_BINS = 5
"""Of 40,000 frames each."""


def rows(name: str) -> list[dict[str, str]]:
    """A CSV's lines."""
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def training(curve: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, minutes and running means of the training episodes' scores."""
    table = rows(f"{curve}_two_cores_60_minutes.csv")
    columns = ("env_frames", "minutes", "mean_score", "episodes")
    frames, minutes, means, counts = np.array([[float(row[c]) for c in columns] for row in table]).T
    sums = np.cumsum(np.pad([means * counts, counts], ((0, 0), (SMOOTHED_BINS, 0))), axis=1)
    scores, episodes = sums[:, SMOOTHED_BINS:] - sums[:, :-SMOOTHED_BINS]
    return frames, minutes, scores / episodes


@styled
def draw() -> Figure:
    """A column a game: scores against frames above, against minutes below."""
    curves = defaultdict(list)
    for row in rows("two_cores_evaluations.csv"):
        curves[row["game"], row["curve"]].append((float(row["minutes"]), float(row["score"])))
    games = list(dict.fromkeys(game for game, _ in curves))
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    axes = figure.subplots(2, len(games), sharey="col")
    for (above, below), name in zip(axes.T, games, strict=True):
        seeds = [curve for game, curve in curves if game == name]
        for curve, colour in zip(seeds, (COLOURS[0], COLOURS[3]), strict=False):
            frames, minutes, scores = training(curve)
            at, evaluated = zip(*curves[name, curve], strict=True)
            for axis, x, marks in (
                (above, frames, np.interp(at, minutes, frames)),
                (below, minutes, at),
            ):
                axis.plot(x, scores, color=colour, lw=1.0, alpha=0.5)
                axis.plot(marks, evaluated, "o-", color=colour, ms=4, lw=1.6)
        for axis in (above, below):
            axis.axhline(ATARI57[name].human, color=INK, lw=1.0, ls="--")
            axis.axhline(ATARI57[name].random, color=FAINT, lw=1.0, ls=":")
            axis.set_xlim(left=0)
            axis.yaxis.set_major_formatter(FuncFormatter(short))
        above.xaxis.set_major_formatter(FuncFormatter(short))
        above.set(title=name, xlabel="frames")
        below.set(xlabel="minutes", xticks=range(0, 61, 15))
    axes[0, 0].set_ylabel("score")
    axes[1, 0].set_ylabel("score")
    looks = (
        ("evaluation, seed 0", {"color": COLOURS[0], "marker": "o"}),
        ("evaluation, seed 1", {"color": COLOURS[3], "marker": "o"}),
        ("training, exploring", {"color": SOFT, "lw": 1.0, "alpha": 0.5}),
        ("human", {"color": INK, "lw": 1.0, "ls": "--"}),
        ("random", {"color": FAINT, "lw": 1.0, "ls": ":"}),
    )
    handles = [Line2D([], [], label=label, **look) for label, look in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


if __name__ == "__main__":
    draw().savefig(HERE / "curves_two_cores.png", dpi=90, metadata={"Software": None})
