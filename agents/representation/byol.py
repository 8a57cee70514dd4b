"""The BYOL loss and its two heads: predict the target's projection of the other view.

    loss = mean_i [2 - 2 cos(prediction_1, projection_target_2)]
         + mean_i [2 - 2 cos(prediction_2, projection_target_1)]

Source: Grill et al., "Bootstrap Your Own Latent", 2020, eq. 2 and sec. 3.3; Mitrovic et al.
(ReLIC), 2021, app. E.6 for the heads in the Atari comparison (target momentum 0.99).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents.networks import ConvEncoder
from agents.representation.arm import RepresentationLoss, TwoWayArm, embedding_metrics
from agents.representation.contrastive import check_embeddings, full_precision
from agents.representation.options import RepresentationOptions
from agents.sequences import SequenceOptions


class ByolHeads(nn.Module):
    """Projector and predictor; called, it yields the online side's prediction.

    The online side is `heads(embedding)`, the target side `momentum_heads.projector(embedding)`:
    float[M, features] to float[M, projection_units] both.

    ReLIC's app. E.6 says only "two-layer perceptrons", hidden units "in the two layers 1024 and
    512". Our reading: linear to 1024, linear to 512, with batch normalisation and ReLU between
    as in BYOL; whether the Atari arm kept the normalisation is not said. In training mode the
    batch statistics need two rows or more.

    Args:
      features: F of the embedding.
      hidden_units: ReLIC, app. E.6: 1024.
      projection_units: ReLIC, app. E.6: 512.
    """

    def __init__(self, features: int, hidden_units: int = 1024, projection_units: int = 512):
        super().__init__()
        self.projector = _perceptron(features, hidden_units, projection_units)
        self.predictor = _perceptron(projection_units, hidden_units, projection_units)

    def forward(self, embedding: Tensor) -> Tensor:
        """Returns the prediction of the target's projection, float[M, projection_units]."""
        prediction: Tensor = self.predictor(self.projector(embedding))
        return prediction


def byol_loss(
    prediction_1: Tensor,
    prediction_2: Tensor,
    projection_target_1: Tensor,
    projection_target_2: Tensor,
) -> Tensor:
    """Returns the loss of both directions, a scalar in [0, 8]; formula in the module's docstring.

    Args:
      prediction_1: float[M, F], from the online encoder and heads on view 1; gradient goes here
      prediction_2: and here (view 2).
      projection_target_1: float[M, F], from the momentum copies on view 1; detached.
      projection_target_2: the same on view 2; detached.

    Raises:
      ValueError: on shapes that disagree.
    """
    check_embeddings(
        prediction_1=prediction_1,
        prediction_2=prediction_2,
        projection_target_1=projection_target_1,
        projection_target_2=projection_target_2,
    )
    pairs = ((prediction_1, projection_target_2), (prediction_2, projection_target_1))
    first, second = (
        F.cosine_similarity(full_precision(one), full_precision(other.detach()), dim=-1)
        for one, other in pairs
    )
    return (2 - 2 * first).mean() + (2 - 2 * second).mean()


def _perceptron(inputs: int, hidden_units: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden_units),
        nn.BatchNorm1d(hidden_units),
        nn.ReLU(),
        nn.Linear(hidden_units, outputs),
    )


class Byol(TwoWayArm):
    """Predicts h's projection of the other view; projector and predictor are its heads."""

    def __init__(
        self, options: RepresentationOptions, sequence: SequenceOptions, encoder: ConvEncoder
    ) -> None:
        super().__init__(options, sequence, encoder)
        self.heads = ByolHeads(encoder.features)
        self.momentum_heads = copy.deepcopy(self.heads).requires_grad_(False)

    def loss_of(
        self, online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor
    ) -> RepresentationLoss:
        """The loss, which compares directions, and so do its metrics."""
        with torch.no_grad():
            projection_1 = self.momentum_heads.projector(target_1)
            projection_2 = self.momentum_heads.projector(target_2)
        loss = byol_loss(self.heads(online_1), self.heads(online_2), projection_1, projection_2)
        metrics = embedding_metrics((online_1, target_2), (online_2, target_1), normalize=True)
        return RepresentationLoss(loss, metrics)

    def followers(self) -> list[tuple[nn.Module, nn.Module]]:
        """Pairs of the two heads."""
        return [(self.momentum_heads, self.heads)]
