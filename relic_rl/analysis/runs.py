"""One run folder as the analysis sees it.

A run folder has a `config.toml`, and was evaluated if its `evaluations.csv` has a line. It is
finished once the last line is the evaluation at its end (`records.run_status.is_finished`): only
then does its score count.
"""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.registry import find_environment
from relic_rl.config import settings_of
from relic_rl.records.metadata import METADATA_FILE
from relic_rl.records.metrics import EPISODES_FILE, EVALUATIONS_FILE, Episode, Evaluation
from relic_rl.records.run_folder import CONFIG_FILE
from relic_rl.records.run_status import is_finished
from relic_rl.records.tables import read_table
from relic_rl.sweep.manifest import why_unfinished


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
    """As in `envs.registry.ENVIRONMENTS`."""
    seed: int
    preset: str
    """The name of the preset it began with; empty if unknown."""
    unfinished: str | None
    """How it stands, in words; None with the evaluation at its end."""
    protocol: str
    """Of the last evaluation: a resumed run may have started under another."""
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
    def name(self) -> str:
        """Of its folder, as a line of text; not of a link that leads there."""
        return shown(self.folder.resolve().name)

    @property
    def started(self) -> float:
        """When, in seconds since 1970; 0 if nothing says."""
        try:
            return datetime.fromisoformat(str(self.metadata["started"])).timestamp()
        except (KeyError, ValueError):
            return 0.0

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


def common_frames(frames: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """All points of all curves that all have passed, ascending: perhaps none.

    They are from the last curve's beginning to the first one's end; if all are one point, the
    furthest.

    Args:
      frames: of each curve, float64[N], ascending.
    """
    first = max(float(of_one[0]) for of_one in frames)
    last = min(float(of_one[-1]) for of_one in frames)
    if all(len(of_one) == 1 for of_one in frames):
        last = first
    points = np.unique(np.concatenate(frames))
    return points[(first <= points) & (points <= last)]


def read_run(folder: Path) -> Run:
    """Reads one run folder.

    Raises:
      ValueError: if it has no evaluation yet, is of a game that we do not know, or a file cannot be
        read or is damaged: no line is passed over in silence. The message names file and line.
    """
    config = _parsed(folder / CONFIG_FILE, tomllib.loads)
    metadata = _parsed(folder / METADATA_FILE, json.loads)
    try:
        evaluations = read_table(folder / EVALUATIONS_FILE, Evaluation, *_OF_EVALUATIONS)
        episodes = read_table(folder / EPISODES_FILE, Episode, "env_frames", "minutes", "score")
    except OSError as error:
        raise ValueError(f"a table cannot be read: {_in_words(error)}") from error
    if not evaluations["env_frames"]:
        raise ValueError(f"no evaluation yet, {why_unfinished(folder)}")
    last = {name: values[-1] for name, values in evaluations.items()}
    settings = settings_of(config)
    try:
        return Run(
            folder=folder,
            game=find_environment(str(metadata.get("game", config.get("game")))).name,
            seed=int(metadata.get("seed", config.get("seed", 0))),
            preset=str(config.get("preset", "")),
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
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"config.toml or metadata.json cannot be read: {_in_words(error)}"
        ) from error


def shown(path: Path | str) -> str:
    """A file's name as text that fits into a line: what is no text in it becomes `?`."""
    text = str(path).encode(errors="replace").decode()
    return "".join(character if character.isprintable() else "?" for character in text)


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


def _curve(table: Mapping[str, list[Any]], score: str) -> Curve:
    columns = (table["env_frames"], table["minutes"], table[score])
    return Curve(*(np.array(column, np.float64) for column in columns))


_OF_EVALUATIONS = (
    "env_frames",
    "minutes",
    "episodes",
    "mean_score",
    "epsilon",
    "protocol",
    "scores",
)
