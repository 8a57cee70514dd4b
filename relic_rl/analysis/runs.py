"""Run folders as the analysis sees them: finds them, reads them, groups them into series.

A run folder has a `config.toml`, and was evaluated if its `evaluations.csv` has a line. It is
finished once the last line is the evaluation at its end (`records.run_status.is_finished`): only
then does its score count. A series is what one curve or one column shows: all runs below one folder
that the caller named.
"""

import csv
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.games import find_game
from relic_rl.config import settings_of
from relic_rl.records.metadata import METADATA_FILE
from relic_rl.records.metrics import EPISODES_FILE, EVALUATIONS_FILE
from relic_rl.records.run_folder import CONFIG_FILE
from relic_rl.records.run_status import is_finished
from relic_rl.records.sweep_folder import SWEEP_FILE
from relic_rl.sweep.manifest import read_states, why_unfinished

_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """Scores over a run; three float64[N] of equal length."""

    frames: NDArray[np.float64]
    minutes: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluated run of one game with one seed."""

    folder: Path
    game: str
    """As in `envs.games.ATARI57`."""
    seed: int
    unfinished: str | None
    """How it stands, in words; None with the evaluation at its end."""
    protocol: str
    """Of the last evaluation: a resumed run may have begun under another."""
    ale_py: str
    epsilon: float
    """Of the last evaluation's random actions."""
    settings: dict[str, Any]
    """By `section.field`."""
    metadata: dict[str, object]
    evaluations: Curve
    """Mean scores of the evaluations, with exploration off or nearly so."""
    episodes: Curve
    """Training episodes of every lane, exploring."""
    last_scores: tuple[float, ...]
    """Of each episode of the last evaluation."""

    @property
    def score(self) -> float:
        """Mean score of the last evaluation, not of the best."""
        return float(self.evaluations.scores[-1])

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What metadata.json has of the run's start and of each resume: versions, machine."""
        resumed = self.metadata.get("resumed")
        found = [self.metadata, *(resumed if isinstance(resumed, list) else ())]
        return [session for session in found if isinstance(session, dict)]

    @property
    def env_frames(self) -> int:
        """Frames trained before the last evaluation."""
        return int(self.evaluations.frames[-1])


@dataclass(frozen=True, slots=True)
class Series:
    """Runs that belong together, and those that cannot count."""

    label: str
    runs: tuple[Run, ...]
    """Those that count."""
    failed: tuple[str, ...]
    """Folder and reason of each run that has no score."""
    unfinished: tuple[Run, ...] = ()
    """Evaluated, but not at their end: they have curves, and count nowhere."""

    @property
    def evaluated(self) -> tuple[Run, ...]:
        """All that have a curve."""
        return (*self.runs, *self.unfinished)

    def scores(self) -> dict[str, list[float]]:
        """Returns game → last score of each seed, seeds ascending."""
        scores: dict[str, list[float]] = {}
        for run in self.runs:
            scores.setdefault(run.game, []).append(run.score)
        return scores


def find_series(folders: Sequence[Path]) -> list[Series]:
    """Returns one series per folder; run folders named directly are one series, "runs".

    A sweep's grid is a series per combination of settings. Runs that have not finished stand apart.

    Args:
      folders: run folders, sweeps, and folders that hold runs up to three levels below.

    Raises:
      ValueError: if a folder is missing or holds no run, or a series has a game and seed twice.
    """
    single, series = [], []
    for given in folders:
        if not given.is_dir():
            raise ValueError(f"{given} is no folder")
        folder = given if given.name.strip(".") else given.resolve()  # `.` has a name, too
        if _is_run(folder):
            single.append(folder)
            continue
        if (folder / SWEEP_FILE).is_file():
            series += _read_sweep(folder, is_alone=len(folders) == 1)
            continue
        found = _runs_below(folder, _DEPTH)
        if not found:
            raise ValueError(f"{folder} holds no run folder (one with a config.toml)")
        series.append(_read_series(folder.resolve().name, found))
    if single:
        series.insert(0, _read_series("runs" if len(single) > 1 else single[0].name, single))
    labels = [one.label for one in series]
    repeated = {label for label in labels if labels.count(label) > 1}
    if repeated:
        raise ValueError(
            f"two folders are named {sorted(repeated)[0]}: rename one, names are labels"
        )
    return series


