"""The SimCLR arm of ReLIC's Atari comparison: ReLIC's contrastive part without its regulariser.

    loss = CE(online_1 target_2^T / τ, diagonal) + CE(online_2 target_1^T / τ, diagonal)

Source: Mitrovic et al., "Representation Learning via Invariant Causal Mechanisms" (ReLIC), 2021,
table 5 ("same φ and g, no regulariser") and app. E.6 (no critic embedding, a target encoder with
momentum 0.99, table 8). Deviation from Chen et al., "A Simple Framework for Contrastive Learning
of Visual Representations" (SimCLR), 2020, on purpose and as there: a momentum encoder, and only
other-view negatives (M - 1, not 2 M - 2).
"""

from torch import Tensor

from agents.representation.arm import RepresentationLoss, TwoWayArm, embedding_metrics
from agents.representation.contrastive import (
    instance_cross_entropy,
    two_view_log_probabilities,
)


def simclr_loss(
    online_1: Tensor,
    online_2: Tensor,
    target_1: Tensor,
    target_2: Tensor,
    *,
    temperature: float,
    normalize: bool = False,
) -> Tensor:
    """Returns the loss, a scalar in nats; 2 log M at chance.

    Args:
      online_1: float[M, F], the online encoder on view 1; the gradient goes here
      online_2: and here (view 2).
      target_1: float[M, F], the momentum encoder on view 1; detached.
      target_2: the same on view 2; detached.
      temperature: τ > 0. ReLIC, table 8: 1.0.
      normalize: scale each embedding to unit length.

    Raises:
      ValueError: on shapes that disagree, or a temperature that is not positive.
    """
    log_p12, log_p21 = two_view_log_probabilities(
        online_1, online_2, target_1, target_2, temperature=temperature, normalize=normalize
    )
    return instance_cross_entropy(log_p12) + instance_cross_entropy(log_p21)


class SimClr(TwoWayArm):
    """ReLIC's arm without its regulariser."""

    def loss_of(
        self, online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor
    ) -> RepresentationLoss:
        """The loss by the arm's options."""
        o = self.options
        loss = simclr_loss(
            online_1,
            online_2,
            target_1,
            target_2,
            temperature=o.temperature,
            normalize=o.normalize,
        )
        metrics = embedding_metrics(
            (online_1, target_2), (online_2, target_1), normalize=o.normalize
        )
        return RepresentationLoss(loss, {"contrastive_loss": loss.detach(), **metrics})
