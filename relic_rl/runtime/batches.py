"""Batches for the learner, as tensors on its device: sampled when asked for, or ahead of it."""

import time
from typing import Any, ClassVar, NamedTuple, Protocol

import torch

from agents.interface import RecurrentState, TrainingBatch
from relic_rl.replay.buffer import EmptyReplayError, ReplayBuffer
from relic_rl.replay.sequences import SequenceBatch
from relic_rl.runtime.handoff import Handoff
from relic_rl.runtime.transfers import moved, stream_beside

AHEAD_BATCHES = 2
"""Batches that wait for the learner: double buffering."""
_EMPTY_SECONDS = 0.05


class Batch(NamedTuple):
    """A batch as the replay decodes it, and as tensors for the agent."""

    sequences: SequenceBatch
    tensors: TrainingBatch


class Batches(Protocol):
    """Where a learner takes its batches from."""

    ahead: ClassVar[bool]
    """Whether the next batch is drawn before the last one's priorities are known."""

    def take(self) -> Batch:
        """The next batch."""

    def close(self) -> None:
        """Ends background work."""


class BatchesInTurn:
    """Samples, decodes and copies when asked: the next batch knows the last one's priorities.

    Args:
      replay: what is sampled.
      batch_sequences: B.
      device: the learner's.
    """

    ahead: ClassVar[bool] = False

    def __init__(self, replay: ReplayBuffer, batch_sequences: int, device: torch.device) -> None:
        self._replay = replay
        self._batch_sequences = batch_sequences
        self._device = device

    def take(self) -> Batch:
        """Samples a batch.

        Raises:
          EmptyReplayError: the replay holds no complete sequence.
        """
        sequences = self._replay.sample(self._batch_sequences)
        return Batch(sequences, training_batch(sequences, self._device))

    def close(self) -> None:
        """Nothing to end."""


class BatchesAhead:
    """Samples, decodes and copies in a thread, while the learner computes.

    A batch is drawn up to `AHEAD_BATCHES` + 1 updates before it is used, and priorities come back
    one update late: so by priorities that are that much older, and not the same ones twice, for
    engines that are not reproducible anyway. On a GPU the copies go over a stream of their own.

    Args:
      replay: what is sampled.
      batch_sequences: B.
      device: the learner's.
    """

    ahead: ClassVar[bool] = True

    def __init__(
        self,
        replay: ReplayBuffer,
        batch_sequences: int,
        device: torch.device,
    ) -> None:
        self._in_turn = BatchesInTurn(replay, batch_sequences, device)
        self._stream = stream_beside(device)
        self._waiting: Handoff[Batch] = Handoff({"batches": self._sample}, AHEAD_BATCHES)

    def take(self) -> Batch:
        """Returns the oldest batch that is ready; blocks until there is one.

        Raises:
          BaseException: what ended the thread.
        """
        batch = self._waiting.take()
        if self._stream is not None:
            # All tensors' one memory is the copying stream's: not reused before this one is done.
            frames = batch.tensors.frames
            frames.record_stream(torch.cuda.current_stream(frames.device))
        return batch

    def close(self) -> None:
        """Ends the thread, or leaves it behind if it hangs."""
        self._waiting.close()

    def _sample(self) -> Batch | None:
        torch.set_num_threads(1)  # of this thread: costs nothing when it is so
        try:
            if self._stream is None:
                return self._in_turn.take()
            with torch.cuda.stream(self._stream):
                batch = self._in_turn.take()
                self._stream.synchronize()
            return batch
        except EmptyReplayError:  # for a moment, if it is small and evicts as fast as it fills
            time.sleep(_EMPTY_SECONDS)
            return None


def training_batch(batch: SequenceBatch, device: torch.device) -> TrainingBatch:
    """The arrays of a decoded batch as tensors on the learner's device."""
    # Both name the same things alike.
    names = [name for name in TrainingBatch._fields if name != "is_step_on_host"]
    arrays = [getattr(batch, name) for name in names]
    tensors: dict[str, Any] = dict(zip(names, moved(arrays, device), strict=True))
    for name in ("state", "unroll_state"):
        tensors[name] = RecurrentState(*tensors[name])
    return TrainingBatch(**tensors, is_step_on_host=torch.from_numpy(batch.is_step))
