import json
import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relic_rl.replay.buffer import EmptyReplayError

PROPERTY = settings(deadline=None, max_examples=40, derandomize=True)


def fill(replay, episodes, segment_steps=4, frame_stack=3):
    segments = [s for episode in episodes for s in episode.segments(segment_steps, frame_stack)]
    for segment in segments:
        replay.insert(segment)
    return segments


def starts(draw):
    """The name of each sequence's first unrolled segment."""
    pairs = zip(draw.segments, draw.has_burn_in, strict=True)
    return [segments[int(has_burn_in)].name for segments, has_burn_in in pairs]


def drawable(replay):
    """Every sequence that can be drawn, once: name of its start -> its probability and address."""
    found = {}
    while len(found) < len(replay):
        draw = replay.draw(64)
        addresses = zip(draw.slots, draw.generations, draw.probabilities, strict=True)
        found |= dict(zip(starts(draw), addresses, strict=True))
    return found


def assert_equal_batches(left, right):
    for name in left.__slots__:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


@pytest.mark.parametrize("lengths", [(1,), (3, 9), (4, 8, 17, 2), (40,)])
def test_unrolling_one_segment_trains_every_step_of_an_episode_once(
    make_episode, make_buffer, lengths
):
    replay = make_buffer(priority_exponent=0.0)
    segments = fill(replay, [make_episode(i, steps) for i, steps in enumerate(lengths)])

    sequences = drawable(replay)

    # A sequence unrolls only the segment it starts at: each once, and equally likely.
    assert set(sequences) == {segment.name for segment in segments}
    probabilities = [probability for _, _, probability in sequences.values()]
    np.testing.assert_allclose(probabilities, 1 / len(segments))


def test_unrolling_two_segments_trains_all_but_an_episodes_first_twice(make_episode, make_buffer):
    replay = make_buffer(priority_exponent=0.0, unroll_steps=8)
    fill(replay, [make_episode(i, steps) for i, steps in enumerate((3, 4, 9, 30))])
    trained: Counter = Counter()

    seen = set()
    while len(seen) < len(replay):
        batch = replay.sample(16)
        draw_starts = zip(batch.slots.tolist(), batch.generations.tolist(), strict=True)
        for b, start in enumerate(draw_starts):
            if start in seen:
                continue
            seen.add(start)
            rows = slice(4, 12)
            real = batch.is_step[rows, b]
            trained.update(batch.rewards[rows, b][real].tolist())  # a reward is a step's mark here

    for number, steps in enumerate((3, 4, 9, 30)):
        rewards = make_episode(number, steps).rewards.tolist()
        assert [trained[reward] for reward in rewards[:4]] == [1] * min(4, steps)
        assert [trained[reward] for reward in rewards[4:]] == [2] * max(0, steps - 4)


def test_uniform_priorities_draw_all_sequences_about_equally_often(make_episode, make_buffer):
    replay = make_buffer(priority_exponent=0.0)
    fill(replay, [make_episode(i, 40) for i in range(5)])

    counts = Counter(starts(replay.draw(50_000)))

    assert len(counts) == 50
    # Binomial(50,000, 1/50): mean 1,000, standard deviation 31.3; five of them either way.
    assert 843 < min(counts.values()) <= max(counts.values()) < 1157


def test_a_sequence_waits_for_its_unroll_and_its_n_step_tail(make_episode, make_buffer):
    replay = make_buffer(unroll_steps=8)
    first, second, third, fourth, fifth = make_episode(0, 19).segments(4, 3)

    replay.insert(first)
    replay.insert(second)
    assert len(replay) == 0  # the unroll is there, the tail is not
    replay.insert(third)
    assert set(drawable(replay)) == {first.name}
    replay.insert(fourth)
    assert set(drawable(replay)) == {first.name, second.name}
    replay.insert(fifth)  # the end completes every sequence that reaches it
    assert len(replay) == 5


def test_drawing_before_a_sequence_is_complete_is_an_error(make_episode, make_buffer):
    replay = make_buffer()
    replay.insert(make_episode(0, 19).segments(4, 3)[0])

    with pytest.raises(RuntimeError, match="no complete sequence"):
        replay.draw(1)
    with pytest.raises(ValueError, match="batch_sequences is 0"):
        replay.draw(0)


