"""wandb can never hurt: what it costs per step, and a run whose wandb process is killed."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from relic_rl.config import resolve
from relic_rl.console import Console
from relic_rl.records.tracking import TrackedRun, make_tracker
from relic_rl.stop import StopRequest
from relic_rl.train import Training

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_wandb_settings")]

SHARE = 0.02
UPDATES = 300
"""Three rows of metrics."""


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
    """The processes of wandb below this one, where other tests may have left a Ray, too."""
    return [p for p in psutil.Process().children(recursive=True) if "wandb" in p.name()]


def thread_seconds() -> dict[int, float]:
    """Processor time of each of this process's threads."""
    return {t.id: t.user_time + t.system_time for t in psutil.Process().threads()}


def service_seconds() -> float:
    """Processor time of wandb's processes."""
    times = [process.cpu_times() for process in services()]
    return sum(t.user + t.system for t in times)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    """A laptop run of Pong, learning, without a mirror."""
    overrides: dict[str, Any] = {
        "run.threads": 1,
        "env.threads": 1,
        "replay.min_steps": 1000,
        "run.frames": 10**9,
    }
    config = resolve("laptop", overrides).config
    training = Training(tmp_path, config, "pong", 0, Console(stream=io.StringIO()))
    training.train(reached(training, 3))
    yield training
    training.close()


def test_a_mirrored_step_costs_at_most_two_percent_more(training: Training) -> None:
    own = set(thread_seconds())
    mirror = make_tracker(["offline"], TrackedRun(training.folder, "cost"))
    log, waited = mirror.log, 0.0

    def timed_log(row: Any) -> None:
        nonlocal waited
        begun = time.perf_counter()
        log(row)
        waited += time.perf_counter() - begun

    mirror.log = timed_log  # type: ignore[method-assign]
    training.journal.tracker = mirror
    training.train(Until(lambda: bool(services())))
    time.sleep(5)  # its start is over: imports, its process, the run's beginning
    threads, service, began = thread_seconds(), service_seconds(), training.progress.updates
    waited, steps = 0.0, training.progress.env_steps
    training.train(reached(training, began + UPDATES))
    spent = {at: seconds - threads.get(at, 0.0) for at, seconds in thread_seconds().items()}
    of_run = sum(seconds for at, seconds in spent.items() if at in own)
    of_mirror = sum(seconds for at, seconds in spent.items() if at not in own)
    of_mirror += service_seconds() - service
    steps = training.progress.env_steps - steps

    print(
        f"wandb, laptop preset, {UPDATES} updates, {steps:,} agent steps: {of_mirror:.2f} s of "
        f"processor time in its threads and processes beside {of_run:.1f} s of the run's own, "
        f"{100 * of_mirror / of_run:.2f} %; the loop waited {1000 * waited:.2f} ms for it"
    )
    assert (of_mirror + waited) / of_run <= SHARE


def test_a_run_goes_on_when_wandbs_process_is_killed(tmp_path: Path) -> None:
    # In a process of its own: wandb does not get over it, nor do other tests in that process.
    script = Path(__file__).with_name("killed_tracker.py")
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(result.stdout.splitlines()[-1])
    rows = (tmp_path / "metrics.jsonl").read_text().count("\n")

    print(
        f"wandb killed ({found['killed']} processes): the run ended by itself with {rows} rows; "
        f"closing took {found['closing_seconds']:.1f} s"
    )
    assert found["killed"] > 0
    assert found["evaluated"]
    assert rows == found["updates"] // 2
    assert found["closing_seconds"] < 12
    assert found["left"] == 0
