"""What a run writes down about itself: three append-only tables in the run folder.

`metrics.jsonl` (one strict JSON object a line), `episodes.csv` (one training episode a line) and
`evaluations.csv` (one evaluation a line) are the truth of a run; trackers and plots only mirror
them. Each line is in the file when the call returns, and on the disk after `MetricsLog.sync`,
which belongs just before a checkpoint stores `MetricsLog.offsets`. On resume,
`MetricsLog.truncate` drops what was logged after that checkpoint, so no line ever comes twice.

A full disk does not stop a run: lines that cannot be written wait in memory and are tried again
at the next write. One writer thread; the x-axis of all three files is environment frames.
Two runs of one seed write the same bytes but for the columns that `depends_on_machine` names.
"""

import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from relic_rl.records.tables import csv_lines

METRICS_FILE = "metrics.jsonl"
EPISODES_FILE = "episodes.csv"
EVALUATIONS_FILE = "evaluations.csv"
FILES = (METRICS_FILE, EPISODES_FILE, EVALUATIONS_FILE)

_WAITING_LIMIT_BYTES = 16 * 2**20  # hours of logging; beyond that a line is lost, and counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished training episode; the fields are the columns of `episodes.csv`."""

    env_frames: int
    """Frames of the whole run, over all lanes, when the episode ended."""
    minutes: float
    lane: int
    epsilon: float
    score: float
    """Undiscounted sum of raw rewards."""
    episode_frames: int
    terminated: bool
    """False: cut off by the frame cap."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation; the fields are the columns of `evaluations.csv`."""

    env_frames: int
    """Trained by then."""
    minutes: float
    """Since the run began, earlier sessions included."""
    updates: int
    episodes: int
    mean_score: float
    median_score: float
    std_score: float
    """Population standard deviation over episodes."""
    min_score: float
    max_score: float
    human_normalized_score: float | None
    """A fraction, 1 = human; None for games without human scores."""
    epsilon: float
    protocol: str
    """"noop" or "machado"; "none" where none can be chosen."""
    scores: tuple[float, ...]
    """Of every episode; in the file separated by semicolons."""

    @classmethod
    def of(cls, scores: Sequence[float], **known: Any) -> "Evaluation":
        """With the statistics of every episode's undiscounted raw return; the rest is `known`."""
        values = np.asarray(scores, np.float64)
        return cls(
            episodes=len(values),
            mean_score=float(values.mean()),
            median_score=float(np.median(values)),
            std_score=float(values.std()),
            min_score=float(values.min()),
            max_score=float(values.max()),
            scores=tuple(values.tolist()),
            **known,
        )


EPISODE_COLUMNS = tuple(field.name for field in fields(Episode))
EVALUATION_COLUMNS = tuple(field.name for field in fields(Evaluation))


