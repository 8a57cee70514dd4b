import dataclasses
import struct
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from relic_rl.replay import segment as segment_module
from relic_rl.replay.segment import Segment, SegmentError, SegmentName, encode_segment

PROPERTY = settings(deadline=None, max_examples=40, derandomize=True)

NAME = SegmentName(actor=3, incarnation=2**40, lane=5, episode=9, index=1)


def values(
    steps=5, history=3, size=(6, 4), state_size=2, terminated=False, truncated=False, seed=0
):
    """The arguments of encode_segment."""
    rng = np.random.default_rng(seed)
    frame_count = history + steps + (terminated or truncated)
    return {
        "name": NAME,
        "frames": rng.integers(0, 256, (frame_count, *size)).astype(np.uint8),
        "history_frames": history,
        "actions": rng.integers(0, 256, steps),
        "rewards": rng.normal(size=steps).astype(np.float32),
        "terminated": terminated,
        "truncated": truncated,
        "previous_action": 17,
        "previous_reward": 0.5,
        "recurrent_state": rng.normal(size=(2, state_size)).astype(np.float32),
        "td_max": 2.0,
        "td_sum": 3.5,
        "created_env_steps": 2**33,
    }


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def with_frames(segment: Segment, compressed: bytes) -> bytes:
    """The wire form with other compressed frames, all lengths and the checksum being right."""
    offset = segment_module._compressed_offset(segment)
    header = list(segment_module._HEADER.unpack_from(segment.data))
    header[9] = len(compressed)
    body = segment_module._HEADER.pack(*header) + segment.data[segment_module._HEADER.size : offset]
    return with_checksum(body + compressed)


