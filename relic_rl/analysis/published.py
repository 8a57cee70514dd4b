"""Published scores, as papers and their data files have them: numbers to compare with.

Two benchmarks, each with a table beside this file:

- the 57 games: `published_scores.csv` holds a row per game and a column per method, raw scores. All
  were evaluated with up to 30 no-op starts, without sticky actions, on episodes of at most 108,000
  frames; none of them under Machado et al.'s protocol.
- Atari 100k, 26 of the games after 400,000 frames each: `atari100k_scores.csv` holds a row per
  method and game. Where a source has every run, its raw scores are all there, separated by blanks,
  since the IQM is over runs; else the mean alone. The protocol is that of the 57 games, and an
  evaluation has 100 episodes (IRIS, SPR and others; 32 of EfficientZero).

`published_methods.csv` says of each method what its scores are and where they are from. Training
lengths differ by a factor of thousands: name them (`Method.frames`) wherever two methods stand side
by side. Which scores of a training run the R2D2 paper's table has, its caption says.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_AGAINST = ("relic", "r2d2")
"""What a report compares with unless told."""

ATARI100K_FRAMES = 400_000
"""What each method of Atari 100k was trained for, per game."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Method:
    """One method whose scores are published; the fields are columns of `published_methods.csv`."""

    name: str
    """As a legend shows it."""
    benchmark: str
    """Which games it has scores of, and in which table: 57 or 100k."""
    source: str
    """The paper and its table."""
    frames: str
    """Training length per game, in words; not every paper states it."""
    selection: str = "whether final or best scores is not stated"
    """Which of a training run's scores it is, in words."""

    @property
    def label(self) -> str:
        """As a column is headed: two benchmarks have a CURL."""
        return f"{self.name} ({'published' if self.benchmark == '57' else 'Atari 100k'})"


def _rows(name: str) -> list[dict[str, str]]:
    with (_FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


METHODS: dict[str, Method] = {
    row.pop("method"): Method(**{name: text for name, text in row.items() if text})
    for row in _rows("published_methods.csv")
}
"""By the name that a user gives; where the file has an empty cell, the field has its default."""

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
        if name not in METHODS:
            raise ValueError(
                f"no published scores for {name!r}: give a .csv file, or of {', '.join(METHODS)}"
            )
    others = [METHODS[name] for name in names if name not in _TWINS]
    if not others or any(method.benchmark == "57" for method in others):
        return list(names)
    return [name if _TWINS.get(name) in names else _TWINS.get(name, name) for name in names]


def published_scores(method: str) -> dict[str, list[float]]:
    """Returns game → raw score of each run, or their mean alone, for all games of the benchmark."""
    if METHODS[method].benchmark == "57":
        rows = _rows("published_scores.csv")
        return {row["game"]: [float(row[method])] for row in rows}
    rows = _rows("atari100k_scores.csv")
    return {
        row["game"]: [float(score) for score in row["scores"].split()]
        for row in rows
        if row["method"] == method
    }
