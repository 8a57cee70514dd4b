"""Published scores, as papers and their data files have them: numbers to compare with.

Two benchmarks, each with a table beside this file:

- the 57 games: `published_scores.csv` holds a row per game and a column per method, raw scores. All
  were evaluated with up to 30 no-op starts, without sticky actions, on episodes of at most 108,000
  frames; none of them under Machado et al.'s protocol.
- Atari 100k, 26 of the games after 400,000 frames each: `atari100k_scores.csv` holds a row per
  method and game. Where a source has every run, its raw scores are all there, separated by blanks,
  since the IQM is over runs; else the mean alone. The protocol is that of the 57 games, and an
  evaluation has 100 episodes (IRIS, SPR and others; 32 of EfficientZero).

Training lengths differ by a factor of thousands: name them (`Method.frames`) wherever two methods
stand side by side. Which scores of a training run the R2D2 paper's table has, its caption says.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEFAULT_AGAINST = ("relic", "r2d2")
"""What a report compares with unless told."""

ATARI100K_FRAMES = 400_000
"""What each method of Atari 100k was trained for, per game."""

_FOLDER = Path(__file__).parent
_RELIC_PAPER = "Mitrovic et al., ICLR 2021 (arXiv 2010.07922), Table 10"
_R2D2_PAPER = "Kapturowski et al., ICLR 2019, Table 4"
_AGENT57_PAPER = "Badia et al., ICML 2020 (arXiv 2003.13350), appendix H.4"
_BBF_PAPER = "Schwarzer et al., ICML 2023 (arXiv 2305.19452)"
_IRIS_DATA = "results/data of IRIS's code (eloialonso/iris)"
_RERUN = "rerun by Agarwal et al., NeurIPS 2021 (arXiv 2108.13264)"
_DIAMOND_PAPER = "Alonso et al., NeurIPS 2024 (DIAMOND, arXiv 2405.12399), Table 6"


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
    benchmark: Literal["57", "100k"] = "57"
    """Which games it has scores of, and in which table."""

    @property
    def label(self) -> str:
        """As a column is headed: two benchmarks have a CURL."""
        return f"{self.name} ({'published' if self.benchmark == '57' else 'Atari 100k'})"


def _atari100k(name: str, source: str, selection: str) -> Method:
    return Method(name, source, f"{ATARI100K_FRAMES:,} frames", selection, "100k")


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
    "der": _atari100k(
        "DER",
        "van Hasselt et al., NeurIPS 2019 (arXiv 1906.05243), as later papers reprint it",
        "mean of 5 seeds",
    ),
    "curl-100k": _atari100k(
        "CURL",
        f"Laskin et al., ICML 2020, {_RERUN}; data, which is normalized, from {_IRIS_DATA}",
        "final scores",
    ),
    "drq-eps": _atari100k(
        "DrQ(eps)",
        f"Yarats et al., ICLR 2021, {_RERUN}; data from {_IRIS_DATA}",
        "final scores",
    ),
    "spr": _atari100k(
        "SPR",
        f"Schwarzer et al., ICLR 2021, {_RERUN}; data from {_IRIS_DATA}",
        "final scores",
    ),
    "sr-spr": _atari100k(
        "SR-SPR",
        f"D'Oro et al., ICLR 2023; per game from {_DIAMOND_PAPER}",
        "final scores, mean of 30 seeds",
    ),
    "bbf": _atari100k(
        "BBF",
        f"{_BBF_PAPER}, Table A.1; per game from {_DIAMOND_PAPER}",
        "final scores, mean of 50 seeds",
    ),
    "bbf-runs": _atari100k(
        "BBF, released runs",
        f"{_BBF_PAPER}, RR8_BBF.csv of its code, which are not quite the runs of its Table A.1",
        "final scores",
    ),
    "iris": _atari100k(
        "IRIS",
        f"Micheli et al., ICLR 2023 (arXiv 2209.00588); data from {_IRIS_DATA}",
        "final scores",
    ),
    "efficientzero": _atari100k(
        "EfficientZero",
        f"Ye et al., NeurIPS 2021 (arXiv 2111.00210), Table 1; data from {_IRIS_DATA}",
        "mean of 3 runs",
    ),
}

_TWINS = {"curl": "curl-100k"}
"""Names that Atari 100k has too: there they mean the second."""


def find_methods(names: Sequence[str]) -> list[str]:
    """Returns the keys of `METHODS` that `names` mean, given together.

    `curl` is the one of the 57 games; beside methods of Atari 100k alone it is theirs, unless that
    one is named itself.

    Raises:
      ValueError: a name is none of them.
    """
    for name in names:
        _expect(name)
    others = [METHODS[name] for name in names if name not in _TWINS]
    if not others or any(method.benchmark == "57" for method in others):
        return list(names)
    return [name if _TWINS.get(name) in names else _TWINS.get(name, name) for name in names]


def published_scores(method: str) -> dict[str, list[float]]:
    """Returns game → raw score of each run, or their mean alone, for all games of the benchmark.

    Raises:
      ValueError: if the method is not a key of `METHODS`.
    """
    _expect(method)
    if METHODS[method].benchmark == "57":
        rows = _rows("published_scores.csv")
        return {row["game"]: [float(row[method])] for row in rows}
    rows = _rows("atari100k_scores.csv")
    return {
        row["game"]: [float(score) for score in row["scores"].split()]
        for row in rows
        if row["method"] == method
    }


def _rows(name: str) -> list[dict[str, str]]:
    with (_FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _expect(method: str) -> None:
    if method not in METHODS:
        raise ValueError(
            f"no published scores for {method!r}: give a .csv file, or of {', '.join(METHODS)}"
        )
