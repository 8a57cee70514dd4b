"""What can be chosen of the representation loss.

Defaults are ReLIC's published ones, where there are any.
"""

from dataclasses import dataclass
from typing import Literal

from agents.bounds import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from agents.representation.arms import SHARED_ONLY, ArmName

KlDirection = Literal["forward", "reverse", "symmetric"]
"""forward: KL(p12 || p21); reverse: KL(p21 || p12); symmetric: the mean of both."""

KlStopGradient = Literal["none", "entropy", "first", "second"]
"""Which part of KL(p || q) = E_p log p - E_p log q is held constant; the value never changes.

none: nothing. entropy: the term E_p log p, while p still learns through E_p log q (as CoBERL is
said to do). first: p, so only q learns. second: q, so only p learns. With direction "symmetric" it
applies to the first and second argument of each of the two terms.
"""


@dataclass(frozen=True, slots=True)
class RepresentationOptions:
    """The representation loss and how it joins the RL loss."""

    arm: ArmName = "relic"
    """What learns the representation: an arm of the paper's table 4, `disturbed_relic` (ours: ReLIC
    between a frame and a disturbed view of it), or `none`. [ReLIC table 4]"""
    encoder: Literal["shared", "separate"] = "shared"
    """One encoder trained by both losses, or a second one for this loss. [separate: ReLIC E.6]"""
    weight: NonNegativeFloat = 1.0
    """Weight of the loss beside the RL loss, where one optimizer learns from both. [ours]"""
    temperature: PositiveFloat = 1.0
    """Temperature (tau); not of curl and byol. [ReLIC table 8]"""
    alpha: NonNegativeFloat = 1.0
    """Weight of the invariance term. [ReLIC eq. 3; value not stated]"""
    normalize: bool = False
    """Unit embeddings before the product; of relic and simclr only. [ReLIC table 8: not scaled]"""
    kl_direction: KlDirection = "forward"
    """KL(p12 || p21), KL(p21 || p12), or their mean. [ReLIC eq. 3; not stated which]"""
    kl_stop_gradient: KlStopGradient = "none"
    """Part of the KL that is held constant: see `KlStopGradient`. [ReLIC: not stated]"""
    momentum: Fraction = 0.99
    """Decay of the momentum encoder h, per update. [ReLIC E.6]"""
    acting_encoder: Literal["online", "momentum"] = "online"
    """Separate encoder: the Q-network is given f's features, or h's. [ReLIC: not stated]"""
    stacks_per_sequence: PositiveInt = 1
    """Frame stacks of each sequence in the contrast set, spread over time. [ReLIC: not stated]"""
    use_burn_in: bool = False
    """The contrast set may hold stacks of the burn-in too; not disturbed_relic's. [ReLIC: not
    stated]"""
    learning_rate: PositiveFloat = 5e-4
    """Learning rate of the loss's own Adam: a separate encoder's, or disturbed_relic's. [ReLIC
    table 8]"""
    adam_epsilon: PositiveFloat = 0.01
    """Epsilon of that Adam. [ReLIC table 8]"""
    clip_norm: PositiveFloat = 40.0
    """Its gradients are scaled down to this global norm. [ReLIC E.6]"""

    def __post_init__(self) -> None:
        """Only a separate encoder hands its features over, and not every arm has one."""
        if self.encoder == "separate" and self.arm in SHARED_ONLY:
            raise ValueError(f"encoder is separate: arm {self.arm} needs encoder shared")
        if self.acting_encoder == "momentum" and self.encoder == "shared":
            raise ValueError("acting_encoder is momentum: use it with encoder separate")