@PROPERTY
@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=4),
    unroll_segments=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_changes_nothing(
    make_episode, make_buffer, lengths, unroll_segments, order
):
    ordered, shuffled = (make_buffer(unroll_steps=4 * unroll_segments) for _ in range(2))
    segments = fill(ordered, [make_episode(i, steps) for i, steps in enumerate(lengths)])

    order.shuffle(segments)
    for segment in segments:
        shuffled.insert(segment)

    assert len(ordered) == len(shuffled) == len(segments)
    left, right = drawable(ordered), drawable(shuffled)
    assert set(left) == set(right)
    for name in left:
        assert left[name][2] == pytest.approx(right[name][2], rel=1e-12)
    assert all(
        has_burn_in == (name.index > 0)
        for draw in [shuffled.draw(50)]
        for name, has_burn_in in zip(starts(draw), draw.has_burn_in, strict=True)
    )


def test_inserting_a_name_twice_stores_it_once(make_episode, make_buffer):
    replay = make_buffer()
    segments = fill(replay, [make_episode(0, 19)])
    before = (replay.steps, replay.bytes, len(replay), replay.next_serial)

    assert not any(replay.insert(segment) for segment in segments)

    assert (replay.steps, replay.bytes, len(replay), replay.next_serial) == before
    assert before[0] == 19


@PROPERTY
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    capacity_steps=st.integers(12, 60),
    unroll_segments=st.integers(1, 2),
    shuffle=st.randoms(use_true_random=False),
    is_shuffled=st.booleans(),
)
def test_the_oldest_leave_first_and_only_complete_sequences_stay(
    make_episode, make_buffer, lengths, capacity_steps, unroll_segments, shuffle, is_shuffled
):
    replay = make_buffer(unroll_steps=4 * unroll_segments, capacity_steps=16 + capacity_steps)
    capacity_steps += 16
    segments = [
        segment
        for i, steps in enumerate(lengths)
        for segment in make_episode(i, steps).segments(4, 3)
    ]
    if is_shuffled:
        shuffle.shuffle(segments)
    expected = []
    for count, segment in enumerate(segments, start=1):
        replay.insert(segment)
        expected.append(segment)
        while sum(s.steps for s in expected) > capacity_steps:
            expected.pop(0)

        assert replay.segments_since(0) == expected
        assert replay.steps == sum(s.steps for s in expected)
        assert replay.next_serial == count
        assert replay.oldest_serial == count - len(expected)

        # The naive rule: from here on, present up to the tail or up to the episode's end.
        present = {s.name: s for s in expected}
        complete = set()
        for name in present:
            for offset in range(unroll_segments + 1):
                found = present.get(name.shifted(offset))
                if found is None:
                    break
                if found.ended or offset == unroll_segments:
                    complete.add(name)
                    break
        assert len(replay) == len(complete)
        if complete:
            assert set(starts(replay.draw(30))) <= complete


def test_the_byte_limit_evicts_the_oldest(make_episode, make_buffer):
    unlimited = make_buffer()
    segments = fill(unlimited, [make_episode(i, 40) for i in range(10)])
    limit = unlimited.bytes // 3

    replay = make_buffer(max_bytes=limit)
    for segment in segments:
        replay.insert(segment)
        assert replay.bytes <= limit

    kept = replay.segments_since(0)
    assert kept == segments[-len(kept) :]
    assert replay.bytes > 0.9 * limit


def test_counted_bytes_are_what_the_interpreter_takes(make_episode, make_buffer):
    episodes = [make_episode(1000 + i, 400, state_size=256) for i in range(12)]
    tracemalloc.start()
    replay = make_buffer(capacity_steps=12 * 400)

    fill(replay, episodes)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert 0.9 < replay.bytes / taken < 1.1


def test_a_segment_above_the_byte_limit_is_refused(make_episode, make_buffer):
    with pytest.raises(ValueError, match=r"max_bytes is 100, but one segment takes .* raise it"):
        make_buffer(max_bytes=100).insert(make_episode(0, 4).segments(4, 3)[0])


def test_a_segment_that_does_not_fit_the_replay_is_refused(make_episode, make_buffer):
    replay = make_buffer()
    replay.insert(make_episode(0, 8).segments(4, 3)[0])

    with pytest.raises(ValueError, match="has 3 steps; segment_steps is 4"):
        replay.insert(make_episode(1, 8).segments(3, 3)[0])
    with pytest.raises(ValueError, match="has 5 steps; segment_steps is 4"):
        replay.insert(make_episode(1, 5).segments(5, 3)[0])
    with pytest.raises(ValueError, match="has 3 history frames; frame_stack 3 needs 2"):
        replay.insert(make_episode(1, 8).segments(4, 4)[0])
    with pytest.raises(ValueError, match="'state_size': 9"):
        replay.insert(make_episode(1, 8, state_size=9).segments(4, 3)[0])
    assert replay.next_serial == 1


