"""ReLIC between a frame as it is and a disturbed view of it, on features that exist anyway.

    e(x) = unit(unit(x) - mean_j unit(h_j))
    l(x) = log softmax over the M stacks of e(x) e(h)^T / τ
    loss = CE(l(f(view)), diagonal) + α mean_i KL(l(f(raw))[i] || l(f(view))[i])

f is the online encoder, h the target network's, whose features of the frames as they are the RL
loss has computed: only the disturbed view is encoded for this loss. h is held constant, and so is
f(raw): the frame as it is teaches, its view learns.

What a camera does to a picture is drawn before the input is centred, as it would happen. So the
encoder learns to see past it, which centred input alone makes harder.

Source: Mitrovic et al. (ReLIC), 2021, eq. 3, with the identity as one of the two augmentations.
Deviations, ours: one order of the pair, since the other has no gradient here; h is the target
network's encoder, copied now and then where the paper has a mean; embeddings are centred, because
what all frames have in common tells none apart; an optimizer of its own
(`agents.joins.SharedEncoderStepwise`) where the paper adds the losses or has an encoder of its own.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from agents.augmentation import random_disturbance
from agents.interface import TrainingBatch
from agents.joins import SharedEncoderStepwise
from agents.networks import ConvEncoder, stacks_at
from agents.representation.arm import Arm, RepresentationLoss
from agents.representation.contrast_set import contrast_set
from agents.representation.contrastive import (
    accuracy_of,
    check_embeddings,
    full_precision,
    instance_cross_entropy,
    log_probabilities,
)
from agents.sequence_values import Features


class DisturbedRelicLoss(NamedTuple):
    """Scalars that carry the gradient; loss = contrastive + alpha · invariance."""

    loss: Tensor
    contrastive: Tensor
    """The cross entropy in nats; log M at chance."""
    invariance: Tensor
    """The KL divergence in nats, before alpha."""
    accuracy: Tensor
    """Share of the views whose most similar key is their own; 1 / M at chance."""


def disturbed_relic_loss(
    view: Tensor, raw: Tensor, key: Tensor, *, temperature: float, alpha: float
) -> DisturbedRelicLoss:
    """Returns the loss and its two parts; formula in the module's docstring.

    Args:
      view: float[M, F], f of the disturbed views; the gradient goes here.
      raw: float[M, F], f of the frames as they are; detached.
      key: float[M, F], h of the frames as they are; detached.
      temperature: τ > 0.
      alpha: α >= 0.
    """
    check_embeddings(view=view, raw=raw, key=key)
    view_units, raw_units, key_units = (
        F.normalize(full_precision(features), dim=-1)
        for features in (view, raw.detach(), key.detach())
    )
    mean = key_units.mean(dim=0)
    log_view, log_raw = (
        log_probabilities(units - mean, key_units - mean, temperature=temperature, normalize=True)
        for units in (view_units, raw_units)
    )
    contrastive = instance_cross_entropy(log_view)
    invariance = (log_raw.exp() * (log_raw - log_view)).sum(dim=-1).mean()
    return DisturbedRelicLoss(
        contrastive + alpha * invariance, contrastive, invariance, accuracy_of(log_view)
    )


class DisturbedRelic(Arm):
    """ReLIC on disturbed views; the encoder is the Q-network's."""

    joins = {"shared": SharedEncoderStepwise}  # noqa: RUF012

    def loss(
        self,
        encoder: ConvEncoder,
        batch: TrainingBatch,
        seen: Features,
        generator: torch.Generator,
    ) -> RepresentationLoss:
        """The loss over M stacks of the trained rows."""
        trained = self.sequence.trained
        k = self.options.stacks_per_sequence
        rows, lanes = contrast_set(batch, lambda held: held[trained], k, generator)
        stacks = stacks_at(batch, trained.start + rows, lanes)
        # Not channels-last: four fifths of a disturbance's time.
        view = encoder(encoder.see(random_disturbance(stacks.contiguous(), generator=generator)))
        raw, key = seen.online[rows, lanes], seen.target[rows, lanes]
        loss = disturbed_relic_loss(
            view, raw, key, temperature=self.options.temperature, alpha=self.options.alpha
        )
        metrics = {
            "contrastive_accuracy": loss.accuracy,
            "embedding_norm": view.detach().norm(dim=-1).mean(),
            "contrastive_loss": loss.contrastive.detach(),
            "invariance_loss": loss.invariance.detach(),
        }
        return RepresentationLoss(loss.loss, metrics)
