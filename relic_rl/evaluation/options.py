"""What can be chosen of evaluation."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from agents.bounds import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt

LEAST_PROBE_STEPS = 1_000
"""Fewer teach a probe nothing."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """How the agent is judged: full episodes, unclipped, under the run's protocol."""

    episodes: PositiveInt = 10
    """Full episodes of the evaluation at the end, and of `relic-rl evaluate`. [ours]"""
    epsilon: Fraction = 0.001
    """Probability of a random action in evaluation. [SEED RL]"""
    every_minutes: NonNegativeFloat = 30.0
    """Minutes between evaluations during training; 0: none by minutes. [ours]"""
    every_frames: NonNegativeInt = 0
    """Frames between evaluations during training, at their multiples; 0: none by frames. [ours]"""
    interim_episodes: PositiveInt = 3
    """Episodes of an evaluation during training. [ours]"""
    probe_steps: Annotated[int, Interval(ge=LEAST_PROBE_STEPS)] = 20_000
    """Steps played for probes, and for `relic-rl probe`. [ours; Anand et al., 2019: 50,000]"""
