"""NaN in rewards, pixels, values and gradients: skipped, counted and noted, or refused by name."""

import io
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relic_rl.config import resolve
from relic_rl.console import Console
from relic_rl.errors import UserError
from relic_rl.records.checkpoint import CheckpointStore
from relic_rl.runtime.learner import MAX_SKIPPED_UPDATES, DivergedError
from relic_rl.stop import StopRequest
from relic_rl.train import Training

SETTINGS = {
    "run.threads": 1,
    "run.frames": 8_000,
    "run.metrics_every_updates": 3,
    "replay.min_steps": 64,
    "replay.replay_ratio": 4.0,
    "evaluation.episodes": 1,
    "learner.diagnostics_every_updates": 0,
}


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Training]:
    """A run of the toy task in `tmp_path`/run, ready to train."""

    def start(**overrides: Any) -> Training:
        folder = tmp_path / "run"
        folder.mkdir()
        config = resolve("smoke", SETTINGS | overrides).config
        return Training(folder, config, "toy_memory", 0, Console(stream=io.StringIO()))

    return start


def finish(training: Training) -> None:
    try:
        training.run(StopRequest())
    finally:
        training.close()


def rows_of(training: Training) -> list[dict[str, Any]]:
    lines = (training.folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def poison(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Puts what is no number where numbers were."""
    return lambda tensor: torch.full_like(tensor, value)


def spoil_gradients(training: Training, put: Any, is_bad: Callable[[], bool]) -> None:
    parameter = next(iter(training.agent.online.parameters()))
    parameter.register_hook(lambda gradient: put(gradient) if is_bad() else gradient)


def spoil_pixels(training: Training, put: Any, is_bad: Callable[[], bool]) -> None:
    stacks = training.agent._q_stacks
    training.agent._q_stacks = lambda batch: put(stacks(batch)) if is_bad() else stacks(batch)


def spoil_rewards(training: Training, put: Any, is_bad: Callable[[], bool]) -> None:
    update = training.agent.update

    def spoiled(batch: Any) -> Any:
        return update(batch._replace(rewards=put(batch.rewards)) if is_bad() else batch)

    training.agent.update = spoiled


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("spoil", [spoil_gradients, spoil_pixels, spoil_rewards])
def test_an_update_that_is_not_finite_changes_nothing_is_counted_and_its_batch_is_noted(
    start: Callable[..., Training],
    caplog: pytest.LogCaptureFixture,
    spoil: Any,
    value: float,
) -> None:
    rng = random.Random(str(value))  # the hash of a NaN is another in each process
    training = start()
    learner, bad = training.learner, [False]
    spoil(training, poison(value), lambda: bad[0])
    update, injected, changed = learner.update, 0, 0

    def sometimes_spoiled() -> Any:
        nonlocal injected, changed
        bad[0] = rng.random() < 0.2
        before = [p.detach().clone() for p in training.agent.online.parameters()]
        report = update()
        if bad[0]:
            injected += 1
            after = list(training.agent.online.parameters())
            same = all(torch.equal(b, a) for b, a in zip(before, after, strict=True))
            changed += not same
        return report

    learner.update = sometimes_spoiled  # type: ignore[method-assign]
    finish(training)
    rows = rows_of(training)
    noted = sum(record.message.startswith("an update is skipped") for record in caplog.records)

    print(
        f"{spoil.__name__.removeprefix('spoil_')}, {value}: {learner.skipped_updates} of "
        f"{injected} skipped, {changed} changed a parameter, {noted} noted in the log, "
        f"{sum(bool(row['skipped_batch']) for row in rows)} rows name a batch"
    )
    assert injected >= 10
    assert (learner.skipped_updates, changed, noted) == (injected, 0, injected)
    assert rows[-1]["skipped_updates"] <= injected
    assert any(row["skipped_batch"] for row in rows)
    beside = [row for row in rows if row["skipped_batch"] and "rl_loss" in row]
    assert beside  # the sound updates of a row with a skipped one
    assert all(math.isfinite(row["rl_loss"]) for row in beside)
    model = CheckpointStore(training.folder).load().model
    assert all(t.isfinite().all() for part in model.values() for t in part.values())


@pytest.mark.slow
def test_ten_in_a_row_stop_the_run_on_its_last_good_checkpoint(
    start: Callable[..., Training],
) -> None:
    training = start()
    bad = [False]
    spoil_gradients(training, poison(math.nan), lambda: bad[0])
    training.train(StopRequest())
    training.save()
    bad[0] = True
    for _ in range(MAX_SKIPPED_UPDATES - 1):
        training.learner.update()
    with pytest.raises(DivergedError, match=rf"{MAX_SKIPPED_UPDATES} updates in a row") as error:
        training.learner.update()
    training.close()
    checkpoint = CheckpointStore(training.folder).load()

    print(f"stopped after {training.learner.skipped_updates}: {error.value}"[:140])
    assert "\n" not in str(error.value)
    assert checkpoint.state["learner"]["skipped_updates"] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_stops_the_run_where_it_comes_from(
    start: Callable[..., Training], value: float
) -> None:
    training = start()
    env = training.engine._actor._env  # type: ignore[attr-defined]
    step, count = env.step, 0

    def spoiled(actions: Any) -> Any:
        nonlocal count
        count += 1
        result = step(actions)
        if count == 200:
            rewards = result.rewards.copy()
            rewards[2] = value
            result = result._replace(rewards=rewards)
        return result

    env.step = spoiled
    training.save()
    with pytest.raises(
        UserError, match=r"reward of lane 2 at agent step 796: -?(nan|inf)"
    ) as error:
        finish(training)
    resident = training.replay.segments_since(0)

    print(str(error.value))
    assert all(np.isfinite(segment.rewards).all() for segment in resident)
    assert CheckpointStore(training.folder).load().state["progress"]["env_steps"] == 0


def test_values_that_are_no_number_stop_the_run(start: Callable[..., Training]) -> None:
    training = start()
    for parameter in training.engine._actor.policy._online.parameters():  # type: ignore[attr-defined]
        parameter.data.fill_(math.nan)

    with pytest.raises(UserError, match=r"Q-values of lane 0 .*not finite"):
        finish(training)
