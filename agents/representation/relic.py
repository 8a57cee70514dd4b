"""The ReLIC loss: tell instances apart across two views, and do so alike in both orders of views.

    L12 = online_1 target_2^T / τ,   L21 = online_2 target_1^T / τ,   p = row softmax
    loss = CE(L12, diagonal) + CE(L21, diagonal) + α mean_i KL(p12[i] || p21[i])

Source: Mitrovic et al., "Representation Learning via Invariant Causal Mechanisms" (ReLIC), 2021,
eq. 3 with the augmentation pairs (1, 2) and (2, 1); sec. 5 and app. E.6 for Atari: no critic, the
encoder's last layer is the embedding, target momentum 0.99, τ = 1 (table 8).

The paper leaves open, and options here decide:
  alpha             its value is not stated anywhere; 1 by default.
  normalize         table 8 says "Scaling of Embeddings: False", table 5 (ImageNet) "norml.".
  kl_direction      written KL(p_lk, p_qt), the choice of the pairs not said.
  kl_stop_gradient  not mentioned. The defaults are the equation as it is written.
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from agents.representation.arm import RepresentationLoss, TwoWayArm, embedding_metrics
from agents.representation.contrastive import (
    check_embeddings,
    instance_cross_entropy,
    log_probabilities,
)
from agents.representation.options import KlDirection, KlStopGradient

_DIRECTIONS = get_args(KlDirection)
_STOP_GRADIENTS = get_args(KlStopGradient)


class RelicLoss(NamedTuple):
    """Scalars that carry the gradient; loss = contrastive + alpha · invariance."""

    loss: Tensor
    contrastive: Tensor
    """Both cross entropies, added, in nats; 2 log M at chance."""
    invariance: Tensor
    """The KL divergence in nats, before alpha."""


def relic_loss(
    online_1: Tensor,
    online_2: Tensor,
    target_1: Tensor,
    target_2: Tensor,
    *,
    temperature: float,
    alpha: float,
    normalize: bool = False,
    kl_direction: KlDirection = "forward",
    kl_stop_gradient: KlStopGradient = "none",
) -> RelicLoss:
    """Returns the loss and its two parts; formula in the module's docstring.

    Args:
      online_1: float[M, F], the online encoder on view 1; the gradient goes here
      online_2: and here (view 2).
      target_1: float[M, F], the momentum encoder on view 1; detached.
      target_2: the same on view 2; detached.
      temperature: τ > 0. ReLIC, table 8: 1.0.
      alpha: α >= 0; 0 leaves SimCLR's loss.
      normalize: scale each embedding to unit length. Logits then lie in [-1/τ, 1/τ], and with
        τ = 1 the cross entropy cannot fall below about log(M) - 2.
      kl_direction: see `KlDirection`.
      kl_stop_gradient: see `KlStopGradient`.

    Raises:
      ValueError: on shapes that disagree, an unknown option, or a constant out of its range.
    """
    _check_options(alpha, kl_direction, kl_stop_gradient)
    check_embeddings(online_1=online_1, online_2=online_2, target_1=target_1, target_2=target_2)
    log_p12, log_p21 = (
        log_probabilities(online, target.detach(), temperature=temperature, normalize=normalize)
        for online, target in ((online_1, target_2), (online_2, target_1))
    )
    contrastive = instance_cross_entropy(log_p12) + instance_cross_entropy(log_p21)

    pairs = {"forward": [(log_p12, log_p21)], "reverse": [(log_p21, log_p12)]}
    pairs["symmetric"] = pairs["forward"] + pairs["reverse"]
    divergences = [_divergence(p, q, kl_stop_gradient) for p, q in pairs[kl_direction]]
    invariance = torch.stack(divergences).mean(0).mean()
    return RelicLoss(contrastive + alpha * invariance, contrastive, invariance)


def _divergence(log_p: Tensor, log_q: Tensor, stop_gradient: KlStopGradient) -> Tensor:
    """Returns KL(p[i] || q[i]) of each row, float[M]."""
    if stop_gradient == "first":
        log_p = log_p.detach()
    elif stop_gradient == "second":
        log_q = log_q.detach()
    p = log_p.exp()
    if stop_gradient == "entropy":
        return (p * log_p).detach().sum(-1) - (p * log_q).sum(-1)
    return (p * (log_p - log_q)).sum(-1)


def _check_options(alpha: float, kl_direction: str, kl_stop_gradient: str) -> None:
    if not alpha >= 0:
        raise ValueError(f"alpha is {alpha}, must be >= 0")
    if kl_direction not in _DIRECTIONS:
        raise ValueError(f"kl_direction is {kl_direction!r}, must be one of {_DIRECTIONS}")
    if kl_stop_gradient not in _STOP_GRADIENTS:
        raise ValueError(
            f"kl_stop_gradient is {kl_stop_gradient!r}, must be one of {_STOP_GRADIENTS}"
        )


class Relic(TwoWayArm):
    """The paper's arm."""

    def loss_of(
        self, online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor
    ) -> RepresentationLoss:
        """The ReLIC loss by the arm's options."""
        o = self.options
        relic = relic_loss(
            online_1,
            online_2,
            target_1,
            target_2,
            temperature=o.temperature,
            alpha=o.alpha,
            normalize=o.normalize,
            kl_direction=o.kl_direction,
            kl_stop_gradient=o.kl_stop_gradient,
        )
        metrics = embedding_metrics(
            (online_1, target_2), (online_2, target_1), normalize=o.normalize
        )
        metrics["contrastive_loss"] = relic.contrastive.detach()
        metrics["invariance_loss"] = relic.invariance.detach()
        return RepresentationLoss(relic.loss, metrics)
