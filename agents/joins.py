"""How an encoder that a representation loss trains joins the Q-network.

    shared    one encoder; loss = RL + weight x representation loss; one optimizer. Or, where the
              arm says so, each loss moves it with an optimizer of its own.
    separate  a second encoder of the same shape, trained by the representation loss alone with an
              optimizer of its own; its features enter the Q-network beside the first encoder's.

Source: ReLIC (Mitrovic et al., 2021) leaves the first to us and states the second in appendix E.6.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from agents.adam import Adam
from agents.interface import EnvShape
from agents.networks import ConvEncoder, RecurrentQNetwork
from agents.options import LearnerOptions, NetworkOptions
from agents.representation.options import RepresentationOptions

if TYPE_CHECKING:
    from agents.representation.arm import Arm

Optimizers = dict[str, torch.optim.Adam]


class SharedEncoder:
    """The Q-network's own encoder, trained by both losses; and what an agent knows of any join.

    Attributes:
      q_encoders: that the Q-network has of its own.
      gives_features: whether it is given the features of another one.
      encoder: f, which the representation loss trains.
      apart: f where it is not the Q-network's.
    """

    q_encoders: ClassVar[int] = 1
    gives_features: ClassVar[bool] = False

    def __init__(self, env: EnvShape, network: NetworkOptions, online: RecurrentQNetwork) -> None:
        self._online = online
        self.encoder = online.encoder
        self.apart: ConvEncoder | None = None

    def given(self, arm: "Arm", options: RepresentationOptions) -> ConvEncoder | None:
        """The encoder whose features the Q-network is given, in learning and in acting."""
        return None

    def optimizers(
        self, arm: "Arm", learner: LearnerOptions, options: RepresentationOptions
    ) -> Optimizers:
        """By name; all parameters that learn are in one of them."""
        parameters = (*self._online.parameters(), *trainable(arm))
        return {"main": _adam(parameters, learner)}

    def backward(self, rl_loss: Tensor, representation_loss: Tensor, weight: float) -> None:
        """Both losses' gradients into .grad: in one pass, of the weighted sum."""
        (rl_loss + weight * representation_loss).backward()


class SharedEncoderStepwise(SharedEncoder):
    """The Q-network's own encoder, moved by each loss with an Adam of its own; no weight.

    Adam's step has the same size whatever its gradient's, so how much a loss moves the encoder is
    its learning rate. In one Adam for both, a representation loss as large as the RL loss also
    enters the mean square that divides RL's steps: they shrink.
    """

    def optimizers(
        self, arm: "Arm", learner: LearnerOptions, options: RepresentationOptions
    ) -> Optimizers:
        """One for each loss; the second one's parameters share memory with the encoder's."""
        self._moved = [nn.Parameter(p.data) for p in self.encoder.parameters()]
        return {
            "main": _adam(self._online.parameters(), learner),
            "representation": _adam((*self._moved, *trainable(arm)), options),
        }

    def backward(self, rl_loss: Tensor, representation_loss: Tensor, weight: float) -> None:
        """Each into gradients of its own."""
        representation_loss.backward()
        for moved, parameter in zip(self._moved, self.encoder.parameters(), strict=True):
            moved.grad, parameter.grad = parameter.grad, None
        rl_loss.backward()


class TwoEncoders(SharedEncoder):
    """Two encoders in the Q-network, both trained end to end: as large as with a separate one."""

    q_encoders: ClassVar[int] = 2


class SeparateEncoder(SharedEncoder):
    """An encoder of its own, which gives the Q-network its features, or its momentum copy's."""

    gives_features: ClassVar[bool] = True

    def __init__(self, env: EnvShape, network: NetworkOptions, online: RecurrentQNetwork) -> None:
        super().__init__(env, network, online)
        self.encoder = ConvEncoder(env, network).to(next(online.parameters()).device)
        self.apart = self.encoder

    def given(self, arm: "Arm", options: RepresentationOptions) -> ConvEncoder:
        """f, or h."""
        momentum: ConvEncoder = arm.get_submodule("momentum_encoder")  # type: ignore[assignment]
        return {"online": self.encoder, "momentum": momentum}[options.acting_encoder]

    def optimizers(
        self, arm: "Arm", learner: LearnerOptions, options: RepresentationOptions
    ) -> Optimizers:
        """One for each loss."""
        return {
            "main": _adam(self._online.parameters(), learner),
            "representation": _adam((*self.encoder.parameters(), *trainable(arm)), options),
        }

    def backward(self, rl_loss: Tensor, representation_loss: Tensor, weight: float) -> None:
        """Each into its own parameters; the weight is the shared encoder's."""
        rl_loss.backward()
        representation_loss.backward()


def trainable(module: nn.Module) -> Iterable[nn.Parameter]:
    """Its parameters that have a gradient."""
    return (p for p in module.parameters() if p.requires_grad)


def _adam(
    parameters: Iterable[nn.Parameter], options: LearnerOptions | RepresentationOptions
) -> Adam:
    return Adam(list(parameters), lr=options.learning_rate, eps=options.adam_epsilon, fused=True)
