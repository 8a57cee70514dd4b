"""What can be chosen of the networks, and of how they learn.

Defaults are R2D2's published ones. The docstring under a field says what it means and, in square
brackets, the source of its default.
"""

from dataclasses import dataclass
from typing import Literal

from agents.bounds import Decay, Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from agents.sequences import SequenceOptions


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Sizes of the Q-network."""

    frame_stack: PositiveInt = 4
    """Frames that one observation stacks. [R2D2 app.]"""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 64)
    """Channels of the convolutions 8x8/4, 4x4/2, 3x3/1, such as `16,32,32`. [R2D2 app.: DQN's]"""
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
    """False: the state is zero at every step, our reading of a feed-forward R2D2. [R2D2 table 1]"""
    centred_input: bool = False
    """The game's mean picture is taken off each frame: see `agents.centring`. [ours]"""
    layer_norm: bool = False
    """Fully connected layers are normalized before their ReLU. [ours; R2D2 does not]"""


@dataclass(frozen=True, slots=True)
class LearnerOptions(SequenceOptions):
    """R2D2's loss, its sequences and its optimizer."""

    batch_sequences: PositiveInt = 64
    """Sequences in a batch. [R2D2 table 2]"""
    trace_lambda: Fraction = 0.0
    """Above 0: Peng's Q(lambda) targets over the sequence instead of n-step ones. [ours]"""
    discount: Fraction = 0.997
    """Discount (gamma) of the return. [R2D2 table 2]"""
    life_loss_ends_return: bool = False
    """Nothing is bootstrapped over a lost life; the episode continues. [R2D2 app.: no]"""
    rescaling_epsilon: PositiveFloat = 1e-3
    """Epsilon of the value rescaling h. [R2D2 2.3]"""
    learning_rate: PositiveFloat = 1e-4
    """Learning rate of Adam. [R2D2 table 2]"""
    adam_epsilon: PositiveFloat = 1e-3
    """Epsilon of Adam. [R2D2 table 2]"""
    clip_norm: PositiveFloat = 40.0
    """Gradients are scaled down to this global norm. [Ape-X, as in SEED RL]"""
    target_period_updates: PositiveInt = 2500
    """Updates between copies to the target network. [R2D2 table 2]"""
    target_decay: Decay = 0.0
    """Above 0: instead of copies, a target averaged over about 1/(1 - this) updates. [ours]"""
    average_decay: Fraction = 0.0
    """Above 0: evaluation plays with parameters averaged over about 1/(1 - this) updates. [ours]"""
    bfloat16: bool = False
    """Q-networks learn in bfloat16, their LSTM and all losses in float32; CUDA only. [ours]"""
    tf32: bool = False
    """Float32 products and convolutions on a GPU keep 10 bits of each factor, not 23. [ours]"""
    cudnn_benchmark: bool = False
    """A GPU's convolutions are timed, and the fastest kept, for each shape of batch. [ours]"""
    cuda_graph: bool = False
    """An update is asked of a GPU as one piece, a CUDA graph; CUDA only. [ours]"""
    compile_encoders: bool = False
    """torch.compile for the online and target encoders; CUDA only. [ours]"""
    diagnostics_every_updates: NonNegativeInt = 200
    """Updates between the costly diagnostics; 0: never. [ours]"""

    @property
    def steps_per_update(self) -> int:
        """Agent steps that an update trains on, those beyond an episode's end included."""
        return self.batch_sequences * self.unroll_steps
