"""Judges the pairs of scores.csv and training.csv as what-the-encoder-sees.md, section 6, has it.

python docs/evidence/disturbed/pairs.py            # prints the table and draws kept.png
"""

import csv
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from envs.games import find_game

HERE = Path(__file__).parent
DISTURBANCES = ("shift", "light", "noise")
SLOWER = 1.122
"""Time of a run of `disturbed_relic` over that of `none`, on an otherwise idle machine."""
FRAMES = 400_000
Figures = dict[tuple[str, str, str], float]  # by game, seed, arm


def read(name: str) -> list[dict[str, str]]:
    """The rows of a table beside this file."""
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def scores(column: str) -> Figures:
    """A column of scores.csv."""
    return {
        (row["game"], row["seed"], row["arm"]): float(row[column]) for row in read("scores.csv")
    }


def training(frames: float) -> Figures:
    """Mean score of all episodes that ended by then, each weighted by its steps; interpolated."""
    curves: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in read("training.csv"):
        point = (float(row["env_frames"]), float(row["mean_score"]))
        curves.setdefault((row["game"], row["seed"], row["arm"]), []).append(point)
    return {
        key: float(np.interp(frames, *zip(*curve, strict=True))) for key, curve in curves.items()
    }


def in_units(figures: Figures, unit: Figures) -> Figures:
    """Less random play, over the mean of `none` in the unit's figures, game by game."""
    out = {}
    for (game, seed, arm), figure in figures.items():
        random = find_game(game).random
        nones = [value for (g, _, a), value in unit.items() if (g, a) == (game, "none")]
        out[game, seed, arm] = (figure - random) / (np.mean(nones) - random)
    return out


def pairs(of: Figures, against: Figures, arms: tuple[str, str]) -> dict[str, list[float]]:
    """Differences by game, of the seeds that both arms have."""
    first, second = arms
    found: dict[str, list[float]] = {}
    for (game, seed, arm), figure in of.items():
        if arm == first and (game, seed, second) in against:
            found.setdefault(game, []).append(figure - against[game, seed, second])
    return found


def sign_flip(differences: NDArray[np.float64]) -> float:
    """Two-sided p: the share of all signs whose mean is as far from 0."""
    means = [
        abs(float(np.dot(signs, differences)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return float(np.mean(np.array(means) >= abs(differences.sum()) - 1e-12))


def interval(of: Figures, against: Figures, arms: tuple[str, str]) -> tuple[float, float]:
    """95 % bootstrap of the difference of means: seeds drawn within each game and arm."""
    rng = np.random.default_rng(0)
    both = {(g, s) for g, s, a in of if a == arms[0]} & {
        (g, s) for g, s, a in against if a == arms[1]
    }
    games = sorted({game for game, _ in both})
    draws = np.zeros(10_000)
    for game in games:
        for figures, arm, sign in ((of, arms[0], 1), (against, arms[1], -1)):
            values = np.array([figures[g, s, arm] for g, s in sorted(both) if g == game])
            drawn = rng.choice(values, (len(draws), len(values)))
            draws += sign * drawn.mean(axis=1) / len(games)
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def report(name: str, of: Figures, against: Figures, arms: tuple[str, str]) -> None:
    """Prints what the pairs of two arms say."""
    by_game = pairs(of, against, arms)
    all_of_them = np.concatenate([np.array(values) for values in by_game.values()])
    low, high = interval(of, against, arms)
    print(f"{name}: {' - '.join(arms)}, {len(all_of_them)} pairs")
    print(f"  mean {all_of_them.mean():+.3f}, 95 % {low:+.3f} to {high:+.3f}, ", end="")
    print(f"p {sign_flip(all_of_them):.5f}, {np.mean(all_of_them > 0):.2f} of the pairs above 0")
    print("  " + ", ".join(f"{game} {np.mean(values):+.2f}" for game, values in by_game.items()))


def without_road_runner(of: Figures) -> Figures:
    """The other three games: there LayerNorm holds `none` back (lab-notes/layer-norm.md)."""
    return {key: figure for key, figure in of.items() if key[0] != "road_runner"}


def draw(kept: Figures, file: Path) -> None:
    """A bar for each game and arm, a dot for each seed."""
    import matplotlib.pyplot as plt

    games = sorted({game for game, _, _ in kept})
    arms = ("none", "no_loss", "disturbed_relic")
    figure, axes = plt.subplots(figsize=(7, 3))
    for i, arm in enumerate(arms):
        for x, game in enumerate(games):
            values = [v for (g, _, a), v in kept.items() if (g, a) == (game, arm)]
            label = arm if x == 0 else None
            axes.bar(
                x + (i - 1) * 0.27, np.mean(values), 0.25, color=f"C{i}", alpha=0.5, label=label
            )
            axes.plot([x + (i - 1) * 0.27] * len(values), values, ".", color=f"C{i}")
    axes.set_xticks(range(len(games)), [find_game(game).name for game in games])
    axes.set_ylabel("disturbed score,\nundisturbed `none` = 1")
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def mean_of(columns: tuple[str, ...], unit: Figures) -> Figures:
    """The mean of several columns, each in units."""
    every = [in_units(scores(column), unit) for column in columns]
    return {key: float(np.mean([figures[key] for figures in every])) for key in every[0]}


def main() -> None:
    """Prints and draws all."""
    undisturbed, trained = scores("undisturbed"), training(FRAMES)
    kept = mean_of(DISTURBANCES, undisturbed)
    figures = {
        "disturbed": kept,
        **{name: mean_of((name,), undisturbed) for name in DISTURBANCES},
        "undisturbed": in_units(undisturbed, undisturbed),
        "training, equal frames": in_units(trained, trained),
    }
    for arms in (("disturbed_relic", "none"), ("disturbed_relic", "no_loss"), ("no_loss", "none")):
        for name, of in figures.items():
            report(name, of, of, arms)
            fewer = without_road_runner(of)
            report(f"{name}, without Road Runner", fewer, fewer, arms)
    shorter = in_units(training(FRAMES / SLOWER), trained)
    against = figures["training, equal frames"]
    report("training, equal minutes", shorter, against, ("disturbed_relic", "none"))
    draw(kept, HERE / "kept.png")


if __name__ == "__main__":
    main()
