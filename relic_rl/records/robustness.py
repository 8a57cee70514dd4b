"""What evaluations of a trained agent were saved of it: `robustness.csv`, beside the run's tables.

A row is one checkpoint under one condition: a mode and a difficulty of its game, and a corruption
of what it sees. A row of the same key replaces the one before, so that a command that is given
again changes nothing. The file is written as a whole, and not under the run's lock: a run may be
training in the folder, and several commands may save there.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from relic_rl.errors import UserError
from relic_rl.records.folders import alone, refusing, write_whole
from relic_rl.records.tables import csv_table, read_table

ROBUSTNESS_FILE = "robustness.csv"
NO_CORRUPTION = "none"


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


_KEY = [field.name for field in fields(Judgement)]
del _KEY[_KEY.index("mean_score") :]


def save_judgement(run_dir: Path, judgement: Judgement) -> None:
    """Adds a row to a run's `robustness.csv`, in the place of the one with its key.

    Raises:
      UserError: the file is damaged, or cannot be written.
    """
    path = run_dir / ROBUSTNESS_FILE
    with refusing(f"write {path}"), alone(run_dir):
        known = {row.key: row for row in read_judgements(run_dir)}
        known[judgement.key] = judgement
        write_whole(path, csv_table([asdict(row) for row in known.values()]))


def read_judgements(run_dir: Path) -> list[Judgement]:
    """What was saved of a run, in the order in which it came; none if nothing was.

    Raises:
      UserError: the file is damaged, or cannot be read.
    """
    path = run_dir / ROBUSTNESS_FILE
    try:
        with refusing(f"read {path}"):
            columns = read_table(path, Judgement, appended=False)
    except ValueError as error:
        raise UserError(f"{run_dir}: {error}; move the file away") from None
    return list(map(Judgement, *columns.values()))
