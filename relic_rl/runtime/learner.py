"""The learner: samples sequences, updates the agent, writes priorities back."""

import logging
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.agent import R2D2Agent
from relic_rl.errors import UserError
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.sequences import SequenceBatch
from relic_rl.runtime.batches import Batches
from relic_rl.runtime.stopwatch import Stopwatch

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
    """Empty after a skipped update: its NaN would spoil the means."""
    mean_age_steps: float


class Learner:
    """Makes one update at a time.

    Args:
      agent: what learns.
      replay: where the new priorities go.
      batches: what it learns from.
      stopwatch: times "sampling" and "learning".

    Attributes:
      skipped_updates: how many had no finite loss and gradient, and so changed nothing.
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

    def update(self) -> Update:
        """Takes a batch, updates, and writes the new priorities back.

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
        if report.finite:
            self._skipped_in_a_row = 0
            with self._stopwatch.time("sampling"):
                self._replay.update_priorities(
                    batch.slots, batch.generations, report.priorities.numpy()
                )
        else:
            self._skip(batch)
        return Update(report.metrics if report.finite else {}, float(batch.age_steps.mean()))

    def take_skipped_batch(self) -> str | None:
        """The sequences of the last skipped update; None if there is none since the last call."""
        taken, self._skipped_batch = self._skipped_batch, None
        return taken

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
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
    """Means of updates' scalars, kept on the device until they are read.

    Each is the mean over the updates that reported it: some metrics are not computed every time.
    """

    def __init__(self) -> None:
        self.count = 0
        """Updates since the last `take`."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, update: Update) -> None:
        """Adds one update."""
        self.count += 1
        scalars = update.metrics | {"sample_age_steps": torch.tensor(update.mean_age_steps)}
        for name, value in scalars.items():
            known = self._sums.get(name)
            self._sums[name] = value if known is None else known + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Returns the means since the last call."""
        means = {name: total.item() / self._counts[name] for name, total in self._sums.items()}
        self.count = 0
        self._sums.clear()
        self._counts.clear()
        return means

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        sums = {name: total.cpu().numpy() for name, total in self._sums.items()}
        return {"count": self.count, "sums": sums, "counts": dict(self._counts)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        self.count = state["count"]
        self._sums = {name: torch.from_numpy(array) for name, array in state["sums"].items()}
        self._counts = dict(state["counts"])
