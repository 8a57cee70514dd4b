"""The journal: what it writes for a run's counters, and what it takes up again."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from envs.games import ATARI57
from envs.interface import EnvSpec, EpisodeRecord
from envs.protocol import PROTOCOLS
from relic_rl.config import Config, resolve
from relic_rl.console import Console
from relic_rl.counters import Progress
from relic_rl.records.journal import RECENT_EPISODES, Journal
from relic_rl.records.metrics import EVALUATIONS_FILE, METRICS_FILE
from relic_rl.records.probes import Probing, Representation
from relic_rl.records.tracking import Tracker

PONG = EnvSpec(
    name="Pong",
    frames_per_step=4,
    action_meanings=("NOOP", "FIRE"),
    frame_height=84,
    frame_width=84,
    protocol=PROTOCOLS["noop"],
    action_set="full",
    reference=ATARI57["Pong"],
)
Begin = Callable[..., Journal]


@pytest.fixture
def config() -> Config:
    return resolve("smoke", {}).config


@pytest.fixture
def begin(tmp_path: Path, config: Config) -> Iterator[Begin]:
    """Opens the journal of a run in `tmp_path`."""
    with ExitStack() as stack:

        def begin(
            progress: Progress, state: Any = None, said: io.StringIO | None = None
        ) -> Journal:
            journal = Journal(
                tmp_path,
                config,
                PONG,
                seed=0,
                progress=progress,
                console=Console(stream=said or io.StringIO()),
                epsilons=[0.4, 0.1],
                state=state,
            )
            stack.callback(journal.close)
            return journal

        yield begin


def episode(score: float, lane: int = 0) -> EpisodeRecord:
    return EpisodeRecord(lane=lane, score=score, frames=8, steps=2, terminated=True, seed=0)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def test_the_mean_score_is_that_of_the_latest_episodes_also_after_a_resume(
    begin: Begin, tmp_path: Path
) -> None:
    first = begin(Progress())
    first.write_episodes([episode(1000.0)])
    first.write_episodes([episode(float(score)) for score in range(RECENT_EPISODES)])
    first.write_metrics({}, {"window": 1.0})
    resumed = begin(Progress(), state=first.state())
    resumed.write_episodes([episode(20.0)])
    resumed.write_metrics({}, {"window": 1.0})

    assert [row["mean_score"] for row in rows(tmp_path)] == [9.5, 10.5]
    assert [row["episodes"] for row in rows(tmp_path)] == [21, 1]


def test_rates_are_those_since_the_row_before_and_not_since_the_runs_start(
    begin: Begin, tmp_path: Path
) -> None:
    progress = Progress(env_steps=1_000, updates=100)
    journal = begin(progress)
    for _ in range(2):
        progress.env_steps += 30
        progress.updates += 5
        journal.write_metrics({"rl_loss": 0.5}, {"learning": 1.5, "window": 2.0})

    for row in rows(tmp_path):
        assert row["steps_per_second"] == 15.0
        assert row["frames_per_second"] == 60.0
        assert row["updates_per_second"] == 2.5
        assert row["learning_seconds"] == 1.5
        assert row["rl_loss"] == 0.5


def test_an_evaluation_is_counted_written_and_said(begin: Begin, tmp_path: Path) -> None:
    progress, said = Progress(env_steps=500, minutes=3.0), io.StringIO()
    journal = begin(progress, said=said)
    journal.write_evaluation([-20.0, 10.0])
    progress.minutes = 4.0
    journal.write_evaluation([-18.0])

    assert (progress.evaluation_score, progress.best_evaluation_score) == (-18.0, -5.0)
    assert progress.evaluated_minutes == 4.0
    with (tmp_path / EVALUATIONS_FILE).open(newline="") as file:
        scores = [row["scores"] for row in csv.DictReader(file)]
    assert scores == ["-20.0;10.0", "-18.0"]
    assert "mean score -5.0 over 2 episodes (-20 to 10)" in said.getvalue()


def test_a_run_without_a_checkpoint_starts_with_empty_tables(begin: Begin, tmp_path: Path) -> None:
    before = begin(Progress())
    before.write_episodes([episode(1.0)])
    before.write_metrics({}, {"window": 1.0})
    begin(Progress())

    assert rows(tmp_path) == []
    assert (tmp_path / "episodes.csv").read_text().count("\n") == 1


def test_what_a_killed_session_mirrored_is_not_mirrored_again_when_it_is_trained_anew(
    begin: Begin, tmp_path: Path, make_probing: Callable[..., Probing]
) -> None:
    known = {"encoder": Representation(0.5, None, {})}
    progress = Progress()
    killed = begin(progress)
    checkpoint = killed.state()
    advance(killed, progress, 4)
    killed.write_evaluation([1.0])
    killed.write_probing(make_probing(env_frames=progress.env_frames, representations=known))
    progress = Progress()
    resumed = begin(progress, state=checkpoint)
    mirror = Mirror()
    resumed.tracker = mirror
    advance(resumed, progress, 4)
    resumed.write_evaluation([1.0])
    resumed.write_probing(make_probing(env_frames=progress.env_frames, representations=known))
    advance(resumed, progress, 2)
    resumed.write_evaluation([2.0])
    resumed.write_probing(make_probing(env_frames=progress.env_frames, representations=known))

    evaluations = [row.get("updates", row.get("evaluation_score")) for row in mirror.rows]
    assert evaluations == [5, 6, 2.0, None]
    assert mirror.rows[-1] == {"env_frames": 2400, "probe_f1_encoder": 0.5}
    assert [row["updates"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5, 6]


class Mirror(Tracker):
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def log(self, row: Any) -> None:
        self.rows.append(row)


def advance(journal: Journal, progress: Progress, updates: int) -> None:
    for _ in range(updates):
        progress.env_steps += 100
        progress.updates += 1
        journal.write_metrics({}, {"window": 1.0})
