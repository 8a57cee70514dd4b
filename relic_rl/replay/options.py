"""What can be chosen of the replay."""

from dataclasses import dataclass

from agents.bounds import Fraction, NonNegativeInt, PositiveFloat, PositiveInt


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is kept, what is sampled, and how often."""

    capacity_steps: PositiveInt = 4_000_000
    """Steps kept; the oldest go first. [R2D2 table 2]"""
    max_bytes: PositiveInt = 8_000_000_000
    """Largest size in memory, everything counted; the oldest steps go first. [ours]"""
    min_steps: NonNegativeInt = 50_000
    """Steps in the replay before learning starts. [Ape-X]"""
    replay_ratio: PositiveFloat = 0.8
    """Trained steps per environment step. [R2D2 2.3]"""
    priority_exponent: Fraction = 0.9
    """Exponent of the priorities in sampling. [R2D2 table 2]"""
    priority_mix: Fraction = 0.9
    """Eta: share of the largest error in a sequence's priority; the rest is the mean. [R2D2 2.3]"""
    importance_exponent: Fraction = 0.6
    """Exponent of the importance weights. [R2D2 table 2]"""
