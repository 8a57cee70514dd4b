"""What evaluations of a trained agent were saved of it: `robustness.csv`, beside the run's tables.

A row is one checkpoint under one condition: a mode and a difficulty of its game, and a corruption
of what it sees. A row of the same key replaces the one before, so that a command that is given
again changes nothing. The file is written as a whole, and under a lock of its own: a run may be
training in the folder, and several commands may save there.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from relic_rl.errors import UserError
from relic_rl.records.folders import write_whole
from relic_rl.records.tables import csv_table, finite, finite_each, parse_columns

ROBUSTNESS_FILE = "robustness.csv"
NO_CORRUPTION = "none"
_LOCK_FILE = ".robustness.lock"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One checkpoint under one condition; the fields are the columns of `robustness.csv`."""

    env_frames: int
    """Trained by then."""
    protocol: str
    """"noop" or "machado"; "none" where none can be chosen."""
    epsilon: float
    seed: int
    """Of the episodes."""
    episodes: int
    mode: int
    difficulty: int
    default_mode: bool
    """Whether mode and difficulty are those that it was trained in."""
    corruption: str
    """`NO_CORRUPTION`, or a name in `envs.corruptions.CORRUPTIONS`."""
    severity: int
    """1 to 5; 0 without a corruption."""
    mean_score: float
    kept: float | None
    """In the default mode, the share of what the agent scores above random play on clean frames;
    None where that is nothing, and where random play has no score, as in other modes."""
    scores: tuple[float, ...]
    """Of every episode; in the file separated by semicolons."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing of what is seen is corrupted."""
        return self.corruption == NO_CORRUPTION

    @property
    def key(self) -> tuple[object, ...]:
        """What it was played under: all but what came of it."""
        return tuple(getattr(self, name) for name in _KEY)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "env_frames": int,
    "protocol": str,
    "epsilon": finite,
    "seed": int,
    "episodes": int,
    "mode": int,
    "difficulty": int,
    "default_mode": {"True": True, "False": False}.__getitem__,
    "corruption": str,
    "severity": int,
    "mean_score": finite,
    "kept": lambda text: finite(text) if text else None,
    "scores": finite_each,
}
"""Of the columns, in their order."""
_KEY = list(_PARSERS)[: list(_PARSERS).index("mean_score")]


def save_judgement(run_dir: Path, judgement: Judgement) -> None:
    """Adds a row to a run's `robustness.csv`, in the place of the one with its key.

    Raises:
      UserError: the file is damaged, or cannot be written.
    """
    path = run_dir / ROBUSTNESS_FILE
    try:
        with _alone(run_dir):
            known = {row.key: row for row in read_judgements(run_dir)}
            known[judgement.key] = judgement
            write_whole(path, csv_table([asdict(row) for row in known.values()]))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def read_judgements(run_dir: Path) -> list[Judgement]:
    """What was saved of a run, in the order in which it came; none if nothing was.

    Raises:
      UserError: the file is damaged.
    """
    path = run_dir / ROBUSTNESS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    try:
        columns = parse_columns(text, _PARSERS, path)
    except ValueError as error:
        raise UserError(f"{error}: move the file away") from None
    return list(map(Judgement, *columns.values()))


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Waits until no other process saves there, which takes each an instant."""
    with (run_dir / _LOCK_FILE).open("ab") as file:  # not the run's, which training holds for hours
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
