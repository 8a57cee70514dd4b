"""What runs keep under corruptions of ImageNet-C, score in other modes, and know of the game.

python docs/evidence/disturbed/corrupted.py        # prints the tables and draws corrupted.png
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pairs import Figures, in_units, read, report, without_road_runner

from envs.corruptions import CORRUPTIONS
from envs.games import find_game

HERE = Path(__file__).parent
ARMS = ("none", "no_loss", "alpha_0", "disturbed_relic")
PAIRS = (
    ("disturbed_relic", "none"),
    ("disturbed_relic", "no_loss"),
    ("disturbed_relic", "alpha_0"),
    ("alpha_0", "none"),
    ("alpha_0", "no_loss"),
    ("no_loss", "none"),
)
TRAINED_UNDER = ("shift", "light", "gaussian_noise")
"""Or nearly: the disturbances of all arms but `none` are of this kind."""


def scores() -> dict[str, Figures]:
    """Of each corruption, in the default mode; `none` is clean."""
    found: dict[str, Figures] = {}
    for row in read("corrupted.csv"):
        if (row["mode"], row["difficulty"]) == ("0", "0"):
            key = (row["game"], row["seed"], row["arm"])
            found.setdefault(row["corruption"], {})[key] = float(row["mean_score"])
    return found


def mean_over(names: Iterable[str], of: dict[str, Figures]) -> Figures:
    """The mean of several columns of figures."""
    every = [of[name] for name in names]
    return {key: float(np.mean([figures[key] for figures in every])) for key in every[0]}


def kept(corrupted: Figures, clean: Figures) -> Figures:
    """Of what an arm scores above random play on clean frames, over all its seeds: the share."""
    out = {}
    for (game, seed, arm), figure in corrupted.items():
        random = find_game(game).random
        own = [value for (g, _, a), value in clean.items() if (g, a) == (game, arm)]
        out[game, seed, arm] = (figure - random) / (np.mean(own) - random)
    return out


def modes() -> dict[str, Figures]:
    """Freeway's score in each mode and difficulty, uncorrupted."""
    found: dict[str, Figures] = {}
    for row in read("corrupted.csv"):
        if row["game"] == "freeway" and row["corruption"] == "none":
            key = (row["game"], row["seed"], row["arm"])
            found.setdefault(f"mode {row['mode']}", {})[key] = float(row["mean_score"])
    return found


def probes(representation: str, score: str) -> Figures:
    """The mean over Freeway's cars of what is read out; and the chicken's place, as a game."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in read("probes.csv"):
        kind = row["variable"].rstrip("_0123456789")
        if row["representation"] == representation and kind in ("enemy_car_x", "player_y"):
            found.setdefault((kind, row["seed"], row["arm"]), []).append(float(row[score]))
    return {key: float(np.mean(values)) for key, values in found.items()}


def by_game(figures: Figures) -> dict[str, Figures]:
    """A line for each game."""
    found: dict[str, Figures] = {}
    for key in sorted(figures):
        found.setdefault(key[0], {})[key] = figures[key]
    return found


def print_table(title: str, of: dict[str, Figures]) -> None:
    """A line for each column of figures: the mean over games and seeds of each arm."""
    print(f"\n{title:28s}" + "".join(f"{arm:>18s}" for arm in ARMS))
    for name, figures in of.items():
        values = [[v for (_, _, a), v in figures.items() if a == arm] for arm in ARMS]
        cells = [f"{np.mean(of_arm):18.2f}" if of_arm else f"{'-':>18s}" for of_arm in values]
        print(f"{name:28s}" + "".join(cells))


def draw(of: dict[str, Figures], file: Path) -> None:
    """A row of dots for each corruption: the mean over games and seeds of each arm."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.9), layout="constrained")
    names = list(of)[::-1]
    for i, arm in enumerate(ARMS):
        means = [np.mean([v for (_, _, a), v in of[name].items() if a == arm]) for name in names]
        axes.plot(means, range(len(names)), "osDo"[i], color=f"C{i}", label=arm, alpha=0.85)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.axvline(0, color="0.7", linewidth=0.8)
    axes.axvline(1, color="0.7", linewidth=0.8, linestyle="--")
    axes.set_xlabel("score above random play; what `none` scores on clean frames is 1")
    axes.grid(axis="y", color="0.9")
    figure.legend(loc="outside upper center", ncols=len(ARMS), frameon=False)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Prints and draws all."""
    of = scores()
    clean = of["none"]
    names = [name for name in CORRUPTIONS if name in of]
    unseen = [name for name in names if name not in TRAINED_UNDER]
    units = {name: in_units(of[name], clean) for name in ("none", *names)}
    print_table("in units of clean none", {"clean": units["none"], **{n: units[n] for n in names}})
    print_table("clean", by_game(units["none"]))
    for title, chosen in ((f"all {len(names)} corruptions", names), ("unseen ones", unseen)):
        figures = mean_over(chosen, units)
        print_table(title, by_game(figures))
        for arms in PAIRS:
            report(title, figures, figures, arms)
            fewer = without_road_runner(figures)
            report(f"{title}, without Road Runner", fewer, fewer, arms)
    shares = kept(mean_over(names, of), clean)
    print_table("kept of an arm's own score", {"all games": shares, **by_game(shares)})
    print_table("Freeway, points", modes())
    for representation in ("encoder", "lstm", "random_encoder", "pixels"):
        for score in ("r2", "f1"):
            print_table(f"{representation}, {score}", by_game(probes(representation, score)))
    draw({"clean": units["none"], **{name: units[name] for name in names}}, HERE / "corrupted.png")


if __name__ == "__main__":
    main()
