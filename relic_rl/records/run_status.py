"""How a run stands, read from its folder without owning it.

Reading never fails and never waits: what is absent, cut short or damaged counts as not there yet.
"""

import csv
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from envs.registry import ENVIRONMENTS
from relic_rl import config as configuration
from relic_rl.counters import Budget
from relic_rl.records.metrics import EVALUATION_COLUMNS, EVALUATIONS_FILE, METRICS_FILE
from relic_rl.records.run_folder import CONFIG_FILE
from relic_rl.records.tables import finite

_TAIL_BYTES = 65_536  # many lines of either table


class RunStatus(NamedTuple):
    """A run's counters and what is known of its score."""

    env_frames: int = 0
    minutes: float = 0.0
    score: float | None = None
    """Mean of the last evaluation; before the first, of the latest training episodes."""
    is_evaluated: bool = False
    """Whether `score` is an evaluation's."""
    human_normalized_score: float | None = None
    """A fraction, of `score`; None for a toy."""
    seconds_left: float | None = None
    """Until the run's budget is spent, at its present speed."""
    finished: bool = False
    """The budget is spent, the last evaluation is written, and a checkpoint holds it, unless all
    are gone."""


def read_status(run_dir: Path) -> RunStatus:
    """Reads what the run folder says; zeros if there is none."""
    checkpoints = _checkpoints(run_dir)
    row = last_metrics(run_dir)
    evaluation = last_evaluation(run_dir)
    try:
        # Not as a configuration of this version: another version's run counts as well.
        document = tomllib.loads((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))
        settings = configuration.settings_of(document)
        seconds_left = _seconds_left(settings, row)
        is_over = is_finished(settings, evaluation)
        score = evaluation.get("mean_score", row.get("mean_score"))
        latest = max(row, evaluation, key=lambda line: line.get("env_frames", 0))
        return RunStatus(
            env_frames=int(max([latest.get("env_frames", 0), *checkpoints])),
            minutes=latest.get("minutes", 0.0),
            score=score,
            is_evaluated=bool(evaluation),
            human_normalized_score=_human_normalized(str(document.get("game")), score),
            seconds_left=seconds_left,
            finished=is_over and (not checkpoints or evaluation["env_frames"] in checkpoints),
        )
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return RunStatus()


def is_finished(settings: Mapping[str, Any], evaluation: Mapping[str, float]) -> bool:
    """Whether an evaluation is the one at the end of a run, and not one on the way.

    Args:
      settings: the run's, by `section.field`.
      evaluation: its last one's `env_frames`, `minutes` and `episodes`; empty if there is none.

    Raises:
      KeyError: a setting is missing.
      TypeError: one is no number.
    """
    budget = Budget(settings["run.frames"], settings["run.minutes"])
    if not evaluation or evaluation["episodes"] != settings["evaluation.episodes"]:
        return False
    return budget.is_spent(evaluation["env_frames"], evaluation["minutes"])


def _human_normalized(game: str, score: float | None) -> float | None:
    environment = ENVIRONMENTS.get(game)
    if score is None or environment is None or environment.reference is None:
        return None
    return environment.reference.human_normalized(score)


def _checkpoints(run_dir: Path) -> list[int]:
    """The frames of each checkpoint."""
    try:
        names = [path.name for path in (run_dir / "checkpoints").iterdir()]
    except OSError:
        return []
    return [int(name) for name in names if name.isdigit()]


def _seconds_left(settings: Mapping[str, Any], row: dict[str, Any]) -> float | None:
    if not row:
        return None
    budget = Budget(settings["run.frames"], settings["run.minutes"])
    return budget.seconds_left(row["env_frames"], row["minutes"], row.get("frames_per_second", 0.0))


def last_metrics(run_dir: Path) -> dict[str, Any]:
    """The last row of its metrics; empty if there is none."""
    for line in reversed(_whole_lines(run_dir / METRICS_FILE)):
        try:
            row: dict[str, Any] = json.loads(line)
            if math.isfinite(row["env_frames"]) and math.isfinite(row["minutes"]):
                return row
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            continue
    return {}


def last_evaluation(run_dir: Path) -> dict[str, float]:
    """Its `env_frames`, `minutes`, `episodes` and `mean_score`; empty if there is none."""
    try:
        rows = list(csv.DictReader(_whole_lines(run_dir / EVALUATIONS_FILE)))
    except csv.Error:
        return {}
    names = ("env_frames", "minutes", "episodes", "mean_score")
    for row in reversed(rows):
        try:
            return {name: finite(row[name]) for name in names}
        except (KeyError, TypeError, ValueError):
            continue
    return {}


def has_evaluations(run_dir: Path) -> bool:
    """Whether its table holds more than its first line, readable or not."""
    try:
        content = (run_dir / EVALUATIONS_FILE).read_bytes()
    except FileNotFoundError:
        return False
    whole = content.rpartition(b"\n")[0] or content  # without the line that a crash cut short
    return not ",".join(EVALUATION_COLUMNS).encode().startswith(whole.strip())


def _whole_lines(path: Path) -> list[str]:
    """The last lines of a table with its first; one that a crash cut short is left out."""
    try:
        with path.open("rb") as file:
            head = file.readline()
            size = file.seek(0, 2)
            tail, tail_bytes = b"", _TAIL_BYTES
            while tail.count(b"\n") < 2 and len(tail) < size:  # a line may be longer
                file.seek(max(0, size - tail_bytes))
                tail = file.read()
                tail_bytes *= 2
    except OSError:
        return []
    whole = tail.rpartition(b"\n")[0].decode(errors="replace").split("\n")
    if len(tail) >= size:
        return whole
    return [head.decode(errors="replace").rstrip("\n"), *whole[1:]]
