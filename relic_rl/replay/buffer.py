"""The replay buffer: segments in, sequences out, by priority.

An episode's segments find each other by name, so they may arrive in any order. A sequence starts at
every segment; it can be drawn as soon as everything it needs is present, and no longer when part of
that is evicted; its burn-in segment is used if present. Its address is the first unrolled segment's
slot and generation, so a priority that arrives late can never land on another sequence.

All methods are thread-safe. `draw` is the only part of sampling under the lock; `decode` is pure.

Source: Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning"
(R2D2), 2019, section 2.3 (priorities of sequences); Schaul et al., "Prioritized Experience Replay",
2016, section 3.4 (weights). Deviation: neighbouring sequences share segments instead of copying.
"""

import math
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.sequences import SequenceOptions
from relic_rl.replay.options import ReplayOptions
from relic_rl.replay.segment import Segment, SegmentName
from relic_rl.replay.sequences import Draw, SequenceBatch, decode
from relic_rl.replay.store import SegmentStore
from relic_rl.replay.sum_tree import SumTree

MIN_PRIORITY = 1e-6
"""Ours: lower priorities are raised to this, so that every sequence can still be drawn."""
_LAYOUT = ("frame_height", "frame_width", "state_size")
"""What all segments of a run must agree in, so that they fit one batch."""


class EmptyReplayError(RuntimeError):
    """No sequence can be drawn, not yet or not now."""