def test_the_first_priority_mixes_the_actors_td_errors_over_the_unroll(make_episode, make_buffer):
    replay = make_buffer(unroll_steps=8, priority_exponent=0.5, priority_mix=0.9)
    episode = make_episode(0, 19)
    fill(replay, [episode])

    sequences = drawable(replay)

    # η max|δ| + (1 - η) mean|δ| over the (up to) 8 unrolled steps, then the exponent, then normed.
    naive = []
    for index in range(5):
        deltas = episode.td_errors[4 * index : 4 * index + 8].astype(np.float64)
        naive.append((0.9 * deltas.max() + 0.1 * deltas.mean()) ** 0.5)
    by_index = {name.index: probability for name, (_, _, probability) in sequences.items()}
    np.testing.assert_allclose(
        [by_index[i] for i in range(5)], np.array(naive) / sum(naive), rtol=1e-5
    )


def test_probabilities_and_weights_follow_updated_priorities(make_episode, make_buffer):
    replay = make_buffer(priority_exponent=0.5, importance_exponent=0.6)
    fill(replay, [make_episode(0, 8)])
    sequences = drawable(replay)
    slots, generations, _ = zip(*(sequences[name] for name in sorted(sequences)), strict=True)

    assert replay.update_priorities(slots, generations, [4.0, 36.0]) == 2

    # Leaves 4^0.5 = 2 and 36^0.5 = 6: P = 1/4, 3/4; N P = 1/2, 3/2; the rarest one weighs 1 and
    # the other ((3/2) / (1/2))^-0.6 = 3^-0.6 = 0.5173.
    draw = replay.draw(100)
    indices = np.array([name.index for name in starts(draw)])
    np.testing.assert_allclose(draw.probabilities, np.where(indices == 0, 0.25, 0.75))
    np.testing.assert_allclose(draw.weights, np.where(indices == 0, 1, 0.51728), rtol=1e-4)
    assert draw.weights.dtype == np.float32
    assert set(indices) == {0, 1}


def test_a_priority_of_zero_can_still_be_drawn(make_episode, make_buffer):
    replay = make_buffer(priority_exponent=1.0)
    fill(replay, [make_episode(0, 8)])
    draw = replay.draw(64)

    replay.update_priorities(draw.slots, draw.generations, np.zeros(64))

    assert len(replay) == 2
    np.testing.assert_allclose(replay.draw(1).probabilities, 0.5)


def test_a_late_priority_for_an_evicted_sequence_is_ignored(make_episode, make_buffer):
    replay = make_buffer(capacity_steps=40, priority_exponent=1.0)
    fill(replay, [make_episode(0, 40)])
    draw = replay.draw(32)
    fill(replay, [make_episode(1, 40)])  # takes every slot of the first
    before = {name: probability for name, (_, _, probability) in drawable(replay).items()}

    assert replay.update_priorities(draw.slots, draw.generations, np.full(32, 1e6)) == 0

    assert replay.stale_priorities == 32
    assert set(replay.draw(200).slots) & set(draw.slots)
    after = {name: probability for name, (_, _, probability) in drawable(replay).items()}
    assert after == before


def test_a_late_priority_opens_no_sequence_that_has_lost_a_part(make_episode, make_buffer):
    replay = make_buffer(burn_in_steps=0, capacity_steps=8)
    first, second = make_episode(0, 9).segments(4, 3)[:2]
    replay.insert(second)
    replay.insert(first)
    draw = replay.draw(1)
    assert [s.name.index for s in draw.segments[0]] == [0, 1]

    replay.insert(make_episode(1, 4).segments(4, 3)[0])  # evicts the second, the first stays

    assert replay.update_priorities(draw.slots, draw.generations, [1e6]) == 0
    assert {segments[0].name.episode for segments in replay.draw(8).segments} == {1}


def test_a_draw_outlives_the_eviction_of_its_segments(make_episode, make_buffer):
    replay = make_buffer(capacity_steps=40)
    fill(replay, [make_episode(0, 40)])
    draw = replay.draw(8)
    before = replay.decode(draw)

    fill(replay, [make_episode(1, 40)])

    assert_equal_batches(before, replay.decode(draw))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_priorities_are_refused_and_none_is_set(make_episode, make_buffer, bad):
    replay = make_buffer()
    fill(replay, [make_episode(0, 40)])
    before = drawable(replay)
    draw = replay.draw(2)

    with pytest.raises(ValueError, match="finite and not negative"):
        replay.update_priorities(draw.slots, draw.generations, [100.0, bad])
    with pytest.raises(ValueError, match="shapes differ"):
        replay.update_priorities(draw.slots, draw.generations, [1.0])

    assert drawable(replay) == before


