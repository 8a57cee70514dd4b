"""Draws curves.png from the CSVs beside it: training episodes and evaluations, a column a game."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from envs.games import ATARI57
from envs.registry import find_environment
from relic_rl.analysis.plots.style import COLOURS, FAINT, INK, SOFT, short, styled

HERE = Path(__file__).parent
SMOOTHED_BINS = 5
"""Of 40,000 frames each."""
SEED_COLOURS = (COLOURS[0], COLOURS[3])

Curve = tuple[np.ndarray, np.ndarray]
"""Frames and scores."""


def rows_of(name: str) -> dict[tuple[str, str], list[dict[str, str]]]:
    """A CSV's lines by game and seed."""
    found = defaultdict(list)
    with (HERE / name).open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["game"], row["seed"]].append(row)
    return found


def training(rows: list[dict[str, str]]) -> Curve:
    """Running means of the training episodes' scores."""
    columns = ("env_frames", "mean_score", "episodes")
    frames, means, counts = np.array([[float(row[c]) for c in columns] for row in rows]).T
    sums = np.cumsum(np.pad([means * counts, counts], ((0, 0), (SMOOTHED_BINS, 0))), axis=1)
    scores, episodes = sums[:, SMOOTHED_BINS:] - sums[:, :-SMOOTHED_BINS]
    return frames, scores / episodes


def evaluated(rows: list[dict[str, str]]) -> Curve:
    """Mean scores of the evaluations."""
    frames, scores = np.array([(float(r["env_frames"]), float(r["mean_score"])) for r in rows]).T
    return frames, scores


@styled
def draw() -> Figure:
    """Scores against frames."""
    trained, judged = rows_of("training.csv"), rows_of("evaluations.csv")
    games = list(dict.fromkeys(game for game, _ in judged))
    figure = Figure(figsize=(2.4 * len(games), 2.6), layout="constrained")
    for axis, game in zip(figure.subplots(1, len(games), squeeze=False)[0], games, strict=True):
        seeds = [seed for name, seed in judged if name == game]
        for seed, colour in zip(seeds, SEED_COLOURS, strict=False):
            axis.plot(*training(trained[game, seed]), color=colour, lw=1.0, alpha=0.5)
            axis.plot(*evaluated(judged[game, seed]), "o-", color=colour, ms=4, lw=1.6)
        name = find_environment(game).name
        axis.axhline(ATARI57[name].human, color=INK, lw=1.0, ls="--")
        axis.axhline(ATARI57[name].random, color=FAINT, lw=1.0, ls=":")
        axis.set_xlim(left=0)
        axis.xaxis.set_major_formatter(FuncFormatter(short))
        axis.yaxis.set_major_formatter(FuncFormatter(short))
        axis.set(title=name, xlabel="frames")
    looks = (
        ("evaluation, seed 0", {"color": SEED_COLOURS[0], "marker": "o"}),
        ("evaluation, seed 1", {"color": SEED_COLOURS[1], "marker": "o"}),
        ("training, exploring", {"color": SOFT, "lw": 1.0, "alpha": 0.5}),
        ("human", {"color": INK, "lw": 1.0, "ls": "--"}),
        ("random", {"color": FAINT, "lw": 1.0, "ls": ":"}),
    )
    handles = [Line2D([], [], label=label, **look) for label, look in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


if __name__ == "__main__":
    draw().savefig(HERE / "curves.png", dpi=90, metadata={"Software": None})
