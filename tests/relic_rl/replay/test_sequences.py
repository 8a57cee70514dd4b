from dataclasses import asdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.sequences import SequenceOptions

PROPERTY = settings(deadline=None, max_examples=40, derandomize=True)


def expected_column(episode, shape, frame_stack, start_segment, has_burn_in):
    """What one sequence must hold, row by row, from the whole episode's arrays."""
    history, T = frame_stack - 1, len(episode.actions)
    padded = episode.padded_frames(history)
    unroll_start = start_segment * shape.segment_steps
    first_step = unroll_start - (shape.burn_in_steps if has_burn_in else 0)
    rows = []
    for row in range(shape.rows):
        step = unroll_start - shape.burn_in_steps + row
        is_observed = first_step <= step <= T
        is_step = first_step <= step < T
        rows.append(
            {
                # An actor with a frame stack that was zero at the episode's start.
                "stack": padded[step : step + history + 1] if is_observed else None,
                "previous_actions": episode.actions[step - 1] if is_observed and step else -1,
                "previous_rewards": episode.rewards[step - 1] if is_observed and step else 0,
                "actions": episode.actions[step] if is_step else 0,
                "rewards": episode.rewards[step] if is_step else 0,
                "terminated": is_step and step == T - 1 and episode.terminated,
                "is_step": is_step,
            }
        )
    return rows, episode.states[first_step], episode.states[unroll_start]


@st.composite
def shapes(draw):
    segment_steps = draw(st.integers(1, 5))
    return SequenceOptions(
        segment_steps=segment_steps,
        burn_in_steps=draw(st.sampled_from([0, segment_steps])),
        unroll_steps=segment_steps * draw(st.integers(1, 3)),
        n_steps=draw(st.integers(1, segment_steps)),
    )


@PROPERTY
@given(
    shape=shapes(),
    frame_stack=st.integers(1, 4),
    lengths=st.lists(st.integers(1, 22), min_size=1, max_size=4),
    evicted=st.integers(0, 30),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_row_is_what_the_actor_saw_and_no_sequence_crosses_an_episode(
    make_episode, make_buffer, shape, frame_stack, lengths, evicted, shuffle
):
    episodes = [make_episode(number, steps) for number, steps in enumerate(lengths)]
    all_segments = [
        segment
        for episode in episodes
        for segment in episode.segments(shape.segment_steps, frame_stack)
    ]
    shuffle.shuffle(all_segments)
    needed_steps = shape.burn_in_steps + shape.unroll_steps + shape.segment_steps
    replay = make_buffer(
        **asdict(shape),
        frame_stack=frame_stack,
        capacity_steps=max(needed_steps, sum(lengths) - evicted),
    )
    for segment in all_segments:
        replay.insert(segment)
    if not len(replay):
        return

    draw = replay.draw(20)
    batch = replay.decode(draw)

    resident = {segment.name for segment in replay.segments_since(0)}
    for b, segments in enumerate(draw.segments):
        has_burn_in = bool(draw.has_burn_in[b])
        start = segments[int(has_burn_in)].name
        assert has_burn_in == (shape.burn_in_steps > 0 and start.shifted(-1) in resident)
        rows, state, unroll_state = expected_column(
            episodes[start.episode], shape, frame_stack, start.index, has_burn_in
        )
        np.testing.assert_array_equal(batch.state[:, b], state)
        np.testing.assert_array_equal(batch.unroll_state[:, b], unroll_state)
        for t, row in enumerate(rows):
            for name, expected in row.items():
                if name != "stack":
                    assert getattr(batch, name)[t, b] == expected, (name, t)
            if row["stack"] is not None:
                stack = batch.frames[t : t + frame_stack, b]
                np.testing.assert_array_equal(stack, row["stack"], err_msg=f"row {t}")
        last = max(t for t, row in enumerate(rows) if row["stack"] is not None)
        assert not batch.frames[last + frame_stack :, b].any()
        if shape.burn_in_steps and not has_burn_in:
            assert not batch.frames[: shape.burn_in_steps, b].any()


def test_the_batch_has_the_documented_shapes_and_dtypes(make_episode, make_buffer):
    replay = make_buffer()
    for segment in make_episode(0, 30).segments(4, 3):
        replay.insert(segment)

    batch = replay.sample(6)

    rows = 4 + 4 + 2
    expected = {
        "frames": ((rows + 2, 6, 5, 4), np.uint8),
        "previous_actions": ((rows, 6), np.int64),
        "previous_rewards": ((rows, 6), np.float32),
        "actions": ((rows, 6), np.int64),
        "rewards": ((rows, 6), np.float32),
        "terminated": ((rows, 6), np.bool_),
        "is_step": ((rows, 6), np.bool_),
        "has_burn_in": ((6,), np.bool_),
        "state": ((2, 6, 3), np.float32),
        "unroll_state": ((2, 6, 3), np.float32),
        "weights": ((6,), np.float32),
        "slots": ((6,), np.int64),
        "generations": ((6,), np.int64),
        "age_steps": ((6,), np.int64),
    }
    assert set(expected) == set(batch.__slots__)
    for name, (shape, dtype) in expected.items():
        array = getattr(batch, name)
        assert (array.shape, array.dtype) == (shape, dtype), name


def test_an_agent_without_memory_has_states_of_size_zero(make_episode, make_buffer):
    replay = make_buffer()
    for segment in make_episode(0, 9, state_size=0).segments(4, 3):
        replay.insert(segment)

    assert replay.sample(2).state.shape == (2, 2, 0)