class MetricsLog:
    """The three tables of one run folder; resumes them where the folder has them already.

    Args:
      run_dir: an existing folder.

    Raises:
      OSError: if a table cannot be opened.
    """

    def __init__(self, run_dir: Path) -> None:
        self._tables = {
            METRICS_FILE: _AppendOnlyFile(run_dir / METRICS_FILE, header=b""),
            EPISODES_FILE: _AppendOnlyFile(run_dir / EPISODES_FILE, _csv([EPISODE_COLUMNS])),
            EVALUATIONS_FILE: _AppendOnlyFile(
                run_dir / EVALUATIONS_FILE, _csv([EVALUATION_COLUMNS])
            ),
        }

    def write_metrics(self, row: Mapping[str, object]) -> None:
        """Appends one line to `metrics.jsonl`, keys in the order given.

        JSON has no NaN and no infinity: such a value is written as null, and named once more in
        `"not_finite": {"loss": "nan"}` at the end of the line.

        Args:
          row: scalars: str, bool, int, float, None, or NumPy scalars.
        """
        self._tables[METRICS_FILE].append(_json_line(row))

    def write_episodes(self, episodes: Iterable[Episode]) -> None:
        """Appends finished training episodes to `episodes.csv`, in one write."""
        self._tables[EPISODES_FILE].append(_csv(map(astuple, episodes)))

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Appends one evaluation to `evaluations.csv`."""
        self._tables[EVALUATIONS_FILE].append(_csv([astuple(evaluation)]))

    def sync(self) -> None:
        """Puts on the disk what was written; call it before a checkpoint is named."""
        for table in self._tables.values():
            table.sync()

    def offsets(self) -> dict[str, int]:
        """Returns file name → bytes in the file, for the checkpoint."""
        return {name: table.size_bytes for name, table in self._tables.items()}

    def truncate(self, offsets: Mapping[str, int]) -> None:
        """Drops what was logged after the checkpoint that stored these offsets.

        A file that has no line's end there, as it is shorter or was edited, keeps its whole lines
        up to there, with a warning.
        """
        for name, table in self._tables.items():
            table.truncate(offsets[name])

    def close(self) -> None:
        """Writes and syncs what is left, and closes the files; later writes raise, not closes."""
        for table in self._tables.values():
            table.close()


def depends_on_machine(name: str) -> bool:
    """Whether a column tells of the clock or the machine, and so differs between two equal runs."""
    return name in ("resident_bytes", "gpu_bytes", "gpu_busy_fraction") or name.endswith(
        ("minutes", "_seconds", "_per_second")
    )


def reproducible(row: Mapping[str, object]) -> dict[str, object]:
    """Returns the row without what the machine wrote: what two runs of one seed must share."""
    return {name: value for name, value in row.items() if not depends_on_machine(name)}


class _AppendOnlyFile:
    """Lines appended whole or not at all; those a full disk refuses wait for the next try."""

    def __init__(self, path: Path, header: bytes) -> None:
        self._path = path
        self._header = header
        self._file = path.open("ab", buffering=0)
        self.size_bytes = self._file.tell()
        self._synced_bytes = self.size_bytes
        self._unsynced = b""  # written since
        self._waiting = b""
        self._failing = False
        self._lost_writes = 0
        if self.size_bytes == 0 and header:
            self.append(header)

    def append(self, lines: bytes) -> None:
        if len(self._waiting) + len(lines) > _WAITING_LIMIT_BYTES:
            self._lost_writes += 1
        else:
            self._waiting += lines
        self._write_waiting()

    def sync(self) -> None:
        self._write_waiting()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:  # NFS and quotas refuse here what they took before, and drop it
            self._waiting, self._unsynced = self._unsynced + self._waiting, b""
            self.size_bytes = self._synced_bytes
            self._cut(error)
        else:
            self._synced_bytes, self._unsynced = self.size_bytes, b""

    def truncate(self, size_bytes: int) -> None:
        self._waiting = self._unsynced = b""
        whole_bytes = self._path.read_bytes().rfind(b"\n", 0, size_bytes) + 1
        if whole_bytes < size_bytes:  # half a line would spoil the next
            _log.warning(
                "%s has no line's end at byte %d, as it had at the checkpoint: rows are lost",
                self._path,
                size_bytes,
            )
        self._file.truncate(whole_bytes)
        self._synced_bytes = self.size_bytes = whole_bytes
        if whole_bytes == 0 and self._header:
            self.append(self._header)

    def close(self) -> None:
        if not self._file.closed:
            self.sync()
            self._write_waiting()  # what a sync took back: rather not surely there than not at all
            self._file.close()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        try:
            written = 0
            while written < len(self._waiting):
                written += self._file.write(self._waiting[written:])
        except OSError as error:
            self._cut(error)
            return
        self.size_bytes += written
        self._unsynced, self._waiting = self._unsynced + self._waiting, b""
        if self._failing:
            _log.warning("%s is written again; %d writes lost", self._path, self._lost_writes)
            self._failing, self._lost_writes = False, 0

    def _cut(self, error: OSError) -> None:
        """Takes off what was refused: half a line would spoil the file for every reader."""
        self._report(error)
        try:
            self._file.truncate(self.size_bytes)
        except OSError as second_error:
            self._report(second_error)

    def _report(self, error: OSError) -> None:
        if not self._failing:
            _log.warning("%s cannot be written (%s): the run continues", self._path, error)
        self._failing = True


def _json_line(row: Mapping[str, object]) -> bytes:
    not_finite = {
        name: str(value)
        for name, value in row.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    if not_finite:
        row = {**row, **dict.fromkeys(not_finite), "not_finite": not_finite}
    return (json.dumps(dict(row), allow_nan=False, default=np.generic.item) + "\n").encode()


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    """With 0 and 1 for false and true."""
    cells = [[int(cell) if isinstance(cell, bool) else cell for cell in row] for row in rows]
    return csv_lines(cells).encode()
