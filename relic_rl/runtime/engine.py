"""The engine's contract: all that the training loop knows of where and when actors act."""

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
    """Gathers experience. `engines.ENGINES` lists those there are."""

    def collect(self) -> Collected:
        """Steps, segments and episodes that came in since the last call."""

    def publish(self, agent: R2D2Agent) -> None:
        """Makes the agent's parameters the ones that actors act with."""

    def metrics(self) -> dict[str, float]:
        """Columns for metrics.jsonl: rates since the last call, counts since the start."""

    def state(self) -> dict[str, Any]:
        """What a resume needs, except the run's step counter."""

    def load_state(self, state: dict[str, Any], *, env_steps: int) -> None:
        """Restores `state()` of this engine or of another one.

        Args:
          state: at the checkpoint.
          env_steps: the run's agent steps there.
        """

    def close(self) -> None:
        """Ends all acting and releases the emulators."""


def resumed_incarnation(engine: str, state: dict[str, Any] | None) -> int:
    """The incarnation in which a run's actors resume from a checkpoint.

    An engine that resumes exactly continues its own episodes. Any other starts new episodes, in an
    incarnation above all earlier ones, so that no segment's name and no seed is used twice.

    Args:
      engine: the one that resumes, by name.
      state: the checkpoint's, of any engine; None at a run's start, which is incarnation 0.
    """
    if state is None:
        return 0
    if _resumes_exactly(engine, state):
        return int(state["incarnation"])
    _log.warning("resume=episode_restart: the %s engine starts new episodes", engine)
    stored = state["replay"]["names"][:, SegmentName._fields.index("incarnation")]
    seated = state["engine"].get("incarnations", [])  # they may have left nothing in the replay
    return 1 + int(max([state["incarnation"], *stored, *seated]))


def resumed_generator(engine: str, state: dict[str, Any], own: Tensor) -> Tensor:
    """The state with which the agent's generator resumes.

    Args:
      engine: the one that resumes, by name.
      state: the checkpoint's.
      own: the new generator's, used if the checkpoint's belongs to another device.

    Raises:
      ValueError: it belongs to another device, and the engine resumes exactly.
    """
    saved = torch.from_numpy(state["agent_generator"])
    if saved.shape == own.shape:
        return saved
    if _resumes_exactly(engine, state):
        raise ValueError(
            f"the {engine} engine cannot resume to the last bit on another kind of device: give "
            "--run.engine threads --allow-change run.engine; or --run.device cpu --allow-change "
            "run.device, if it was trained on a CPU"
        )
    _log.warning("the learner is on another kind of device: its random generator starts again")
    return own


def _resumes_exactly(engine: str, state: dict[str, Any]) -> bool:
    """Whether the checkpoint holds the emulators' state, and the engine restores it."""
    return ENGINES[engine].resumes_exactly and "actor" in state["engine"]
