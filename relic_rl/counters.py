"""How far a run is: plain counters, part of its checkpoints."""

from dataclasses import dataclass

FRAMES_PER_STEP = 4
"""The frame skip of both protocols."""


@dataclass
class Progress:
    """The run's counters, over all its sessions."""

    env_steps: int = 0
    updates: int = 0
    episodes: int = 0
    minutes: float = 0.0
    evaluated_minutes: float = 0.0
    """When the last evaluation was."""
    best_evaluation_score: float | None = None
    evaluation_score: float | None = None
    tracker_id: str | None = None

    @property
    def env_frames(self) -> int:
        """The x-axis of everything: agent steps times the frame skip."""
        return self.env_steps * FRAMES_PER_STEP
