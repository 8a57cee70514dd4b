"""The learner: samples sequences, updates the agent, writes priorities back."""

import logging
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.agent import R2D2Agent
from relic_rl.errors import UserError
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.sequences import SequenceBatch
from relic_rl.runtime.batches import Batches
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.runtime.transfers import Fetched

MAX_SKIPPED_UPDATES = 10
"""Updates in a row without a finite loss and gradient, after which a run is stopped."""
CENTRING_FRAMES = 2_000
"""That the mean picture is measured on: with more it hardly moves."""


_log = logging.getLogger(__name__)


class DivergedError(UserError):
    """Training stops: losses or gradients are no longer finite."""


class Update(NamedTuple):
    """One update's scalars, still on the device, and the mean age of its sequences."""

    metrics: dict[str, Tensor]
    finite: Tensor
    """bool[]. False: the update was skipped; its NaN would spoil the means."""
    mean_age_steps: float


class Learner:
    """Makes one update at a time.

    What an update found, new priorities and whether it was finite, is read at once; where batches
    are made ahead, when the next update has been asked for, so that no GPU is waited for.

    Args:
      agent: what learns.
      replay: where the new priorities go.
      batches: what it learns from.
      stopwatch: times "sampling" and "learning".

    Attributes:
      skipped_updates: how many had no finite loss and gradient, and so changed no network.
    """

    def __init__(
        self, *, agent: R2D2Agent, replay: ReplayBuffer, batches: Batches, stopwatch: Stopwatch
    ) -> None:
        self.skipped_updates = 0
        self._skipped_batch: str | None = None
        self._agent = agent
        self._replay = replay
        self._batches = batches
        self._stopwatch = stopwatch
        self._skipped_in_a_row = 0
        self._unread: list[tuple[SequenceBatch, Fetched]] = []

    def update(self) -> Update:
        """Takes a batch, updates, and writes new priorities back.

        Before the first one the agent may measure frames of the replay: `R2D2Agent.centre_input`.

        Raises:
          DivergedError: the tenth update in a row had no finite loss and gradient.
        """
        if self._agent.updates == 0 and self._agent.needs_frames:
            frames = self._replay.frames_over_time(CENTRING_FRAMES)
            self._agent.centre_input(torch.from_numpy(frames))
        with self._stopwatch.time("sampling"):
            batch, tensors = self._batches.take()
        with self._stopwatch.time("learning"):
            report = self._agent.update(tensors)
            found = Fetched(torch.cat([report.priorities, report.finite.float()[None]]))
        self._unread.append((batch, found))
        self._read(all_but=1 if self._batches.ahead else 0)
        return Update(report.metrics, report.finite, float(batch.age_steps.mean()))

    def _read(self, *, all_but: int) -> None:
        """Reads what updates found, the oldest first."""
        while len(self._unread) > all_but:
            batch, found = self._unread.pop(0)
            with self._stopwatch.time("learning"):
                values = found.numpy()
            if not values[-1]:
                self._skip(batch)
                continue
            self._skipped_in_a_row = 0
            with self._stopwatch.time("sampling"):
                self._replay.update_priorities(batch.slots, batch.generations, values[:-1])

    def take_skipped_batch(self) -> str | None:
        """The sequences of the last skipped update; None if there is none since the last call."""
        taken, self._skipped_batch = self._skipped_batch, None
        return taken

    def state(self) -> dict[str, Any]:
        """What an exact resume needs; first reads what is unread."""
        self._read(all_but=0)
        return {
            "skipped_updates": self.skipped_updates,
            "skipped_in_a_row": self._skipped_in_a_row,
            "skipped_batch": self._skipped_batch,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        self.skipped_updates = state["skipped_updates"]
        self._skipped_in_a_row = state["skipped_in_a_row"]
        self._skipped_batch = state["skipped_batch"]

    def _skip(self, batch: SequenceBatch) -> None:
        self.skipped_updates += 1
        self._skipped_in_a_row += 1
        self._skipped_batch = self._replay.describe(batch.slots, batch.generations)
        _log.warning(
            "an update is skipped after %d: its loss or gradient is not finite; its sequences "
            "begin at segments %s (actor/incarnation/lane/episode/index)",
            self._agent.updates,
            self._skipped_batch,
        )
        if self._skipped_in_a_row >= MAX_SKIPPED_UPDATES:
            raise DivergedError(
                f"{MAX_SKIPPED_UPDATES} updates in a row had a loss or gradient that is not "
                f"finite (last batch: segments {self._skipped_batch}): the run stops; resume it "
                "from its last checkpoint, with a lower --learner.learning_rate and "
                "--allow-change learner.learning_rate"
            )


class RunningMeans:
    """Means of updates' scalars, left on the device until they are asked for.

    Each is the mean over the finite updates that reported it: some metrics are not computed every
    time. `sample_age_steps` is over all of them.
    """

    def __init__(self) -> None:
        self.count = 0
        """Updates since the last `take`."""
        self._unread: list[tuple[tuple[str, ...], Tensor, float]] = []
        """Of each update: names; values, and last whether it was finite; mean age."""
        self._sums: dict[str, np.float32] = {}
        self._counts: dict[str, int] = {}

    def add(self, update: Update) -> None:
        """Adds one update."""
        self.count += 1
        values = torch.stack([*update.metrics.values(), update.finite.float()])
        self._unread.append((tuple(update.metrics), values, update.mean_age_steps))

    def take(self) -> dict[str, float]:
        """Returns the means since the last call."""
        self._read()
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self.count = 0
        self._sums.clear()
        self._counts.clear()
        return means

    def _read(self) -> None:
        """Adds up what is unread, in the order in which it came; one transfer for all."""
        if not self._unread:
            return
        lengths = [len(values) for _, values, _ in self._unread]
        found = torch.cat([values for _, values, _ in self._unread]).cpu().split(lengths)
        for (names, _, age), values in zip(self._unread, found, strict=True):
            *scalars, finite = values.numpy()
            metrics = dict(zip(names, scalars, strict=True)) if finite else {}
            for name, value in (metrics | {"sample_age_steps": np.float32(age)}).items():
                self._sums[name] = self._sums.get(name, np.float32(0.0)) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        self._unread.clear()

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        self._read()
        sums = {name: np.asarray(total) for name, total in self._sums.items()}
        return {"count": self.count, "sums": sums, "counts": dict(self._counts)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        self.count = state["count"]
        self._sums = {name: np.float32(total) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])
