"""wandb can never hurt: what it costs per step, and a run whose wandb process is killed."""

import io
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from relic_rl.config import resolve
from relic_rl.console import Console
from relic_rl.stop import StopRequest
from relic_rl.tracking import Tracker
from relic_rl.train import Training

pytestmark = pytest.mark.slow

SHARE = 0.02
BLOCKS = 12
UPDATES_PER_BLOCK = 20
ROWS_PER_BLOCK = 2
IDLE_SECONDS = 10.0


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


class Until(StopRequest):
    """Asks to stop as soon as the condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    @property
    def requested(self) -> bool:
        return self._condition()


def reached(training: Training, updates: int) -> Until:
    return Until(lambda: training.progress.updates >= updates)


def services() -> list[psutil.Process]:
    """wandb's own processes, below this one."""
    return psutil.Process().children(recursive=True)


def spent_seconds() -> float:
    """Processor time of this process and of wandb's."""
    total = time.process_time()
    for child in services():
        times = child.cpu_times()
        total += times.user + times.system
    return total


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    """A laptop run of Pong with a mirror, learning, whose mirror has begun."""
    overrides: dict[str, Any] = {
        "run.track": "offline",
        "run.threads": 1,
        "env.threads": 1,
        "replay.min_steps": 1000,
        "run.metrics_every_updates": 100,
        "run.frames": 10**9,
    }
    config = resolve("laptop", overrides).config
    training = Training(tmp_path, config, "pong", 0, Console(stream=io.StringIO()))
    training.train(Until(lambda: training.progress.updates >= 3 and bool(services())))
    yield training
    training.close()


def test_a_mirrored_step_costs_at_most_two_percent_more(training: Training, say: Any) -> None:
    mirror, nothing = training.tracker, Tracker()
    seconds: dict[bool, list[float]] = {True: [], False: []}
    every = training.config.run.metrics_every_updates
    for block in range(BLOCKS):
        mirrored = block % 2 == 0
        training.tracker = mirror if mirrored else nothing
        before, steps = spent_seconds(), training.progress.env_steps
        until = training.progress.updates + UPDATES_PER_BLOCK
        training.train(reached(training, until))
        for _ in range(ROWS_PER_BLOCK):  # as many rows as ten times as many updates write
            row = dict(training._latest_row or {"env_frames": training.progress.env_frames})
            training.tracker.log(row | {f"metric_{i}": 0.5 for i in range(40)})
        time.sleep(0.5)  # the mirror's threads and process come to it
        spent = spent_seconds() - before
        seconds[mirrored].append(1000 * spent / (training.progress.env_steps - steps))
    training.tracker = mirror
    with_mirror, without = (statistics.median(seconds[kind]) for kind in (True, False))
    often = ROWS_PER_BLOCK * every / UPDATES_PER_BLOCK
    of_rows = (with_mirror / without - 1) / often
    idle_before = spent_seconds()
    time.sleep(IDLE_SECONDS)
    idle = (spent_seconds() - idle_before) / IDLE_SECONDS

    say(
        f"wandb, laptop preset: {with_mirror:.2f} ms of processor time per agent step with "
        f"{often:.0f} times the preset's rows, {without:.2f} without: {100 * of_rows:.2f} % for "
        f"the preset's; its processes at rest take {100 * idle:.2f} % of a core"
    )
    assert of_rows + idle <= SHARE


def test_a_run_goes_on_when_wandbs_process_is_killed(
    tmp_path: Path, say: Any, caplog: pytest.LogCaptureFixture
) -> None:
    overrides: dict[str, Any] = {
        "run.track": "offline",
        "run.threads": 1,
        "run.frames": 6_000,
        "run.metrics_every_updates": 2,
        "evaluation.episodes": 1,
    }
    config = resolve("smoke", overrides).config
    training = Training(tmp_path, config, "toy_memory", 0, Console(stream=io.StringIO()))
    killed: list[psutil.Process] = []

    def kill_on_the_way() -> bool:
        if training.progress.updates == 3 and not killed:
            while not services():
                time.sleep(0.1)
            killed.extend(services())
            for process in killed:
                process.kill()
        return False

    with caplog.at_level(logging.WARNING):
        evaluation = training.run(Until(kill_on_the_way))
        begun = time.monotonic()
        training.close()
    closed = time.monotonic() - begun
    rows = (tmp_path / "metrics.jsonl").read_text().count("\n")

    say(
        f"wandb killed ({len(killed)} processes): the run ended by itself with {rows} rows; "
        f"closing took {closed:.1f} s, {sum('wandb' in r.message for r in caplog.records)} warnings"
    )
    assert evaluation is not None
    assert rows == training.progress.updates // 2
    assert closed < 12
    assert services() == [] or all(p.status() == psutil.STATUS_ZOMBIE for p in services())
