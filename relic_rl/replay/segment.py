"""The segment: consecutive agent steps of one episode, compressed, immutable and self-contained.

A segment in memory *is* its wire bytes, with the header's few scalars beside them; its arrays are
read-only views. The same bytes cross threads, processes and machines and are appended to disk.
They hold no pickle and are little-endian:

    header | recurrent state float32[2, D] | rewards float32[steps] | actions uint8[steps]
           | zstd(frames uint8[frame_count, H, W]) | CRC-32 of all before

The frames are single, each stored once: `history_frames` before the first step (what the first
step's frame stack needs; zeros before the episode's start, repeated from the predecessor elsewhere,
so that a segment outlives its predecessor), then one per step, then, only in an episode's last
segment, the observation after the last action: a truncated episode bootstraps from it.

The CRC is against accidents. Against a peer that lies, every size is bounded before memory is
taken for it.
"""

import struct
import threading
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from relic_rl.errors import UserError

MAX_DECODED_BYTES = 64 << 20
"""Largest run of frames a segment may hold, decoded. Ours: 220 times 40 steps of 84x84."""

_MAGIC = b"RLSG"
_VERSION = 1
# magic, version, flags, history_frames | steps, height, width, previous_action
# | state_size, compressed_bytes | name (5), created_env_steps | previous_reward, td_max, td_sum
_HEADER = struct.Struct("<4sHBB HHHh II 5qq fff")
_CRC = struct.Struct("<I")
_TERMINATED, _TRUNCATED = 1, 2
# CPython's objects around the wire bytes (Segment, SegmentName, ints, floats, bytes header), as
# tracemalloc sees them; a test keeps it honest.
_OBJECT_BYTES = 520


class SegmentError(UserError, ValueError):
    """The bytes are not a sound segment, or a segment cannot be made of these values."""