class ReplayBuffer:
    """Prioritised replay of sequences made of segments. Its length is what can be drawn.

    Args:
      options: what is kept and what is preferred.
      sequence: how sequences lie over segments.
      frame_stack: frames of one observation. R2D2: 4.
      rng: source of all draws. Its state is JSON-able for PCG64, numpy's default.

    Attributes:
      stale_priorities: those ignored since the run began, because their sequence was gone.
    """

    def __init__(
        self,
        options: ReplayOptions,
        sequence: SequenceOptions,
        *,
        frame_stack: int,
        rng: np.random.Generator,
    ) -> None:
        self._options = options
        self._sequence = sequence
        self._frame_stack = frame_stack
        self._rng = rng
        self._lock = threading.RLock()
        self._store = SegmentStore(options.capacity_steps, options.max_bytes)
        self._tree = SumTree()  # by slot; 0: cannot be drawn
        self._layout: dict[str, int] | None = None
        self._sequences = 0
        self.stale_priorities = 0
        self._newest_env_steps = 0

    def __len__(self) -> int:
        """Sequences that can be drawn."""
        return self._sequences

    @property
    def steps(self) -> int:
        """Resident agent steps."""
        return self._store.steps

    @property
    def bytes(self) -> int:
        """Resident bytes, estimated."""
        return self._store.bytes

    @property
    def oldest_serial(self) -> int:
        """Serial number of the oldest resident segment; `next_serial` if there is none."""
        return self._store.evicted_segments

    @property
    def next_serial(self) -> int:
        """Serial number of the next segment to be inserted; they count insertions from 0."""
        return self._store.next_serial

    def insert(self, segment: Segment) -> bool:
        """Adds a segment and evicts the oldest as needed; returns False if its name is present.

        Takes constant time, but for the logarithmic priority.

        Raises:
          ValueError: the segment does not fit this replay: its length, history, frame size or
            state size, or it alone exceeds max_bytes.
        """
        with self._lock:
            if segment.name in self._store:
                return False
            self._check_fits(segment)
            self._store.put(segment)
            self._newest_env_steps = max(self._newest_env_steps, segment.created_env_steps)
            self._refresh_sequences(segment.name)
            self._evict_excess()
            return True

    def draw(self, batch_sequences: int) -> Draw:
        """Draws sequences by priority, independently and with replacement; decodes nothing.

        P(i) = pᵢ^exponent / Σ p^exponent; the weights are (N·P(i))^-β over the batch's largest.

        Raises:
          ValueError: batch_sequences is below 1.
          EmptyReplayError: no sequence is complete.
        """
        if batch_sequences < 1:
            raise ValueError(f"batch_sequences is {batch_sequences}, must be at least 1")
        with self._lock:
            if not self._sequences:
                raise EmptyReplayError("the replay holds no complete sequence: insert more first")
            slots = self._tree.sample(self._rng.random(batch_sequences))
            probabilities = self._tree.get(slots) / self._tree.total
            generations = self._store.generations(slots)
            collected = [self._collect(slot) for slot in slots.tolist()]
            sequences, newest_env_steps = self._sequences, self._newest_env_steps
        weights = (sequences * probabilities) ** -self._options.importance_exponent
        ages = [
            newest_env_steps - segments[int(has_burn_in)].created_env_steps
            for has_burn_in, segments in collected
        ]
        return Draw(
            segments=tuple(segments for _, segments in collected),
            has_burn_in=np.array([has_burn_in for has_burn_in, _ in collected]),
            slots=slots,
            generations=generations,
            probabilities=probabilities,
            weights=(weights / weights.max()).astype(np.float32),
            age_steps=np.array(ages, np.int64),
        )

    def decode(self, draw: Draw) -> SequenceBatch:
        """Decompresses a draw; takes no lock and may run in a background thread.

        Raises:
          SegmentError: a segment is damaged.
        """
        return decode(draw, self._sequence)

    def sample(self, batch_sequences: int) -> SequenceBatch:
        """Draws and decodes; raises what these raise."""
        return self.decode(self.draw(batch_sequences))

    def update_priorities(
        self, slots: ArrayLike, generations: ArrayLike, priorities: ArrayLike
    ) -> int:
        """Sets the priorities of sequences drawn before; returns how many were still there.

        Args:
          slots: integers [B], from the draw.
          generations: integers [B], from the draw.
          priorities: floats [B]: η·max|δ| + (1 - η)·mean|δ|, before the exponent. If a sequence
            occurs twice, the last one counts.

        Raises:
          ValueError: shapes differ, or a priority is negative or not finite; none is set then.
        """
        values = np.asarray(priorities, np.float64)
        slots, generations = np.asarray(slots, np.int64), np.asarray(generations, np.int64)
        if not values.shape == slots.shape == generations.shape:
            raise ValueError(
                f"shapes differ: slots {slots.shape}, generations {generations.shape}, "
                f"priorities {values.shape}"
            )
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"priorities must be finite and not negative: {values.tolist()}")
        with self._lock:
            is_fresh = (self._store.generations(slots) == generations) & (self._tree.get(slots) > 0)
            self._tree.set(slots[is_fresh], self._leaf(values[is_fresh]))
            self.stale_priorities += int((~is_fresh).sum())
        return int(is_fresh.sum())

    def describe(self, slots: ArrayLike, generations: ArrayLike) -> str:
        """Names where sequences drawn before begin: actor/incarnation/lane/episode/index each.

        Args:
          slots: integers [B], from the draw.
          generations: integers [B], from the draw.
        """
        slots, generations = np.asarray(slots, np.int64), np.asarray(generations, np.int64)
        with self._lock:
            is_fresh = self._store.generations(slots) == generations
            return " ".join(
                "/".join(map(str, self._store.at(slot).name)) if fresh else "evicted"
                for slot, fresh in zip(slots.tolist(), is_fresh.tolist(), strict=True)
            )

    def frames_over_time(self, count: int) -> NDArray[np.uint8]:
        """Returns about `count` of the frames kept, uint8[N, H, W], or all there are.

        Of whole segments, evenly spaced from the oldest to the newest; nothing is drawn at random.

        Raises:
          EmptyReplayError: there is none.
          SegmentError: a segment is damaged.
        """
        segments = self.segments_since(0)
        if not segments:
            raise EmptyReplayError("the replay holds no segment: insert some first")
        longest = max(segment.steps for segment in segments)
        wanted = min(len(segments), math.ceil(count / longest))
        chosen = [segments[round(i)] for i in np.linspace(0, len(segments) - 1, wanted)]
        return np.concatenate([s.decode_frames()[s.history_frames :] for s in chosen])

    def segments_since(self, serial: int) -> list[Segment]:
        """Returns the resident segments of that serial number or a later one, oldest first."""
        with self._lock:
            return self._store.since(serial)

    def snapshot(self, serial: int) -> tuple[dict[str, Any], list[Segment]]:
        """Returns `state()` and `segments_since(serial)` of one moment, as a checkpoint needs."""
        with self._lock:
            return self.state(), self.segments_since(serial)

    def state(self) -> dict[str, Any]:
        """Returns all but the segments: numpy arrays, integers, and the JSON-able `rng`.

        Its keys are those of `SegmentStore.state`, and `leaves` float64[M], the sum tree's values:
        priorities to the power of `priority_exponent`, 0 where nothing can be drawn.
        """
        with self._lock:
            state = self._store.state()
            return state | {
                "leaves": self._tree.get(state["slots"]),
                "priority_exponent": self._options.priority_exponent,
                "stale_priorities": self.stale_priorities,
                "newest_env_steps": self._newest_env_steps,
                "rng": self._rng.bit_generator.state,
            }

    def load_state(self, state: dict[str, Any], segments: Iterable[Segment]) -> None:
        """Restores `state()` into a fresh buffer, which then draws as the saved one would have.

        If the limits are lower now, the oldest segments are evicted. If the unroll is another, what
        is complete by the new one can be drawn; if the exponent is, the priorities are kept.

        Args:
          state: of a buffer for the same segments.
          segments: at least those that `state` names, in any order; others are skipped.

        Raises:
          RuntimeError: something was inserted before.
          ValueError: a segment is missing, or does not fit: then the buffer is of no use.
        """
        with self._lock:
            self._store.load(state, segments)
            for segment in self._store.since(0):
                self._check_fits(segment)
            exponent = float(state["priority_exponent"])
            stored = zip(state["slots"].tolist(), state["leaves"].tolist(), strict=True)
            leaves = np.array([self._restored_leaf(slot, leaf, exponent) for slot, leaf in stored])
            self._tree.set(state["slots"], leaves)
            self._sequences = int(np.count_nonzero(leaves))
            self.stale_priorities = int(state["stale_priorities"])
            self._newest_env_steps = int(state["newest_env_steps"])
            self._rng.bit_generator.state = state["rng"]
            self._evict_excess()

    def _evict_excess(self) -> None:
        while self._store.is_over_capacity:
            slot, segment = self._store.evict_oldest()
            self._set_leaf(slot, 0.0)
            self._refresh_sequences(segment.name)

    def _refresh_sequences(self, name: SegmentName) -> None:
        """Opens or closes to draws the sequences that need this segment, just come or gone."""
        for offset in range(-self._sequence.unroll_segments, 1):
            start = name.shifted(offset)
            if start in self._store:
                needed = self._needed(start)
                leaf = 0.0 if needed is None else self._first_leaf(needed)
                self._set_leaf(self._store.slot_of(start), leaf)

    def _needed(self, name: SegmentName) -> list[Segment] | None:
        """Returns what the sequence that starts there trains on and looks ahead to, if complete."""
        present: list[Segment] = []
        for offset in range(self._sequence.unroll_segments + 1):
            segment = self._store.find(name.shifted(offset))
            if segment is None:
                return None
            present.append(segment)
            if segment.ended:
                break
        return present

    def _restored_leaf(self, slot: int, leaf: float, exponent: float) -> float:
        """Returns the leaf for a slot that had that one, by that exponent and any unroll."""
        needed = self._needed(self._store.at(slot).name)
        if needed is None:
            return 0.0
        if leaf > 0 and exponent == self._options.priority_exponent:
            return leaf  # to the last bit; of another unroll, a guess until it is drawn
        if leaf > 0 and exponent > 0:
            return float(self._leaf(np.array(leaf ** (1 / exponent))))
        # It was not complete, or an exponent of 0 has made all priorities alike.
        return self._first_leaf(needed)

    def _first_leaf(self, needed: list[Segment]) -> float:
        unroll = needed[: self._sequence.unroll_segments]
        td_max = max(segment.td_max for segment in unroll)
        td_mean = sum(segment.td_sum for segment in unroll) / sum(s.steps for s in unroll)
        mix = self._options.priority_mix
        return float(self._leaf(np.array(mix * td_max + (1 - mix) * td_mean)))

    def _leaf(self, priorities: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(priorities, MIN_PRIORITY) ** self._options.priority_exponent

    def _set_leaf(self, slot: int, leaf: float) -> None:
        was_drawable = bool(self._tree.get(slot)[0] > 0)
        if leaf > 0 or was_drawable:
            self._sequences += int(leaf > 0) - int(was_drawable)
            self._tree.set(slot, leaf)

    def _collect(self, slot: int) -> tuple[bool, tuple[Segment, ...]]:
        """Returns whether a burn-in is present, and all segments of the sequence at a slot."""
        name = self._store.at(slot).name
        needed = self._needed(name)
        assert needed is not None, f"{name} can be drawn but is incomplete"
        burn_in = self._store.find(name.shifted(-1)) if self._sequence.burn_in_steps else None
        return (False, tuple(needed)) if burn_in is None else (True, (burn_in, *needed))

    def _check_fits(self, segment: Segment) -> None:
        full_steps = self._sequence.segment_steps
        if segment.steps > full_steps or (segment.steps < full_steps and not segment.ended):
            raise ValueError(
                f"segment {segment.name} has {segment.steps} steps; segment_steps is {full_steps}, "
                "and only an episode's last segment may be shorter"
            )
        if segment.history_frames != self._frame_stack - 1:
            raise ValueError(
                f"segment {segment.name} has {segment.history_frames} history frames; frame_stack "
                f"{self._frame_stack} needs {self._frame_stack - 1}"
            )
        layout = {name: getattr(segment, name) for name in _LAYOUT}
        if self._layout not in (None, layout):
            raise ValueError(f"segment {segment.name} holds {layout}, the replay {self._layout}")
        self._layout = layout
