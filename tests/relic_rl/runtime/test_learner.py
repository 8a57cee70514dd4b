import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl.config import resolve
from relic_rl.replay.segment import Segment, SegmentName
from relic_rl.runtime.batches import Batch, BatchesInTurn
from relic_rl.runtime.learner import (
    MAX_SKIPPED_UPDATES,
    DivergedError,
    Learner,
    RunningMeans,
    Update,
)
from relic_rl.runtime.stopwatch import Stopwatch


def update(age_steps: float = 0.0, finite: bool = True, **metrics: float) -> Update:
    scalars = {name: torch.tensor(value) for name, value in metrics.items()}
    return Update(scalars, torch.tensor(finite), age_steps)


# RunningMeans


def test_each_metric_is_averaged_over_the_updates_that_had_it() -> None:
    # loss in all four: (1 + 2 + 3 + 6) / 4 = 3; rank in two of them: (10 + 20) / 2 = 15.
    means = RunningMeans()
    means.add(update(loss=1.0, rank=10.0, age_steps=4.0))
    means.add(update(loss=2.0))
    means.add(update(loss=3.0, rank=20.0))
    means.add(update(loss=6.0))

    count = means.count
    taken = means.take()

    assert count == 4
    assert taken == {"loss": 3.0, "rank": 15.0, "sample_age_steps": 1.0}


def test_of_a_skipped_update_only_the_age_counts() -> None:
    means = RunningMeans()
    means.add(update(loss=1.0, age_steps=2.0))
    means.add(update(loss=math.nan, finite=False, age_steps=4.0))

    assert means.count == 2
    assert means.take() == {"loss": 1.0, "sample_age_steps": 3.0}


def test_taking_starts_afresh() -> None:
    means = RunningMeans()
    means.add(update(loss=1.0, rank=10.0))
    means.take()
    means.add(update(loss=5.0))

    assert means.count == 1
    assert means.take() == {"loss": 5.0, "sample_age_steps": 0.0}
    assert means.take() == {}


def test_state_round_trip_goes_on_where_it_was() -> None:
    means, other = RunningMeans(), RunningMeans()
    means.add(update(loss=1.0, rank=10.0))
    means.add(update(loss=2.0))

    other.load_state(means.state())

    for each in (means, other):
        each.add(update(loss=6.0, rank=20.0))
    assert other.count == means.count == 3
    assert other.take() == means.take() == {"loss": 3.0, "rank": 15.0, "sample_age_steps": 0.0}


def test_state_is_a_copy() -> None:
    means, other = RunningMeans(), RunningMeans()
    means.add(update(loss=1.0))
    state = means.state()

    means.add(update(loss=100.0))
    other.load_state(state)

    assert other.take()["loss"] == 1.0


# Learner


@pytest.fixture
def parts(
    request: pytest.FixtureRequest, make_segment: Callable[..., Segment]
) -> tuple[Learner, R2D2Agent, Any]:
    """A learner of the smoke preset on the toy, with some random episodes in the replay."""
    settings = getattr(request, "param", {})
    config = resolve("smoke", {"learner.diagnostics_every_updates": 2, **settings}).config
    spec = build.env_spec(config, "toy_memory")
    agent = build.make_agent(config, spec, seed=0, device=torch.device("cpu"))
    replay = build.make_replay(config, seed=0)
    rng = np.random.default_rng(0)
    steps, history = config.learner.segment_steps, config.network.frame_stack - 1
    for episode in range(6):
        for index in range(4):
            ended = index == 3
            size = (history + steps + ended, spec.frame_height, spec.frame_width)
            segment = make_segment(
                SegmentName(0, 0, 0, episode, index),
                rng.integers(0, 256, size, np.uint8),
                history_frames=history,
                actions=rng.integers(0, spec.actions, steps),
                rewards=rng.normal(size=steps).astype(np.float32),
                terminated=ended,
                recurrent_state=np.zeros((2, config.network.lstm), np.float32),
                td_sum=float(steps),
            )
            replay.insert(segment)
    batches = BatchesInTurn(replay, 4, agent.device)
    learner = Learner(agent=agent, replay=replay, batches=batches, stopwatch=Stopwatch())
    return learner, agent, replay


def test_an_update_learns_and_writes_the_priorities_back(parts: Any) -> None:
    learner, agent, replay = parts
    before = replay.state()["leaves"]

    made = learner.update()

    assert agent.updates == 1
    assert learner.skipped_updates == 0
    assert (replay.state()["leaves"] != before).any()
    assert made.mean_age_steps == 0.0