class SegmentName(NamedTuple):
    """Which actor made the segment, and its place in its episode. Unique within a run."""

    actor: int
    incarnation: int
    """Which start of this actor: a restarted actor never repeats a name."""
    lane: int
    episode: int
    """Unique per (actor, incarnation, lane)."""
    index: int  # type: ignore[assignment]  # hides tuple.index, which no name needs
    """Segments before this one in its episode."""

    def shifted(self, segments: int) -> "SegmentName":
        """Returns the name of the segment that many places later in the same episode."""
        return SegmentName(*self[:4], self.index + segments)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. Made by `encode_segment` or `Segment.from_bytes`, which keep it consistent."""

    name: SegmentName
    steps: int
    """Agent steps; only an episode's last segment is shorter than the run's segment length."""
    history_frames: int
    """Frames before the first step: the frame stack's depth less one."""
    frame_height: int
    frame_width: int
    terminated: bool
    truncated: bool
    previous_action: int
    """Action before the first step, -1 at an episode's start."""
    previous_reward: float
    state_size: int
    """D of the recurrent state; 0 for an agent without memory."""
    td_max: float
    """Largest absolute TD error over the steps, by the actor's own values."""
    td_sum: float
    created_env_steps: int
    """The run's agent-step counter when it was encoded, n steps or a little more after its end."""
    data: bytes
    """The whole wire form."""

    @property
    def ended(self) -> bool:
        """Whether this is its episode's last segment."""
        return self.terminated or self.truncated

    @property
    def frame_count(self) -> int:
        """Frames stored: history, one per step, and the final one if the episode ended."""
        return self.history_frames + self.steps + self.ended

    @property
    def resident_bytes(self) -> int:
        """Resident bytes, with an estimate of the interpreter's own per object."""
        return len(self.data) + _OBJECT_BYTES

    @property
    def recurrent_state(self) -> NDArray[np.float32]:
        """float32[2, D], (h, c) before the first step; read-only."""
        state = np.frombuffer(self.data, "<f4", 2 * self.state_size, _HEADER.size)
        return state.reshape(2, self.state_size)

    @property
    def rewards(self) -> NDArray[np.float32]:
        """float32[steps], unclipped; read-only."""
        return np.frombuffer(self.data, "<f4", self.steps, _HEADER.size + 8 * self.state_size)

    @property
    def actions(self) -> NDArray[np.uint8]:
        """uint8[steps]; read-only."""
        offset = _HEADER.size + 8 * self.state_size + 4 * self.steps
        return np.frombuffer(self.data, np.uint8, self.steps, offset)

    def decode_frames(self, frames: int | None = None) -> NDArray[np.uint8]:
        """Decompresses the first `frames` frames, 1 or more (default: all); a prefix costs less.

        Returns:
          uint8[frames, H, W], bit-equal to what was encoded.

        Raises:
          SegmentError: the compressed frames are damaged, or fewer than asked for.
        """
        frames = self.frame_count if frames is None else frames
        decoded = np.empty((frames, self.frame_height, self.frame_width), np.uint8)
        compressed = memoryview(self.data)[_compressed_offset(self) : -_CRC.size]
        try:  # zstd stops at the block after what is asked for
            with _codecs.decompressor.stream_reader(compressed) as reader:
                done = reader.readinto(decoded.reshape(-1).data)
        except zstandard.ZstdError as error:
            raise _unsound(self.name, f"its frames do not decompress: {error}") from error
        if done < decoded.nbytes:
            raise _unsound(self.name, f"its frames end after {done} of {decoded.nbytes} bytes")
        return decoded

    @classmethod
    def from_bytes(cls, buffer: bytes | bytearray | memoryview) -> "Segment":
        """Reads the wire form. Frames stay compressed, but their announced size is checked.

        Raises:
          SegmentError: anything is out of place: magic, version, lengths, checksum, a field's
            range, or frames that would decompress to another size than the header implies.
        """
        data = bytes(buffer)
        segment, compressed_bytes = _parse(data)
        expected = _compressed_offset(segment) + compressed_bytes + _CRC.size
        if len(data) != expected:
            raise _unsound(segment.name, f"{len(data)} bytes where {expected} belong")
        if zlib.crc32(memoryview(data)[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
            raise _unsound(segment.name, "the checksum does not match: it was damaged")
        _check_ranges(segment)
        content = _content_bytes(memoryview(data)[_compressed_offset(segment) : -_CRC.size])
        if content != _decoded_bytes(segment):
            raise _unsound(
                segment.name, f"frames of {content} bytes, not {_decoded_bytes(segment)}"
            )
        return segment


def encode_segment(
    *,
    name: SegmentName,
    frames: NDArray[np.uint8],
    history_frames: int,
    actions: NDArray[np.integer[Any]],
    rewards: NDArray[np.float32],
    terminated: bool,
    truncated: bool,
    previous_action: int,
    previous_reward: float,
    recurrent_state: NDArray[np.float32],
    td_max: float,
    td_sum: float,
    created_env_steps: int,
) -> Segment:
    """Compresses steps into a segment. Arrays are copied; the other arguments are `Segment`'s.

    What it made is read back, and so checked as any other: see `Segment.from_bytes`.

    Args:
      name: of the segment.
      frames: uint8[history_frames + steps (+ 1 if terminated or truncated), H, W], single frames.
      history_frames: how many of them precede the first step.
      actions: integers in [0, 255], [steps].
      rewards: float32[steps].
      terminated: the environment ended the episode at the last step.
      truncated: a time limit did.
      previous_action: the action before the first step, -1 if none.
      previous_reward: the reward before the first step, 0 if none.
      recurrent_state: float32[2, D], before the first step.
      td_max: largest absolute TD error over the steps.
      td_sum: sum of the absolute TD errors.
      created_env_steps: the run's agent-step counter.

    Raises:
      SegmentError: sizes disagree or a value is out of range.
    """
    if len(actions) and not (actions.min() >= 0 and actions.max() <= 255):
        raise _unsound(name, f"actions reach {actions.min()}..{actions.max()}, not 0..255")
    # The content size goes into the zstd header: that is what a reader checks before decoding.
    compressed = _codecs.compressor.compress(np.ascontiguousarray(frames).data)
    try:
        header = _HEADER.pack(
            _MAGIC,
            _VERSION,
            _TERMINATED * terminated | _TRUNCATED * truncated,
            history_frames,
            len(actions),
            *frames.shape[1:],
            previous_action,
            recurrent_state.shape[1],
            len(compressed),
            *name,
            created_env_steps,
            previous_reward,
            td_max,
            td_sum,
        )
    except (struct.error, OverflowError) as error:
        raise _unsound(name, f"a value does not fit the header: {error}") from error
    state_and_rewards = (
        np.ascontiguousarray(recurrent_state, "<f4").tobytes() + rewards.astype("<f4").tobytes()
    )
    body = b"".join((header, state_and_rewards, actions.astype(np.uint8).tobytes(), compressed))
    return Segment.from_bytes(body + _CRC.pack(zlib.crc32(body)))


class _Codecs(threading.local):
    """zstandard's objects are not thread-safe: each thread has its own."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)
        # A frame may ask for a window larger than what it decompresses to.
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_DECODED_BYTES)


_codecs = _Codecs()


def _parse(data: bytes) -> tuple[Segment, int]:
    """The segment, and how many bytes its compressed frames should have."""
    if len(data) < _HEADER.size + _CRC.size:
        raise SegmentError(f"not a segment: {len(data)} bytes are less than a header")
    fields = _HEADER.unpack_from(data)
    magic, version, flags, history_frames, steps, height, width, previous_action = fields[:8]
    state_size, compressed_bytes, *name = fields[8:15]
    created_env_steps, previous_reward, td_max, td_sum = fields[15:]
    if magic != _MAGIC:
        raise SegmentError(f"not a segment: it begins with {magic!r}, not {_MAGIC!r}")
    if version != _VERSION:
        raise SegmentError(f"segment format {version}; this version reads only {_VERSION}")
    segment = Segment(
        name=SegmentName(*name),
        steps=steps,
        history_frames=history_frames,
        frame_height=height,
        frame_width=width,
        terminated=bool(flags & _TERMINATED),
        truncated=bool(flags & _TRUNCATED),
        previous_action=previous_action,
        previous_reward=previous_reward,
        state_size=state_size,
        td_max=td_max,
        td_sum=td_sum,
        created_env_steps=created_env_steps,
        data=data,
    )
    return segment, compressed_bytes


def _check_ranges(segment: Segment) -> None:
    """Refuses fields that no actor can mean; the checks a checksum cannot make."""
    if segment.steps < 1 or segment.frame_height < 1 or segment.frame_width < 1:
        raise _unsound(segment.name, "it holds no steps or empty frames")
    if segment.terminated and segment.truncated:
        raise _unsound(segment.name, "terminated and truncated exclude each other")
    if segment.name.index < 0:
        raise _unsound(segment.name, "an index counts from 0")
    if not -1 <= segment.previous_action <= 255:
        raise _unsound(
            segment.name, f"previous_action is {segment.previous_action}, not in -1..255"
        )
    if not (0 <= segment.td_max < np.inf and 0 <= segment.td_sum < np.inf):
        errors = f"td_max {segment.td_max}, td_sum {segment.td_sum}"
        raise _unsound(segment.name, f"{errors}: not in [0, inf)")
    if not (np.isfinite(segment.rewards).all() and np.isfinite(segment.previous_reward)):
        raise _unsound(segment.name, "a reward is not finite")
    if _decoded_bytes(segment) > MAX_DECODED_BYTES:
        raise _unsound(
            segment.name, f"{_decoded_bytes(segment)} bytes of frames: above {MAX_DECODED_BYTES}"
        )


def _decoded_bytes(segment: Segment) -> int:
    return segment.frame_count * segment.frame_height * segment.frame_width


def _compressed_offset(segment: Segment) -> int:
    return _HEADER.size + 8 * segment.state_size + 5 * segment.steps


def _content_bytes(compressed: memoryview) -> int:
    """Returns what zstd announces that the frame decompresses to; -1 if it announces nothing."""
    try:
        return int(zstandard.frame_content_size(compressed))
    except zstandard.ZstdError:
        return -1


def _unsound(name: SegmentName, problem: str) -> SegmentError:
    return SegmentError(f"segment {'/'.join(map(str, name))}: {problem}")