def test_age_counts_from_the_newest_segment(make_episode, make_buffer):
    replay = make_buffer()
    fill(replay, [make_episode(0, 12), make_episode(2, 8)])  # newest: 2,000 + 8

    draw = replay.draw(50)

    # Episode e's segment i was closed at step 1000 e + 4 (i + 1): 2,008 less that.
    expected = [2008 - 1000 * name.episode - 4 * (name.index + 1) for name in starts(draw)]
    assert draw.age_steps.tolist() == expected


def test_the_same_generator_draws_the_same_and_another_differs(make_episode, make_buffer):
    replays = [make_buffer(seed=seed) for seed in (1, 1, 2)]
    for replay in replays:
        fill(replay, [make_episode(i, 40) for i in range(3)])

    first, same, other = (replay.draw(20).slots.tolist() for replay in replays)

    assert first == same
    assert first != other


@PROPERTY
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    later=st.lists(st.integers(1, 30), min_size=1, max_size=8),
)
def test_a_restored_replay_goes_on_as_if_never_interrupted(
    make_episode, make_buffer, lengths, later
):
    def go_on(replay):
        batches = []
        for number, steps in enumerate(later):
            fill(replay, [make_episode(100 + number, steps)])
            batch = replay.sample(4)
            deltas = np.abs(batch.rewards).max(axis=0)
            replay.update_priorities(batch.slots, batch.generations, deltas)
            batches.append(batch)
        return batches

    options = {"capacity_steps": 40, "unroll_steps": 8}
    original = make_buffer(**options, seed=5)
    segments = fill(original, [make_episode(i, steps) for i, steps in enumerate(lengths)])
    batch = original.sample(4)
    original.update_priorities(batch.slots, batch.generations, [0.5, 3.0, 0.1, 7.0])
    original.update_priorities(batch.slots, batch.generations - 1, np.ones(4))  # stale
    state = original.state()
    restored = make_buffer(**options, seed=6)

    state["rng"] = json.loads(json.dumps(state["rng"]))
    restored.load_state(state, reversed(segments))  # evicted ones among them are skipped

    for name in ("steps", "bytes", "oldest_serial", "next_serial", "stale_priorities"):
        assert getattr(restored, name) == getattr(original, name), name
    assert original.stale_priorities == 4
    assert len(restored) == len(original)
    assert restored.state()["leaves"].tobytes() == state["leaves"].tobytes()
    for left, right in zip(go_on(original), go_on(restored), strict=True):
        assert_equal_batches(left, right)
    assert restored.state()["names"].tolist() == original.state()["names"].tolist()


def test_a_checkpoint_needs_only_the_segments_since_the_last_one(make_episode, make_buffer):
    replay = make_buffer(capacity_steps=60)
    disk = []
    serial = 0
    for number in range(6):
        fill(replay, [make_episode(number, 17)])
        state, new = replay.snapshot(serial)
        disk += new
        serial = replay.next_serial
        assert len(new) == 5  # 17 steps: four full segments and one

        restored = make_buffer(capacity_steps=60)
        restored.load_state(state, disk)

        assert restored.segments_since(0) == replay.segments_since(0)
    assert len(disk) == 30


def test_restoring_without_a_segment_is_refused_by_its_name(make_episode, make_buffer):
    replay = make_buffer()
    segments = fill(replay, [make_episode(0, 19)])

    with pytest.raises(ValueError, match=r"1 segments are missing, the first is .*index=2"):
        make_buffer().load_state(replay.state(), segments[:2] + segments[3:])
    with pytest.raises(RuntimeError, match="never inserted"):
        replay.load_state(replay.state(), segments)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"segment_steps": 3, "burn_in_steps": 3, "unroll_steps": 3}, "segment_steps is 3"),
        ({"frame_stack": 4}, "frame_stack 4 needs 3"),
    ],
)
def test_restoring_segments_that_do_not_fit_the_replay_is_refused(
    make_episode, make_buffer, options, said
):
    replay = make_buffer()
    segments = fill(replay, [make_episode(0, 19)])

    with pytest.raises(ValueError, match=said):
        make_buffer(**options).load_state(replay.state(), segments)


def test_what_a_restored_replay_takes_must_fit_what_it_was_restored_with(make_episode, make_buffer):
    replay, restored = make_buffer(), make_buffer()
    segments = fill(replay, [make_episode(0, 19)])
    restored.load_state(replay.state(), segments)

    with pytest.raises(ValueError, match="'state_size': 9"):
        restored.insert(make_episode(1, 8, state_size=9).segments(4, 3)[0])


