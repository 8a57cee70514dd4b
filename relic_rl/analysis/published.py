"""Published scores on the 57 games, as their papers print them: numbers to compare with.

`published_scores.csv` holds one row a game and one column a method, raw game scores. All were
evaluated with up to 30 no-op starts, without sticky actions, on episodes of at most 108,000
frames; none of them under Machado et al.'s protocol. Training lengths differ by a factor of
thousands: name them (`Method.frames`) wherever two methods stand side by side. Which scores of a
training run the R2D2 paper's table has is said in its caption.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

DEFAULT_AGAINST = ("relic", "r2d2")
"""What a report compares with unless told."""

_FILE = Path(__file__).parent / "published_scores.csv"
_RELIC_PAPER = "Mitrovic et al., ICLR 2021 (arXiv 2010.07922), Table 10"
_R2D2_PAPER = "Kapturowski et al., ICLR 2019, Table 4"
_AGENT57_PAPER = "Badia et al., ICML 2020 (arXiv 2003.13350), appendix H.4"


@dataclass(frozen=True, slots=True)
class Method:
    """One column of the published scores."""

    name: str
    """As a legend shows it."""
    source: str
    """The paper and its table."""
    frames: str
    """Training length per game, in words; not every paper states it."""
    selection: str = "whether final or best scores is not stated"
    """Which of a training run's scores it is, in words."""


METHODS: dict[str, Method] = {
    "relic": Method("ReLIC", _RELIC_PAPER, "about 15 billion frames"),
    "simclr": Method("SimCLR", _RELIC_PAPER, "about 15 billion frames"),
    "curl": Method("CURL", _RELIC_PAPER, "about 15 billion frames"),
    "byol": Method("BYOL", _RELIC_PAPER, "about 15 billion frames"),
    "augmentation": Method("Augmentation", _RELIC_PAPER, "about 15 billion frames"),
    "r2d2": Method(
        "R2D2",
        _R2D2_PAPER,
        "37.5 billion frames, as MuZero's Table 1 quotes it",
        "final scores, mean of 3 seeds",
    ),
    "apex": Method(
        "Ape-X",
        _R2D2_PAPER,
        "22.8 billion frames, as MuZero's Table 1 quotes it",
        "the best of training, 1 seed",
    ),
    "reactor": Method("Reactor", _R2D2_PAPER, "a length not stated there", "final scores"),
    "agent57": Method(
        "Agent57",
        _AGENT57_PAPER,
        "up to 90 billion frames",
        "the best of training, mean of 6 seeds",
    ),
    "muzero": Method(
        "MuZero",
        f"{_AGENT57_PAPER}, without the extra digit printed for Asteroids and BeamRider",
        "20 billion frames, as MuZero's Table 1 states it",
    ),
}


def published_scores(method: str) -> dict[str, float]:
    """Returns game (as in `envs.games.ATARI57`) → raw score, for all 57 games.

    Raises:
      ValueError: if the method is not a key of `METHODS`.
    """
    if method not in METHODS:
        raise ValueError(
            f"no published scores for {method!r}: give a .csv file, or of {', '.join(METHODS)}"
        )
    with _FILE.open(newline="", encoding="utf-8") as file:
        return {row["game"]: float(row[method]) for row in csv.DictReader(file)}
