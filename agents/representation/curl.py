"""The CURL loss: instance discrimination with a learned bilinear similarity, in one direction.

    logits[i, j] = online_1[i]^T W target_2[j],   loss = CE(logits, diagonal)

Source: Laskin et al., "CURL: Contrastive Unsupervised Representations for Reinforcement Learning",
2020, its pseudocode; Mitrovic et al. (ReLIC), 2021, app. E.6: "linear layer as a
critic embedding for the target encoder". The pseudocode's subtraction of the row maximum is for
stability only; log_softmax does it.

Deviation: none from the pseudocode. CURL's published Atari code (`curl_rainbow`) differs in five
points; E.6 does not say which of them ReLIC's comparison kept:
- it multiplies the logits by 0.1;
- a head of two layers makes 128 units of the features, where the features themselves are compared
  here;
- that head has a LayerNorm after each layer;
- W starts from U(0, 1);
- it augments by cropping to 80, replicate-padding by 4 and cropping to 84; here all arms share
  ReLIC's shift and intensity.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents.networks import ConvEncoder
from agents.representation.arm import MomentumArm, RepresentationLoss, embedding_metrics
from agents.representation.contrastive import (
    check_embeddings,
    full_precision,
    instance_cross_entropy,
    log_probabilities,
)
from agents.representation.options import RepresentationOptions
from agents.sequences import SequenceOptions


def curl_loss(online_1: Tensor, target_2: Tensor, critic_weight: Tensor) -> Tensor:
    """Returns the loss, a scalar in nats; log M at chance.

    Args:
      online_1: float[M, F], the online encoder on view 1 (the query); the gradient goes here
      target_2: float[M, F], the momentum encoder on view 2 (the key); detached.
      critic_weight: float[F, F], W; and the gradient goes here.

    Raises:
      ValueError: on shapes that disagree.
    """
    check_embeddings(online_1=online_1, target_2=target_2)
    features = online_1.shape[1]
    if critic_weight.shape != (features, features):
        raise ValueError(
            f"critic_weight has shape {tuple(critic_weight.shape)}, must be "
            f"{(features, features)} for embeddings of {features} features"
        )
    with torch.autocast(online_1.device.type, enabled=False):
        keys = full_precision(target_2.detach())
        embedded_keys = F.linear(keys, critic_weight.to(keys.dtype))
    return instance_cross_entropy(log_probabilities(online_1, embedded_keys))


class Curl(MomentumArm):
    """One direction: the anchor, view 1, through f, the positive, view 2, through h."""

    def __init__(
        self, options: RepresentationOptions, sequence: SequenceOptions, encoder: ConvEncoder
    ) -> None:
        super().__init__(options, sequence, encoder)
        self.critic = nn.Linear(encoder.features, encoder.features, bias=False)

    def compare(self, encoder: ConvEncoder, view_1: Tensor, view_2: Tensor) -> RepresentationLoss:
        """View 1 through f alone, view 2 through h alone."""
        online = encoder(view_1)
        with torch.no_grad():
            target = self.momentum_encoder(view_2)
        return self.loss_of_pair(online, target)

    def loss_of_pair(self, online: Tensor, target: Tensor) -> RepresentationLoss:
        """The loss of embeddings float[M, F]."""
        loss = curl_loss(online, target, self.critic.weight)
        embedded = target @ self.critic.weight.detach().T
        metrics = embedding_metrics((online, embedded), normalize=False)  # plain products
        return RepresentationLoss(loss, {"contrastive_loss": loss.detach(), **metrics})