@pytest.mark.parametrize("parts", [{"network.centred_input": True}], indirect=True)
def test_the_mean_picture_is_measured_before_the_first_update_and_never_again(
    parts: Any, make_segment: Callable[..., Segment]
) -> None:
    learner, agent, replay = parts
    seen = torch.from_numpy(replay.frames_over_time(2_000)).double()

    learner.update()
    first = agent.online.encoder.centring.mean.clone()
    newest = replay.segments_since(0)[-1]
    white = np.full((newest.frame_count, newest.frame_height, newest.frame_width), 255, np.uint8)
    segment = make_segment(
        SegmentName(0, 0, 0, 99, 0),
        white,
        history_frames=newest.history_frames,
        recurrent_state=newest.recurrent_state,
    )
    replay.insert(segment)
    learner.update()

    torch.testing.assert_close(first.double(), seen.mean(0), rtol=0, atol=1e-3)
    assert agent.updates == 2
    assert torch.equal(agent.online.encoder.centring.mean, first)


class Recording:
    """Batches that remember the last one taken."""

    ahead = False

    def __init__(self, batches: BatchesInTurn) -> None:
        self._batches = batches

    def take(self) -> Batch:
        self.last = self._batches.take()
        return self.last

    def close(self) -> None:
        self._batches.close()


def test_each_sequence_gets_the_priority_that_the_update_found_for_it(parts: Any) -> None:
    _, agent, replay = parts
    twin, batches = copy.deepcopy(agent), Recording(BatchesInTurn(replay, 4, agent.device))

    Learner(agent=agent, replay=replay, batches=batches, stopwatch=Stopwatch()).update()

    sequences, tensors = batches.last
    expected = twin.update(tensors).priorities.numpy()
    leaves = replay.state()["leaves"]
    exponent = resolve("smoke", {}).config.replay.priority_exponent
    for slot in set(sequences.slots.tolist()):
        last = np.flatnonzero(sequences.slots == slot)[-1]
        assert leaves[slot] == pytest.approx(max(expected[last], 1e-6) ** exponent, rel=1e-5)
    assert len(set(expected.tolist())) > 1


@pytest.mark.parametrize("ask", ["another update", "a checkpoint's state"])
def test_where_batches_are_made_ahead_an_update_is_read_when_the_next_is_asked_for(
    parts: Any, ask: str
) -> None:
    _, agent, replay = parts
    batches = Recording(BatchesInTurn(replay, 4, agent.device))
    batches.ahead = True
    learner = Learner(agent=agent, replay=replay, batches=batches, stopwatch=Stopwatch())
    before = replay.state()["leaves"]

    learner.update()
    unread = replay.state()["leaves"]
    changed = set(batches.last.sequences.slots.tolist())
    if ask == "another update":
        learner.update()
    else:
        learner.state()
    read = replay.state()["leaves"]

    assert (unread == before).all()
    assert set(np.flatnonzero(read != before).tolist()) == changed


def test_diagnostics_come_at_their_period(parts: Any) -> None:
    learner, _, _ = parts

    assert ["effective_rank" in learner.update().metrics for _ in range(4)] == [
        True,
        False,
        True,
        False,
    ]


def test_an_update_that_is_not_finite_is_counted_and_named_and_writes_no_priorities(
    parts: Any,
) -> None:
    _, agent, replay = parts
    batches = Recording(BatchesInTurn(replay, 4, agent.device))
    learner = Learner(agent=agent, replay=replay, batches=batches, stopwatch=Stopwatch())
    with torch.no_grad():
        agent.online.core.bias_hh_l0.fill_(torch.nan)
    before = replay.state()

    learner.update()

    assert (learner.skipped_updates, agent.updates) == (1, 1)
    assert (replay.state()["leaves"] == before["leaves"]).all()
    names = dict(zip(before["slots"].tolist(), before["names"].tolist(), strict=True))
    begin = ["/".join(map(str, names[slot])) for slot in batches.last.sequences.slots.tolist()]
    assert learner.take_skipped_batch() == " ".join(begin)
    assert learner.take_skipped_batch() is None


def test_too_many_of_them_in_a_row_stop_the_run(parts: Any) -> None:
    learner, agent, _ = parts
    good = agent.online.core.bias_hh_l0.detach().clone()

    def spoil(value: torch.Tensor | float) -> None:
        with torch.no_grad():
            agent.online.core.bias_hh_l0.copy_(torch.as_tensor(value))

    for _ in range(2):  # a finite update in between starts the count anew
        spoil(torch.nan)
        for _ in range(MAX_SKIPPED_UPDATES - 1):
            learner.update()
        spoil(good)
        learner.update()
    spoil(torch.nan)
    for _ in range(MAX_SKIPPED_UPDATES - 1):
        learner.update()
    with pytest.raises(DivergedError, match=r"10 updates in a row.*learning_rate"):
        learner.update()

    assert learner.skipped_updates == 3 * MAX_SKIPPED_UPDATES - 2
