"""An engine: who acts, and where. All that the training loop knows of it."""

import logging
from typing import Any, Protocol

import torch
from torch import Tensor

from agents.agent import R2D2Agent
from relic_rl.replay.segment import SegmentName
from relic_rl.runtime.actor import Collected
from relic_rl.runtime.engines import ENGINES

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """Gathers experience."""

    def collect(self) -> Collected:
        """Steps, segments and episodes that came in since the last call."""

    def publish(self, agent: R2D2Agent) -> None:
        """Makes the agent's parameters the ones that actors act with."""

    def metrics(self) -> dict[str, float]:
        """What is worth a column of metrics.jsonl; rates since the last call, counts in all."""

    def state(self) -> dict[str, Any]:
        """What a resume needs; the run's step counter, which it has itself, aside."""

    def load_state(self, state: dict[str, Any], *, env_steps: int) -> None:
        """Takes over what `state` of this engine, or of another one, gave.

        Args:
          state: at the checkpoint.
          env_steps: the run's agent steps there.
        """

    def close(self) -> None:
        """Ends all acting and releases the emulators."""


def resumed_incarnation(engine: str, state: dict[str, Any] | None) -> int:
    """The incarnation in which a run's actors go on from a checkpoint.

    An engine that resumes exactly goes on in its own episodes. Whoever else takes over starts all
    anew, in an incarnation above every one of the run: no segment's name and no seed is used twice,
    however many actors there were in between.

    Args:
      engine: that goes on, by name.
      state: the checkpoint's, of a run with any engine; None at a run's start, which is in 0.
    """
    if state is None:
        return 0
    if _goes_on_exactly(engine, state):
        return int(state["incarnation"])
    _log.warning("resume=episode_restart: the %s engine starts all episodes anew", engine)
    stored = state["replay"]["names"][:, SegmentName._fields.index("incarnation")]
    seated = state["engine"].get("incarnations", [])  # who left nothing in the replay counts, too
    return 1 + int(max([state["incarnation"], *stored, *seated]))


def resumed_generator(engine: str, state: dict[str, Any], own: Tensor) -> Tensor:
    """The state from which the agent's generator goes on.

    Args:
      engine: that goes on, by name.
      state: the checkpoint's.
      own: that of the new generator, which stays where the checkpoint's is another device's.

    Raises:
      ValueError: it is another device's, and the engine is to go on to the last bit.
    """
    saved = torch.from_numpy(state["agent_generator"])
    if saved.shape == own.shape:
        return saved
    if _goes_on_exactly(engine, state):
        raise ValueError(
            f"the {engine} engine cannot go on to the last bit on another kind of device: give "
            "--run.engine threads --allow-change run.engine; or --run.device cpu --allow-change "
            "run.device, if it was trained on a CPU"
        )
    _log.warning("the learner is on another kind of device now: augmentations are drawn anew")
    return own


def _goes_on_exactly(engine: str, state: dict[str, Any]) -> bool:
    """Whether the checkpoint holds the emulators' moment, and the engine takes it up."""
    return ENGINES[engine].resumes_exactly and "actor" in state["engine"]