def test_restoring_under_a_lower_limit_evicts_the_oldest(make_episode, make_buffer):
    replay = make_buffer()
    segments = fill(replay, [make_episode(0, 40), make_episode(1, 40)])
    smaller = make_buffer(capacity_steps=20)

    smaller.load_state(replay.state(), segments)

    assert smaller.segments_since(0) == segments[-5:]
    assert set(drawable(smaller)) == {segment.name for segment in segments[-5:]}


def leaves_by_name(replay):
    state = replay.state()
    names = (tuple(name) for name in state["names"].tolist())
    return dict(zip(names, state["leaves"].tolist(), strict=True))


@pytest.mark.parametrize(("before", "after"), [(4, 8), (8, 4), (4, 16)])
def test_restoring_under_another_unroll_draws_what_is_complete_by_it(
    make_episode, make_buffer, before, after
):
    *segments, last = make_episode(0, 40).segments(4, 3)  # still going on at the checkpoint
    original, straight = make_buffer(unroll_steps=before), make_buffer(unroll_steps=after)
    for segment in segments:
        original.insert(segment)
        straight.insert(segment)
    learned = original.draw(1)
    original.update_priorities(learned.slots, learned.generations, [50.0])

    restored = make_buffer(unroll_steps=after)
    restored.load_state(original.state(), segments)

    assert set(drawable(restored)) == set(drawable(straight))
    old, new, first = (leaves_by_name(replay) for replay in (original, restored, straight))
    for name, leaf in new.items():  # what was learned is kept, what opens begins like any other
        assert leaf == ((old[name] or first[name]) if first[name] else 0.0)
    restored.insert(last)
    assert set(drawable(restored)) == {segment.name for segment in [*segments, last]}


@pytest.mark.parametrize(("before", "after"), [(0.9, 0.5), (0.3, 1.0), (0.9, 0.0)])
def test_restoring_under_another_exponent_puts_every_priority_on_its_scale(
    make_episode, make_buffer, before, after
):
    original, straight = (make_buffer(priority_exponent=each) for each in (before, after))
    for replay in (original, straight):
        segments = fill(replay, [make_episode(0, 40)])
        replay.update_priorities([0, 1, 2], [0, 1, 2], [36.0, 0.0, 1e-3])

    restored = make_buffer(priority_exponent=after)
    restored.load_state(original.state(), segments)

    leaves, expected = restored.state()["leaves"], straight.state()["leaves"]
    np.testing.assert_allclose(leaves, expected, rtol=1e-9)


def test_restoring_from_uniform_draws_begins_with_the_actors_priorities(make_episode, make_buffer):
    original, straight = (make_buffer(priority_exponent=each) for each in (0.0, 0.9))
    for replay in (original, straight):
        segments = fill(replay, [make_episode(0, 40)])

    restored = make_buffer(priority_exponent=0.9)
    restored.load_state(original.state(), segments)

    assert leaves_by_name(restored) == leaves_by_name(straight)


@pytest.mark.parametrize(("count", "taken"), [(1, [0]), (10, [0, 3, 6]), (1_000, range(7))])
def test_frames_over_time_are_those_of_segments_spread_from_the_oldest_to_the_newest(
    make_episode, make_buffer, count, taken
):
    # 7 segments of 4 steps each; the last one also holds the episode's final frame.
    episode, replay = make_episode(0, 28), make_buffer()
    fill(replay, [episode])

    frames = replay.frames_over_time(count)

    places = [t for i in taken for t in range(4 * i, 4 * i + 4 + (i == 6))]
    np.testing.assert_array_equal(frames, episode.frames[places])


def test_an_empty_replay_has_no_frames_over_time(make_buffer):
    with pytest.raises(EmptyReplayError, match="no segment"):
        make_buffer().frames_over_time(10)


def test_threads_may_insert_draw_and_update_at_once(make_episode, make_buffer):
    replay = make_buffer(capacity_steps=200)
    fill(replay, [make_episode(0, 40)])
    segments = [make_episode(number, 40).segments(4, 3) for number in range(1, 41)]
    errors = []

    def insert(part):
        for episode in segments[part::2]:
            for segment in episode:
                replay.insert(segment)

    def learn():
        for _ in range(60):
            batch = replay.sample(8)
            replay.update_priorities(batch.slots, batch.generations, np.ones(8))
            errors.extend(row for row in batch.is_step.any(axis=0) if not row)

    def run(work, *arguments):
        try:
            work(*arguments)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(insert, part)) for part in range(2)]
    threads += [threading.Thread(target=run, args=(learn,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert replay.next_serial == 410
    assert replay.steps == 200
    assert len(drawable(replay)) == len(replay)
