"""What can be chosen of acting, and of a run as a whole."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from agents.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
)
from relic_rl.counters import Budget
from relic_rl.records.tracking import TrackerName
from relic_rl.runtime.engines import EngineName

LOCAL = "local"
"""An address: no cluster's, but of a Ray that is started on this machine."""

GRAPHED_ACTORS = 30
"""Beside one learner: PyTorch hands out 32 CUDA streams, then the same again; but what two threads
ask of one stream would go into one's graph. The learner's batches and its own graph have two."""


@dataclass(frozen=True, slots=True)
class ActorOptions:
    """How experience is gathered, and how actors explore."""

    lanes: PositiveInt = 256
    """Environments, each at its own place on the ladder of epsilons. [R2D2 table 2: actors]"""
    actors: PositiveInt = 1
    """Actors that share the lanes evenly; more than one needs the threads or ray engine. [ours]"""
    epsilon_base: PositiveFraction = 0.4
    """epsilon_i = base^(1 + exponent i / (lanes - 1)). [Ape-X]"""
    epsilon_exponent: NonNegativeFloat = 7.0
    """See epsilon_base. [Ape-X]"""
    publish_every_updates: PositiveInt = 16
    """Updates between fresh parameters (400 steps a lane); ray: before the first. [R2D2 table 2]"""
    cuda_graph: bool = False
    """A policy's step is asked of a GPU as one piece, a CUDA graph; CUDA only. [ours]"""
    refresh_steps: PositiveInt = 400
    """Ray engine: steps of each lane before an actor fetches newer parameters. [R2D2 table 2]"""

    def __post_init__(self) -> None:
        """Raises ValueError unless every actor has as many lanes."""
        if self.lanes % self.actors:
            raise ValueError(f"actors is {self.actors}: use a divisor of lanes ({self.lanes})")

    @property
    def lanes_per_actor(self) -> int:
        """Environments of each actor."""
        return self.lanes // self.actors


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How long, on what, and how it is recorded."""

    frames: PositiveInt = 15_000_000_000
    """Environment frames to train for (4 a step). [ReLIC E.6]"""
    minutes: NonNegativeFloat = 0.0
    """Minutes to train for, whichever ends first; 0: no limit. [ours]"""
    engine: EngineName = "inline"
    """Where actors act: in turn with the learner, in threads beside it (unless said otherwise, if
    it learns on a GPU), or on Ray. [ours]"""
    ray_address: str = LOCAL
    """Ray engine: local, auto, HOST:PORT or ray://HOST:PORT; see docs/cluster.md. [ours]"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner computes: on the first GPU of CUDA_VISIBLE_DEVICES, or the CPU. [ours]"""
    threads: Annotated[int, Interval(ge=0, le=4096)] = 0
    """CPU threads of the learner; 0: as many as cores. [ours]"""
    track: tuple[TrackerName, ...] = ("off",)
    """Mirrors of the metrics: wandb online or offline, tensorboard, or several. [ours]"""
    log_every_seconds: PositiveFloat = 10.0
    """Seconds between status lines. [ours]"""
    metrics_every_updates: PositiveInt = 100
    """Updates between rows of metrics.jsonl. [ours]"""
    checkpoint_every_minutes: PositiveFloat = 10.0
    """Minutes between checkpoints. [ours]"""
    probe_every_frames: NonNegativeInt = 0
    """Frames between linear probes of what the agent knows of the game; 0: none. [ours]"""
    keep: Literal["replay", "checkpoint", "policy"] = "replay"
    """What a finished run leaves: all, to be trained on; its last checkpoint without the replay; or
    the policy, which still plays. [ours]"""

    def __post_init__(self) -> None:
        """Raises ValueError: two trackers are named that exclude each other."""
        named = f"track is {','.join(self.track)}"
        if "off" in self.track and len(self.track) > 1:
            raise ValueError(f"{named}: give off, or the others without it")
        if {"offline", "online"} <= set(self.track):  # both are wandb's, and a run has one id there
            raise ValueError(f"{named}: give offline or online")

    @property
    def budget(self) -> Budget:
        """Where the run ends."""
        return Budget(self.frames, self.minutes)
