"""The R2D2 network: a convolutional encoder, an LSTM core and a dueling head.

Source: Kapturowski et al., "Recurrent Experience Replay in Distributed RL" (R2D2), ICLR 2019,
section 2.3 and appendix: the 3-layer convolutional network of DQN, an LSTM of 512 units fed with
the previous reward and the one-hot previous action, and a dueling head whose value and advantage
streams have a hidden layer of 512 units each. All widths are `NetworkOptions`.
"""

import math
from collections.abc import Iterable
from copy import deepcopy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents.centring import FrameCentring
from agents.interface import EnvShape, RecurrentState, TrainingBatch
from agents.options import NetworkOptions

_Module = TypeVar("_Module", bound=nn.Module)

KERNELS = (8, 4, 3)
STRIDES = (4, 2, 1)
PIXEL_SCALE = 1.0 / 255.0
CPU_CHUNK_STACKS = 1024
"""On a CPU the encoder takes so many stacks at a time. The gradient of the first convolution's
weights is much slower with 5,120; docs/benchmarks.md has what this makes of an update."""
HIDDEN_GAIN, OUTPUT_GAIN = math.sqrt(2.0), 0.1
"""Of the weights before a ReLU, and of those that end in Q-values."""
FORGET_BIAS = 1.0
"""Added to the LSTM's: a memory that begins by halving each step learns slowly to keep anything."""


def initialize(layer: nn.Module, gain: float) -> None:
    """A linear or convolutional layer's: normal of deviation gain / √inputs; biases of zero.

    With √2 before a ReLU (He et al., 2015) activations keep their size, so that what differs
    between frames reaches the Q-values. With PyTorch's own weights and biases, two fifths of the
    size, the features of all frames point the same way: effective rank 2 until 2,000 updates on
    Breakout.
    """
    weight = layer.get_parameter("weight")
    if not weight.is_meta:  # for which torch imports its compiler, to draw nothing
        nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))
    nn.init.zeros_(layer.get_parameter("bias"))


class ConvEncoder(nn.Module):
    """DQN's three convolutions and a fully connected layer, ReLU after each.

    With `layer_norm` the features are normalized before their ReLU (Ba et al., "Layer
    Normalization", 2016; before the ReLU as in Gallici et al., "Simplifying Deep Temporal
    Difference Learning", 2024). Deviation: the convolutions are not. It cost 5 ms of an update of
    60, and what a ball's or paddle's position could be learned in was the same without
    (docs/lab-notes/what-the-encoder-sees.md).

    Without `centred_input` the division by 255 is folded into the first convolution's weights: it
    costs nothing per pixel.

    Raises:
      ValueError: frames are too small.
    """

    def __init__(self, env: EnvShape, options: NetworkOptions) -> None:
        super().__init__()
        height, width, previous = env.frame_height, env.frame_width, options.frame_stack
        layers = []
        for out, kernel, stride in zip(options.channels, KERNELS, STRIDES, strict=True):
            layers.append(nn.Conv2d(previous, out, kernel, stride))
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            previous = out
        if min(height, width) < 1:
            raise ValueError(
                f"frames of {env.frame_height}x{env.frame_width} are too small for kernels "
                f"{KERNELS}, strides {STRIDES}: use 36x36 or more"
            )
        self.convolutions = nn.ModuleList(layers)
        self.projection = nn.Linear(previous * height * width, options.features)
        self.features = options.features
        self.centring: FrameCentring | None = None
        if options.centred_input:
            self.centring = FrameCentring(env.frame_height, env.frame_width)
        norm = nn.LayerNorm(options.features) if options.layer_norm else nn.Identity()
        self.norm: nn.Module = norm
        for layer in (*layers, self.projection):
            initialize(layer, HIDDEN_GAIN)
        # Channels last is what the CPU's convolutions are fastest in. Not the first one's weights:
        # its few input channels would make each of an actor's planar stacks be reordered.
        for layer in layers[1:]:
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def see(self, frames: Tensor) -> Tensor:
        """Frames [..., H, W] in [0, 255] -> what the convolutions see of them, in the same shape.

        Centred float32 with `centred_input`; without it, the frames themselves. A learner that
        stacks frames calls it once for each frame; `forward` does it to bytes.
        """
        return frames if self.centring is None else self.centring(frames)

    def forward(self, stacks: Tensor) -> Tensor:
        """Stacks -> float32[N, F], non-negative; the layers' own type under autocast.

        Args:
          stacks: uint8[N, S, H, W], or float32 of what `see` yields; best in channels-last layout.
        """
        if stacks.dtype == torch.uint8:
            stacks = self.see(stacks)
        if stacks.device.type == "cpu" and len(stacks) > CPU_CHUNK_STACKS:
            return torch.cat([self._features(chunk) for chunk in stacks.split(CPU_CHUNK_STACKS)])
        return self._features(stacks)

    def _features(self, stacks: Tensor) -> Tensor:
        first, *rest = self.convolutions
        assert isinstance(first, nn.Conv2d)
        pixels = stacks.to(first.weight.dtype)
        weight = first.weight if self.centring is not None else first.weight * PIXEL_SCALE
        x = F.relu_(F.conv2d(pixels, weight, first.bias, first.stride))
        for layer in rest:
            x = F.relu_(layer(x))
        # Flattened in (row, column, channel) order: free for channels-last activations.
        return F.relu_(self.norm(self.projection(x.permute(0, 2, 3, 1).flatten(1))))


