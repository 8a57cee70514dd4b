"""The settings, section by section: one frozen dataclass per part of a run.

Defaults are R2D2's and ReLIC's published ones. The docstring under a field says what it means and,
in square brackets, the source of its default; `relic-rl config` prints both.
"""

from dataclasses import dataclass
from typing import Literal

from agents.bounds import (
    Decay,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from agents.sequences import SequenceOptions


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes of the Q-network."""

    frame_stack: PositiveInt = 4
    """Frames that one observation stacks. [R2D2 app.]"""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 64)
    """Of the convolutions 8x8/4, 4x4/2, 3x3/1, given as `16,32,32`. [R2D2 app.: DQN's network]"""
    features: PositiveInt = 512
    """Width of the fully connected layer after them. [DQN]"""
    lstm: PositiveInt = 512
    """Width of the LSTM. [R2D2 app.]"""
    hidden: PositiveInt = 512
    """Width of each hidden layer of the dueling head. [R2D2 app.]"""
    previous_reward: Literal["raw", "tanh"] = "raw"
    """How the previous reward enters the LSTM. [R2D2 app. gives no transformation]"""
    skip_core: bool = False
    """The head sees the encoder's features beside the LSTM's output. [ours; R2D2 does not]"""
    recurrent: bool = True
    """False: the state is zero at every step, R2D2's feed-forward comparison. [R2D2 table 1]"""
    centred_input: bool = False
    """The game's mean picture is taken off each frame: see `agents.centring`. [ours]"""
    layer_norm: bool = False
    """Layers are normalized before each ReLU, in encoder and head. [ours; R2D2 does not]"""


@dataclass(frozen=True, slots=True)
class LearnerConfig(SequenceOptions):
    """R2D2's loss, its sequences and its optimizer."""

    batch_sequences: PositiveInt = 64
    """Sequences in a batch. [R2D2 table 2]"""
    trace_lambda: Fraction = 0.0
    """Above 0: Peng's Q(λ) targets over the sequence instead of n-step ones. [ours]"""
    discount: Fraction = 0.997
    """γ. [R2D2 table 2]"""
    life_loss_ends_return: bool = False
    """Nothing is bootstrapped over a lost life; the episode goes on. [R2D2 app.: no]"""
    rescaling_epsilon: PositiveFloat = 1e-3
    """ε of the value rescaling h. [R2D2 2.3]"""
    learning_rate: PositiveFloat = 1e-4
    """Adam's. [R2D2 table 2]"""
    adam_epsilon: PositiveFloat = 1e-3
    """Adam's. [R2D2 table 2]"""
    clip_norm: PositiveFloat = 40.0
    """Global gradient norm. [Ape-X, as in SEED RL]"""
    target_period_updates: PositiveInt = 2500
    """Updates between copies to the target network. [R2D2 table 2]"""
    target_decay: Decay = 0.0
    """Above 0: instead of copies, a target averaged over about 1/(1 - this) updates. [ours]"""
    average_decay: Fraction = 0.0
    """Above 0: evaluation plays with parameters averaged over about 1/(1 - this) updates. [ours]"""
    bfloat16: bool = False
    """Q-networks learn in bfloat16, their LSTM and all losses in float32; CUDA only. [ours]"""
    compile_encoders: bool = False
    """torch.compile for the online and target encoders; CUDA only. [ours]"""
    diagnostics_every_updates: NonNegativeInt = 200
    """Updates between the costly diagnostics; 0: never. [ours]"""


@dataclass(frozen=True, slots=True)
class RepresentationConfig:
    """The representation loss and how it joins the RL loss."""

    arm: Literal["relic", "simclr", "curl", "byol", "augmentation", "none"] = "relic"
    """Arm of the paper's table 4, or `none`. [ReLIC table 4]"""
    encoder: Literal["shared", "separate"] = "shared"
    """One jointly trained encoder, or a second one of its own. [separate: ReLIC E.6]"""
    weight: NonNegativeFloat = 1.0
    """Weight of the loss beside the RL loss, with a shared encoder. [ours]"""
    temperature: PositiveFloat = 1.0
    """τ; of relic and simclr only. [ReLIC table 8]"""
    alpha: NonNegativeFloat = 1.0
    """Weight of the invariance term. [ReLIC eq. 3; value not stated]"""
    normalize: bool = False
    """Unit embeddings before the product; of relic and simclr only. [ReLIC table 8: not scaled]"""
    kl_direction: Literal["forward", "reverse", "symmetric"] = "forward"
    """KL(p12 || p21), KL(p21 || p12), or their mean. [ReLIC eq. 3; not stated which]"""
    kl_stop_gradient: Literal["none", "entropy", "first", "second"] = "none"
    """Part of the KL that is held constant: see `relic_loss`. [ReLIC: not stated]"""
    momentum: Fraction = 0.99
    """Of the momentum encoder h. [ReLIC E.6]"""
    acting_encoder: Literal["online", "momentum"] = "online"
    """Whose features a separate encoder gives the Q-network: f's or h's. [ReLIC: not stated]"""
    stacks_per_sequence: PositiveInt = 1
    """Frame stacks of each sequence in the contrast set, spread over time. [ReLIC: not stated]"""
    use_burn_in: bool = False
    """Whether stacks of the burn-in may be among them. [ReLIC: not stated]"""
    learning_rate: PositiveFloat = 5e-4
    """Adam's, for a separate encoder. [ReLIC table 8]"""
    adam_epsilon: PositiveFloat = 0.01
    """Adam's, for a separate encoder. [ReLIC table 8]"""
    clip_norm: PositiveFloat = 40.0
    """Global gradient norm, for a separate encoder. [ReLIC E.6]"""

    def __post_init__(self) -> None:
        """Only a separate encoder hands its features over, and so its momentum encoder's."""
        if self.acting_encoder == "momentum" and self.encoder == "shared":
            raise ValueError("acting_encoder is momentum: use it with encoder separate")