def read_run(folder: Path) -> Run:
    """Reads one run folder.

    Raises:
      ValueError: if it has no evaluation yet, is of a game outside the 57, or a file cannot be
        read or is damaged: no line is passed over in silence. The message names file and line.
    """
    config = _parsed(folder / CONFIG_FILE, tomllib.loads)
    metadata = _parsed(folder / METADATA_FILE, json.loads)
    evaluations = _read_table(folder / EVALUATIONS_FILE, _EVALUATION)
    episodes = _read_table(folder / EPISODES_FILE, _EPISODE)
    if not evaluations["env_frames"]:
        raise ValueError(f"no evaluation yet, {why_unfinished(folder)}")
    last = {name: values[-1] for name, values in evaluations.items()}
    settings = settings_of(config)
    try:
        return Run(
            folder=folder,
            game=find_game(str(metadata.get("game", config.get("game")))).name,
            seed=int(metadata.get("seed", config.get("seed", 0))),
            unfinished=None if is_finished(settings, last) else why_unfinished(folder),
            protocol=last["protocol"],
            ale_py=str(metadata["ale_py"]),
            epsilon=last["epsilon"],
            settings=settings,
            metadata=metadata,
            evaluations=_curve(evaluations, "mean_score"),
            episodes=_curve(episodes, "score"),
            last_scores=last["scores"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"config.toml or metadata.json cannot be read: {_in_words(error)}"
        ) from error


def _parsed(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read: {_in_words(error)}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} cannot be read: it holds no table")
    return found


def _in_words(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) else str(error)
    return f"{type(error).__name__}: {words}"


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file()


def _runs_below(folder: Path, depth: int) -> list[Path]:
    found: list[Path] = []
    for child in sorted(child for child in folder.iterdir() if child.is_dir()):
        if _is_run(child):
            found.append(child)
        elif depth > 1:
            found += _runs_below(child, depth - 1)
    return found


def _read_series(label: str, folders: Sequence[Path]) -> Series:
    runs: dict[tuple[str, int], Run] = {}
    failed = []
    for folder in folders:
        try:
            run = read_run(folder)
        except ValueError as error:
            failed.append(f"{folder.name}: {error}")
            continue
        twin = runs.setdefault((run.game, run.seed), run)
        if twin is not run:
            raise ValueError(
                f"{label} has {run.game} with seed {run.seed} twice, in {twin.folder} and"
                f" {run.folder}: put them into folders of their own"
            )
    ordered = sorted(runs.values(), key=lambda run: (run.game, run.seed))
    finished = tuple(run for run in ordered if run.unfinished is None)
    unfinished = tuple(run for run in ordered if run.unfinished is not None)
    return Series(label, finished, tuple(failed), unfinished)


def _read_sweep(folder: Path, *, is_alone: bool) -> list[Series]:
    """A series for each folder of a sweep's grid; runs that never began are among the failed."""
    groups: dict[str, list[Path]] = {}
    absent: dict[str, list[str]] = {}
    for child in sorted(child for child in folder.iterdir() if child.is_dir()):
        found = _runs_below(child, _DEPTH - 1)
        if found:
            groups[child.name] = found
    for name, (state, why) in read_states(folder).items():
        if not _is_run(folder / name):
            reason = f"{state}, {why}" if why else state
            absent.setdefault(Path(name).parts[0], []).append(f"{Path(name).name}: {reason}")
    sweep, labels = folder.resolve().name, sorted({*groups, *absent})
    if not labels:
        raise ValueError(f"{folder} is a sweep without a run")
    series = []
    for label in labels:
        read = _read_series(label, groups.get(label, []))
        shown = sweep if labels == ["runs"] else label if is_alone else f"{sweep} {label}"
        failed = (*read.failed, *absent.get(label, []))
        series.append(replace(read, label=shown, failed=failed))
    return series


def _read_table(path: Path, parsers: Mapping[str, Callable[[str], Any]]) -> dict[str, list[Any]]:
    """Returns column → a value per line; one at the end that a crash cut short is left out.

    Args:
      path: a CSV file with a header; none is a table without lines.
      parsers: column → what its text becomes.

    Raises:
      ValueError: a line is damaged.
    """
    try:
        whole = path.read_bytes().rpartition(b"\n")[0].decode(errors="replace")
    except FileNotFoundError:
        whole = ""
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {_in_words(error)}") from error
    table: dict[str, list[Any]] = {name: [] for name in parsers}
    reader = csv.DictReader(whole.split("\n"), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"it has not the {len(reader.fieldnames or ())} columns")
            for name, parse in parsers.items():
                table[name].append(parse(row[name]))
    except (ValueError, KeyError, csv.Error) as error:
        line = reader.line_num
        raise ValueError(f"{path.name}, line {line} is damaged: {_in_words(error)}") from error
    return table


def _curve(table: Mapping[str, list[Any]], score: str) -> Curve:
    columns = (table["env_frames"], table["minutes"], table[score])
    return Curve(*(np.array(column, np.float64) for column in columns))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _finite_each(text: str) -> tuple[float, ...]:
    return tuple(map(_finite, text.split(";")))


_EVALUATION: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("env_frames", "minutes", "episodes", "mean_score", "epsilon"), _finite),
    "protocol": str,
    "scores": _finite_each,
}
_EPISODE = dict.fromkeys(("env_frames", "minutes", "score"), _finite)
