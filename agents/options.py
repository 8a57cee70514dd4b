"""How an agent learns: plain values, one record a part (its networks: `networks.NetworkShape`)."""

from dataclasses import dataclass
from typing import Literal

from agents.representation.objective import Arm, ContrastOptions

Join = Literal["shared", "separate"]
ActingEncoder = Literal["online", "momentum"]


@dataclass(frozen=True)
class SequenceShape:
    """How the rows of a sequence are used: burn-in, trained, bootstrap."""

    burn_in_steps: int
    unroll_steps: int
    n_steps: int


@dataclass(frozen=True)
class ReinforcementOptions:
    """R2D2's loss and optimizer."""

    discount: float
    trace_lambda: float
    rescaling_epsilon: float
    priority_mix: float
    learning_rate: float
    adam_epsilon: float
    clip_norm: float
    target_period_updates: int
    target_decay: float = 0.0
    """Above 0 the target is a mean of the online network with this decay, and never copied."""
    average_decay: float = 0.0
    """Of the averaged parameters that evaluation plays with; 0: it plays with the newest."""
    bfloat16: bool = False
    """The Q-networks' passes under autocast to bfloat16; LSTM, Q-values and losses stay float32."""
    compile_encoders: bool = False
    """Whether torch.compile makes the encoders' kernels."""


@dataclass(frozen=True)
class RepresentationOptions:
    """Which representation loss, on which frames, and how it joins the RL loss."""

    arm: Arm
    join: Join
    weight: float
    momentum: float
    acting_encoder: ActingEncoder
    """Which of f and h gives its features to the Q-network, where the join is separate."""
    stacks_per_sequence: int
    use_burn_in: bool
    learning_rate: float
    adam_epsilon: float
    clip_norm: float
    contrast: ContrastOptions
