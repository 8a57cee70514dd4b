"""The segment store: segments by name, evicted in the order in which they came.

A segment lives in a slot, a small integer that is used again after eviction. Segments are numbered
by insertion; as the oldest always leaves first, the residents' serial numbers are consecutive. A
segment's serial number is also its slot's *generation*: it tells the segment from every other one
that ever used, or will use, the slot.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relic_rl.errors import UserError
from relic_rl.replay.segment import Segment, SegmentName

_NO_GENERATION = -1
# What the replay holds per segment beside it: name index, order, slot lists, two sum tree nodes.
_INDEX_BYTES = 260


class ReplayLimitError(UserError, ValueError):
    """What is to be kept is larger than all that may be."""


class SegmentStore:
    """Segments under a limit of steps and of bytes. Not thread-safe.

    The caller evicts: it knows what else depends on a segment.

    Args:
      capacity_steps: agent steps kept.
      max_bytes: resident bytes kept, as estimated by `Segment.resident_bytes`.
    """

    def __init__(self, capacity_steps: int, max_bytes: int) -> None:
        self._capacity_steps = capacity_steps
        self._max_bytes = max_bytes
        self._slot_by_name: OrderedDict[SegmentName, int] = OrderedDict()  # oldest first
        self._free: list[int] = []
        self._segments: list[Segment | None] = []  # by slot
        self._generations: list[int] = []  # by slot
        self.steps = 0
        self.bytes = 0
        self.evicted_segments = 0

    def __contains__(self, name: SegmentName) -> bool:
        return name in self._slot_by_name

    @property
    def is_over_capacity(self) -> bool:
        """Whether the oldest segment must go."""
        return self.steps > self._capacity_steps or self.bytes > self._max_bytes

    @property
    def next_serial(self) -> int:
        """Serial number of the next segment; they count insertions from 0."""
        return self.evicted_segments + len(self._slot_by_name)

    def put(self, segment: Segment) -> None:
        """Adds a segment whose name is not present.

        Raises:
          ReplayLimitError: the segment alone exceeds max_bytes.
        """
        size_bytes = segment.resident_bytes + _INDEX_BYTES
        if size_bytes > self._max_bytes:
            raise ReplayLimitError(
                f"max_bytes is {self._max_bytes}, but one segment takes {size_bytes}: raise it"
            )
        if not self._free:
            self._free.append(len(self._segments))
            self._reserve(len(self._segments) + 1)
        self._place(segment, self._free.pop())

    def evict_oldest(self) -> tuple[int, Segment]:
        """Removes the oldest segment; returns the slot it had, and itself."""
        _, slot = self._slot_by_name.popitem(last=False)
        segment = self.at(slot)
        self._segments[slot] = None
        self._generations[slot] = _NO_GENERATION
        self._free.append(slot)
        self.steps -= segment.steps
        self.bytes -= segment.resident_bytes + _INDEX_BYTES
        self.evicted_segments += 1
        return slot, segment

    def find(self, name: SegmentName) -> Segment | None:
        """Returns the segment of that name, if resident."""
        slot = self._slot_by_name.get(name)
        return None if slot is None else self._segments[slot]

    def slot_of(self, name: SegmentName) -> int:
        """Returns the slot of a resident segment."""
        return self._slot_by_name[name]

    def at(self, slot: int) -> Segment:
        """Returns the segment in an occupied slot."""
        segment = self._segments[slot]
        assert segment is not None, f"slot {slot} is empty"
        return segment

    def generations(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the generations int64[B] of slots int64[B]; -1 where nothing is."""
        return np.array([self._generations[slot] for slot in slots.tolist()], np.int64)

    def since(self, serial: int) -> list[Segment]:
        """Returns the resident segments of that serial number or a later one, oldest first."""
        slots = islice(self._slot_by_name.values(), max(0, serial - self.evicted_segments), None)
        return [self.at(slot) for slot in slots]

    def state(self) -> dict[str, Any]:
        """Returns all but the segments themselves.

        `names` int64[M, 5] and `slots` int64[M] are of the M residents, oldest first; `free`
        int64[F] are the unused slots, the next one last.
        """
        names = chain.from_iterable(self._slot_by_name)
        return {
            "names": np.fromiter(names, np.int64).reshape(-1, 5),
            "slots": np.array([*self._slot_by_name.values()], np.int64),
            "free": np.array(self._free, np.int64),
            "evicted_segments": self.evicted_segments,
        }

    def load(self, state: dict[str, Any], segments: Iterable[Segment]) -> None:
        """Restores `state()` into a fresh store; of `segments`, takes those that it names.

        Raises:
          RuntimeError: something was inserted before.
          ValueError: a named segment is missing; nothing is changed then.
        """
        if self.next_serial:
            raise RuntimeError("a replay's state loads only into one that was never inserted into")
        names = [SegmentName(*name) for name in state["names"].tolist()]
        wanted = set(names)
        found = {segment.name: segment for segment in segments if segment.name in wanted}
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"{len(missing)} segments are missing, the first is {missing[0]}")
        self.evicted_segments = int(state["evicted_segments"])
        self._free = [int(slot) for slot in state["free"]]
        self._reserve(len(names) + len(self._free))
        for name, slot in zip(names, state["slots"], strict=True):
            self._place(found[name], int(slot))

    def _reserve(self, slots: int) -> None:
        missing = slots - len(self._segments)
        self._segments.extend([None] * missing)
        self._generations.extend([_NO_GENERATION] * missing)

    def _place(self, segment: Segment, slot: int) -> None:
        self._segments[slot] = segment
        self._generations[slot] = self.next_serial
        self._slot_by_name[segment.name] = slot
        self.steps += segment.steps
        self.bytes += segment.resident_bytes + _INDEX_BYTES