class DuelingHead(nn.Module):
    """Q(s, a) = V(s) + A(s, a) - mean_a A(s, a).

    Source: Wang et al., "Dueling Network Architectures", 2016, equation 9.
    """

    def __init__(self, inputs: int, hidden: int, actions: int, *, layer_norm: bool) -> None:
        super().__init__()
        self.value = _stream(inputs, hidden, 1, layer_norm)
        self.advantage = _stream(inputs, hidden, actions, layer_norm)

    def forward(self, x: Tensor) -> Tensor:
        """float32[..., inputs] -> float32[..., A]; so under autocast, too."""
        advantage, value = _at_least_float32(self.advantage(x)), _at_least_float32(self.value(x))
        return value + advantage - advantage.mean(dim=-1, keepdim=True)


def _at_least_float32(values: Tensor) -> Tensor:
    """In bfloat16 a sum of value and advantage keeps 8 bits: near actions would be equally good."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _stream(inputs: int, hidden: int, outputs: int, layer_norm: bool) -> nn.Sequential:
    first, last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
    initialize(first, HIDDEN_GAIN)
    initialize(last, OUTPUT_GAIN)  # values begin near zero
    norms = [nn.LayerNorm(hidden)] if layer_norm else []
    return nn.Sequential(first, *norms, nn.ReLU(), last)


class RecurrentQNetwork(nn.Module):
    """Encoder(s), LSTM core, dueling head.

    `encoders` is 2 only for the paper's augmentation baseline, where two identical encoders are
    trained end to end. `given_features` is the width of features that another encoder provides
    (the separate representation encoder of ReLIC's appendix E.6); no gradient goes through them.
    """

    def __init__(
        self, env: EnvShape, options: NetworkOptions, *, encoders: int = 1, given_features: int = 0
    ) -> None:
        super().__init__()
        self.options = options
        self.actions = env.actions
        self.given_features = given_features
        self.encoders = nn.ModuleList(ConvEncoder(env, options) for _ in range(encoders))
        seen = options.features * encoders + given_features
        self.core = nn.LSTM(seen + 1 + self.actions, options.lstm)
        with torch.no_grad():  # the gates' order is input, forget, cell, output
            self.core.get_parameter("bias_ih_l0")[options.lstm : 2 * options.lstm] += FORGET_BIAS
        read = options.lstm + seen * options.skip_core
        self.head = DuelingHead(read, options.hidden, self.actions, layer_norm=options.layer_norm)

    @property
    def encoder(self) -> ConvEncoder:
        """The encoder that a shared representation loss trains too."""
        encoder = self.encoders[0]
        assert isinstance(encoder, ConvEncoder)
        return encoder

    def initial_state(self, lanes: int) -> RecurrentState:
        """Zeros: the state at an episode's start."""
        device = next(self.parameters()).device
        return RecurrentState(*torch.zeros(2, lanes, self.options.lstm, device=device).unbind())

    def encode(self, stacks: Tensor, given: Tensor | None = None) -> Tensor:
        """Stacks [N, S, H, W] as an encoder takes them, given features [N, G] -> float32[N, F']."""
        parts = [encoder(stacks) for encoder in self.encoders]
        if self.given_features:
            if given is None:
                raise ValueError(f"given is None, needs features [N, {self.given_features}]")
            parts.append(given.detach())
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def unroll(
        self,
        features: Tensor,
        previous_actions: Tensor,
        previous_rewards: Tensor,
        state: RecurrentState,
    ) -> tuple[Tensor, RecurrentState]:
        """Runs the core over T rows and reads the head at each.

        Args:
          features: float32[T, B, F'] from `encode`.
          previous_actions: int64[T, B], -1 where there was none (encoded as all zeros).
          previous_rewards: float32[T, B].
          state: before the first row.

        Returns:
          Q-values float32[T, B, A] in rescaled space, and the state after the last row.
        """
        outputs, state = self.advance(features, previous_actions, previous_rewards, state)
        return self.head(outputs), state

    def advance(
        self,
        features: Tensor,
        previous_actions: Tensor,
        previous_rewards: Tensor,
        state: RecurrentState,
    ) -> tuple[Tensor, RecurrentState]:
        """The same without the head: what it would read, [T, B, ...], and the state."""
        squash = self.options.previous_reward == "tanh"
        rewards = torch.tanh(previous_rewards) if squash else previous_rewards
        one_hot = F.one_hot(previous_actions + 1, self.actions + 1)[..., 1:]
        inputs = torch.cat([features, rewards.unsqueeze(-1), one_hot.to(features.dtype)], dim=-1)
        # Under autocast, of whatever type, cuDNN's LSTM takes float16: small gradients would be 0.
        with torch.autocast(inputs.device.type, enabled=False):
            outputs, (hidden, cell) = self._core_over(inputs.to(state.hidden.dtype), state)
        if self.options.skip_core:
            outputs = torch.cat([outputs, features], dim=-1)
        return outputs, RecurrentState(hidden, cell)

    def _core_over(
        self, inputs: Tensor, state: RecurrentState
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if self.options.recurrent:
            outputs, (hidden, cell) = self.core(inputs, (state.hidden[None], state.cell[None]))
            return outputs, (hidden[0], cell[0])
        # Every row on its own, from a state of zeros.
        outputs, _ = self.core(inputs.flatten(0, 1)[None])
        zeros = (torch.zeros_like(state.hidden), torch.zeros_like(state.cell))
        return outputs[0].unflatten(0, inputs.shape[:2]), zeros


def stacks_from_frames(frames: Tensor, frame_stack: int) -> Tensor:
    """Builds the stack of every row from frames stored once.

    Args:
      frames: [L + S - 1, B, H, W].
      frame_stack: S.

    Returns:
      [L * B, S, H, W], channels-last in memory, rows in [L, B] order; the newest frame last.
    """
    rows = frames.shape[0] - frame_stack + 1
    stacked = frames.new_empty((rows, *frames.shape[1:], frame_stack))
    for i in range(frame_stack):  # a copy each: torch.stack takes twice as long with floats
        stacked[..., i] = frames[i : i + rows]
    return stacked.flatten(0, 1).permute(0, 3, 1, 2)


def stacks_at(batch: TrainingBatch, rows: Tensor, lanes: Tensor) -> Tensor:
    """The stacks of M places of a batch, uint8[M, S, H, W], channels-last.

    Args:
      batch: of sequences.
      rows: int64[M].
      lanes: int64[M].
    """
    frame_stack = len(batch.frames) - len(batch.actions) + 1
    window = torch.arange(frame_stack, device=rows.device)
    stacks = batch.frames[rows[:, None] + window, lanes[:, None]]
    return stacks.contiguous(memory_format=torch.channels_last)


def copied(module: _Module) -> _Module:
    """A copy whose LSTM has its weights in one piece: cuDNN wants that, and copying undoes it."""
    copy = deepcopy(module)
    for part in copy.modules():
        if isinstance(part, nn.LSTM):
            part.flatten_parameters()
    return copy


@torch.no_grad()
def move_towards(means: Iterable[Tensor], newest: Iterable[Tensor], decay: float) -> None:
    """Each mean <- decay x mean + (1 - decay) x its newest, in place: an exponential mean."""
    torch._foreach_lerp_(list(means), list(newest), 1 - decay)


def load_parameters(name: str, module: nn.Module, found: dict[str, Tensor]) -> None:
    """Takes over a module's parameters and buffers; `name` is for the message.

    Raises:
      ValueError: names, shapes or dtypes differ from the module's; nothing was taken over.
    """
    expected = module.state_dict()
    if expected.keys() != found.keys():
        raise ValueError(
            f"{name}: parameters {sorted(expected.keys() ^ found.keys())} do not match"
        )
    for key, tensor in expected.items():
        other = found[key]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            raise ValueError(
                f"{name}.{key} is {other.dtype}{list(other.shape)}, "
                f"needs {tensor.dtype}{list(tensor.shape)}"
            )
    module.load_state_dict(found)
