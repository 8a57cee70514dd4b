import itertools
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from agents.sequences import SequenceOptions
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.options import ReplayOptions
from relic_rl.replay.segment import Segment, SegmentName
from relic_rl.replay.sequences import SequenceBatch
from relic_rl.runtime.batches import Batches, BatchesAhead, BatchesInTurn, training_batch

CPU = torch.device("cpu")
SEQUENCES, STEPS = 12, 5
MakeSegment = Callable[..., Segment]


def empty_replay(burn_in_steps: int = 0) -> ReplayBuffer:
    return ReplayBuffer(
        ReplayOptions(capacity_steps=1000),
        SequenceOptions(STEPS, burn_in_steps, unroll_steps=STEPS, n_steps=2),
        frame_stack=2,
        rng=np.random.Generator(np.random.PCG64(0)),
    )


@pytest.fixture
def replay(make_segment: MakeSegment) -> ReplayBuffer:
    rng, buffer = np.random.default_rng(0), empty_replay()
    for episode in range(SEQUENCES):
        segment = make_segment(
            SegmentName(0, 0, 0, episode, 0),
            rng.integers(0, 255, (1 + STEPS + 1, 36, 36), dtype=np.uint8),
            actions=rng.integers(0, 3, STEPS),
            rewards=np.full(STEPS, episode, np.float32),
        )
        buffer.insert(segment)
    return buffer


@pytest.fixture(params=[BatchesInTurn, BatchesAhead])
def batches(request: pytest.FixtureRequest, replay: ReplayBuffer) -> Iterator[Batches]:
    made = request.param(replay, 3, CPU)
    yield made
    made.close()


def test_the_tensors_are_the_sequences_that_were_drawn(batches: Batches) -> None:
    for _ in range(5):
        sequences, tensors = batches.take()

        assert np.array_equal(tensors.frames.numpy(), sequences.frames)
        assert np.array_equal(tensors.rewards.numpy(), sequences.rewards)
        assert np.array_equal(tensors.state.hidden.numpy(), sequences.state[0])
        assert tensors.rewards[0].tolist() == [float(slot) for slot in sequences.slots]


def test_every_field_reaches_the_learner_under_its_own_name(make_segment: MakeSegment) -> None:
    rng, replay = np.random.default_rng(0), empty_replay(burn_in_steps=STEPS)
    for episode, index in itertools.product(range(4), range(3)):
        segment = make_segment(  # no two numbers are the same by design
            SegmentName(0, 0, 0, episode, index),
            rng.integers(0, 255, (1 + STEPS + (index == 2), 36, 36), dtype=np.uint8),
            actions=rng.integers(0, 3, STEPS),
            rewards=rng.normal(size=STEPS).astype(np.float32),
            terminated=index == 2,
            previous_action=-1 if index == 0 else 1,
            previous_reward=0.0 if index == 0 else 0.5,
            recurrent_state=rng.normal(size=(2, 4)).astype(np.float32),
            td_max=1.0 + rng.random(),
        )
        replay.insert(segment)
    sequences = replay.sample(16)

    tensors = training_batch(sequences, CPU)

    for name in tensors._fields:
        found = getattr(tensors, name)
        expected = getattr(sequences, name.removesuffix("_on_host"))
        if name in ("state", "unroll_state"):
            found = torch.stack([found.hidden, found.cell])
        np.testing.assert_array_equal(found.numpy(), expected, err_msg=name)
        assert len(np.unique(expected)) > 1, name  # else it might be another field's


def test_every_sequence_comes_about_equally_often(batches: Batches) -> None:
    drawn = np.concatenate([batches.take().sequences.slots for _ in range(400)])

    # 1200 draws over 12 slots: 100 expected each, standard deviation 9.6.
    counts = np.bincount(drawn, minlength=SEQUENCES)
    assert counts.min() > 100 - 5 * 9.6
    assert counts.max() < 100 + 5 * 9.6


def test_ahead_waits_with_two_batches_and_draws_no_more(
    replay: ReplayBuffer, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, drawn = replay.sample, 0

    def counted(batch_sequences: int) -> SequenceBatch:
        nonlocal drawn
        batch = sample(batch_sequences)
        drawn += 1
        return batch

    monkeypatch.setattr(replay, "sample", counted)
    batches = BatchesAhead(replay, 3, CPU)
    taken = batches.take()
    wait_until(lambda: drawn >= 4)  # one is taken, two wait, one is in its hands
    time.sleep(0.2)
    assert drawn == 4
    chosen, generation = taken.sequences.slots[:1], taken.sequences.generations[:1]
    assert replay.update_priorities(chosen, generation, [1e12]) == 1

    slots = [batches.take().sequences.slots.tolist() for _ in range(5)]
    batches.close()

    # What is drawn now knows the new priorities.
    all_chosen = 3 * chosen.tolist()
    assert all_chosen not in slots[:3]
    assert slots[3:] == [all_chosen] * 2


def test_closing_ends_the_thread(replay: ReplayBuffer) -> None:
    batches = BatchesAhead(replay, 3, CPU)
    batches.take()
    assert "batches" in {thread.name for thread in threading.enumerate()}

    batches.close()

    assert "batches" not in {thread.name for thread in threading.enumerate()}


def test_a_source_that_never_ran_closes(replay: ReplayBuffer) -> None:
    BatchesAhead(replay, 3, CPU).close()


def test_what_breaks_the_sampling_reaches_the_learner(replay: ReplayBuffer) -> None:
    batches = BatchesAhead(replay, 0, CPU)

    with pytest.raises(ValueError, match="batch_sequences is 0"):
        batches.take()
    batches.close()


def test_a_replay_that_is_empty_for_a_moment_makes_the_learner_wait(replay: ReplayBuffer) -> None:
    empty = empty_replay()
    batches = BatchesAhead(empty, 3, CPU)
    later = threading.Timer(0.3, lambda: [*map(empty.insert, replay.segments_since(0))])
    later.start()

    assert len(batches.take().sequences.slots) == 3
    batches.close()
