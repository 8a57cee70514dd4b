"""How far a run is, and when it is over."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """A run is over after so many environment frames or minutes, whichever comes first."""

    frames: int
    minutes: float = 0.0
    """0: no limit."""

    def is_spent(self, frames: float, minutes: float) -> bool:
        """Whether a run with this progress is over."""
        return frames >= self.frames or 0.0 < self.minutes <= minutes

    def fractions(self, frames: float, minutes: float) -> tuple[float, float]:
        """How much of the frames and of the minutes is spent; of no limit nothing ever is."""
        return frames / self.frames, minutes / self.minutes if self.minutes else 0.0

    def seconds_left(self, frames: float, minutes: float, frames_per_second: float) -> float | None:
        """At the present speed; None where that is 0 and only frames are limited."""
        left = []
        if frames_per_second:
            left.append((self.frames - frames) / frames_per_second)
        if self.minutes:
            left.append(60.0 * (self.minutes - minutes))
        return max(0.0, min(left)) if left else None


def passes_multiple(every_frames: int, before_frames: int, frames: int) -> bool:
    """Whether a multiple of `every_frames` was reached since `before_frames`; 0 has none."""
    return every_frames > 0 and frames // every_frames > before_frames // every_frames


@dataclass
class Progress:
    """The run's counters, over all its sessions; part of its checkpoints."""

    frames_per_step: int = 4
    """The environment's. Checkpoints from before it was kept were all counted by 4."""
    env_steps: int = 0
    updates: int = 0
    episodes: int = 0
    minutes: float = 0.0
    evaluated_minutes: float = 0.0
    """When the last evaluation was."""
    best_evaluation_score: float | None = None
    evaluation_score: float | None = None
    tracker_id: str | None = None
    probed_frames: int = 0
    """Up to which probes are done."""
    evaluated_frames: int = 0
    """Where the last evaluation was."""

    def evaluated(self, mean_score: float) -> None:
        """Counts an evaluation."""
        best = self.best_evaluation_score
        self.evaluated_minutes = self.minutes
        self.evaluated_frames = self.env_frames
        self.evaluation_score = mean_score
        self.best_evaluation_score = mean_score if best is None else max(mean_score, best)

    @property
    def env_frames(self) -> int:
        """The x-axis of everything: environment frames, skipped ones included."""
        return self.env_steps * self.frames_per_step