@PROPERTY
@given(
    steps=st.integers(1, 12),
    history=st.integers(0, 4),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    state_size=st.integers(0, 5),
    end=st.sampled_from(["no", "terminated", "truncated"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_segment_holds_what_went_in_also_after_the_wire(
    steps, history, size, state_size, end, seed
):
    put_in = values(steps, history, size, state_size, end == "terminated", end == "truncated", seed)

    encoded = encode_segment(**put_in)

    for segment in (encoded, Segment.from_bytes(encoded.data)):
        np.testing.assert_array_equal(segment.decode_frames(), put_in["frames"])
        np.testing.assert_array_equal(segment.actions, put_in["actions"])
        for name in ("rewards", "recurrent_state"):
            held = getattr(segment, name)
            assert held.dtype == np.float32
            np.testing.assert_array_equal(held, put_in[name])
        assert segment.steps == steps
        assert segment.state_size == state_size
        assert (segment.frame_height, segment.frame_width) == size
        assert segment.ended == (end != "no")
        for field in dataclasses.fields(segment):
            if field.name in put_in and not isinstance(put_in[field.name], np.ndarray):
                assert getattr(segment, field.name) == put_in[field.name], field.name


@PROPERTY
@given(frames=st.integers(1, 8))
def test_a_prefix_of_the_frames_decodes_to_the_same_frames(frames):
    put_in = values(steps=5, history=3)

    decoded = encode_segment(**put_in).decode_frames(frames)

    np.testing.assert_array_equal(decoded, put_in["frames"][:frames])


def test_more_frames_than_stored_are_refused():
    with pytest.raises(SegmentError, match="its frames end after 192 of 216 bytes"):
        encode_segment(**values(steps=5, history=3)).decode_frames(9)


def test_a_segment_cannot_be_changed():
    segment = encode_segment(**values())

    with pytest.raises(dataclasses.FrozenInstanceError):
        segment.steps = 3
    for array in (segment.actions, segment.rewards, segment.recurrent_state):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_segment_does_not_follow_its_source_arrays():
    put_in = values()
    segment = encode_segment(**put_in)
    actions = put_in["actions"].copy()

    put_in["actions"][:] = 1

    np.testing.assert_array_equal(segment.actions, actions)


@PROPERTY
@given(data=st.data())
def test_any_flipped_bit_is_refused(data):
    wire = bytearray(encode_segment(**values(truncated=True)).data)
    position = data.draw(st.integers(0, len(wire) - 1))

    wire[position] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(SegmentError):
        Segment.from_bytes(wire)


@PROPERTY
@given(data=st.data())
def test_any_other_length_is_refused(data):
    wire = encode_segment(**values()).data
    kept = data.draw(st.integers(0, len(wire) - 1))

    for damaged in (wire[:kept], wire + b"\0" * (kept + 1)):
        with pytest.raises(SegmentError):
            Segment.from_bytes(damaged)


def test_bytes_that_belong_to_nothing_are_refused_though_the_checksum_is_right():
    wire = encode_segment(**values()).data

    for body in (wire[:-4] + b"more", wire[:-5]):
        with pytest.raises(SegmentError, match=f"{len(body) + 4} bytes where {len(wire)} belong"):
            Segment.from_bytes(with_checksum(body))


@PROPERTY
@given(junk=st.binary(max_size=300))
def test_junk_is_refused(junk):
    for wire in (junk, b"RLSG\1\0" + junk, with_checksum(b"RLSG\1\0" + junk)):
        with pytest.raises(SegmentError):
            Segment.from_bytes(wire)


def test_a_newer_format_is_refused_by_its_number():
    wire = encode_segment(**values()).data

    with pytest.raises(SegmentError, match="segment format 513"):
        Segment.from_bytes(with_checksum(wire[:4] + b"\1\2" + wire[6:-4]))


def test_a_decompression_bomb_is_refused_before_memory_is_taken():
    segment = encode_segment(**values())
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 28))

    tracemalloc.start()
    for compressed in (bomb, silent):
        with pytest.raises(SegmentError, match="frames of"):
            Segment.from_bytes(with_frames(segment, compressed))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1 << 20


def test_frames_that_would_be_huge_are_refused_whatever_the_header_says():
    header = list(segment_module._HEADER.unpack_from(encode_segment(**values(steps=1)).data))
    header[5] = header[6] = 65_535
    header[8], header[9] = 0, 0
    body = segment_module._HEADER.pack(*header) + bytes(5)

    with pytest.raises(SegmentError, match="above"):
        Segment.from_bytes(with_checksum(body))


def test_frames_cut_short_inside_a_sound_envelope_are_refused_at_decoding():
    segment = encode_segment(**values(size=(30, 30)))
    compressed = segment.data[segment_module._compressed_offset(segment) : -4]

    lying = Segment.from_bytes(with_frames(segment, compressed[:-30]))

    with pytest.raises(SegmentError, match="3/1099511627776/5/9/1: its frames end after"):
        lying.decode_frames()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"terminated": True, "truncated": True}, "exclude each other"),
        ({"terminated": True}, "frames of 192 bytes, not 216"),
        ({"frames": np.zeros((7, 6, 4), np.uint8)}, "frames of 168 bytes, not 192"),
        ({"frames": np.zeros((8, 6, 4), np.float32)}, "frames of 768 bytes, not 192"),
        ({"actions": np.array([0, 1, 2, 3, 256])}, "0..256"),
        ({"actions": np.array([0, 1, 2, 3, -1])}, "-1..3"),
        ({"rewards": np.zeros(4, np.float32)}, r"\d+ bytes where \d+ belong"),
        ({"rewards": np.array([0, 0, np.nan, 0, 0], np.float32)}, "reward is not finite"),
        ({"previous_reward": float("inf")}, "reward is not finite"),
        ({"recurrent_state": np.zeros((3, 2), np.float32)}, r"\d+ bytes where \d+ belong"),
        ({"td_max": float("nan")}, "td_max nan"),
        ({"td_sum": -1.0}, "td_sum -1.0"),
        ({"td_max": 1e300}, "does not fit the header"),
        ({"previous_action": 256}, "previous_action is 256"),
        ({"previous_action": -2}, "previous_action is -2"),
        ({"name": NAME._replace(index=-1)}, "counts from 0"),
    ],
)
def test_values_that_no_actor_can_mean_are_refused(change, message):
    with pytest.raises(SegmentError, match=message):
        encode_segment(**(values() | change))


def test_both_endings_at_once_are_refused():
    put_in = values(terminated=True) | {"truncated": True}

    with pytest.raises(SegmentError, match="exclude each other"):
        encode_segment(**put_in)


def test_a_segment_without_steps_is_refused():
    with pytest.raises(SegmentError, match="no steps"):
        encode_segment(**values(steps=0))


def test_segments_are_coded_alike_in_many_threads():
    # Smaller frames are coded in too short a time for two threads to be at it at once.
    put_in = [values(steps=40, size=(84, 84), seed=seed) for seed in range(8)]
    failures = []

    def work(seed):
        for _ in range(30):
            decoded = encode_segment(**put_in[seed]).decode_frames()
            if not np.array_equal(decoded, put_in[seed]["frames"]):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures


def test_shifted_names_stay_in_the_episode():
    assert NAME.shifted(2) == NAME._replace(index=3)
    assert NAME.shifted(-1) == NAME._replace(index=0)
