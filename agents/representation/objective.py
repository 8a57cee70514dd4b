"""One representation objective: an arm of the paper's Table 4, with what it needs beside f.

f, the online encoder, belongs to whoever trains it (the Q-network when it is shared, the agent when
it is separate) and is handed in at each call; h, the momentum encoder, and the heads live here.

Source: Mitrovic et al. (ReLIC), ICLR 2021, equation 3 and appendix E.6; what they leave open is an
option of `RepresentationOptions`.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agents.augmentation import random_shift_and_intensity
from agents.networks import ConvEncoder, move_towards
from agents.representation.byol import ByolHeads, byol_loss
from agents.representation.contrastive import contrastive_accuracy
from agents.representation.curl import curl_loss
from agents.representation.options import Arm, RepresentationOptions
from agents.representation.relic import relic_loss
from agents.representation.simclr import simclr_loss

LOSS_ARMS: tuple[Arm, ...] = ("relic", "simclr", "curl", "byol")
"""Arms with a loss of their own; `augmentation` and `none` have none."""


class RepresentationLoss(NamedTuple):
    """`loss` has a gradient into f and the heads; metrics have none."""

    loss: Tensor
    metrics: dict[str, Tensor]


class RepresentationObjective(nn.Module):
    """Loss of one arm over M stacks, with its momentum encoder."""

    def __init__(self, options: RepresentationOptions, encoder: ConvEncoder) -> None:
        super().__init__()
        self.arm = arm = options.arm
        if arm not in LOSS_ARMS:
            raise ValueError(f"arm is {arm!r}, needs one of {LOSS_ARMS}")
        self.options = options
        self.momentum_encoder = copy.deepcopy(encoder).requires_grad_(False)
        features = encoder.features
        self.critic = nn.Linear(features, features, bias=False) if arm == "curl" else None
        self.heads = ByolHeads(features) if arm == "byol" else None
        self.momentum_heads = (
            copy.deepcopy(self.heads).requires_grad_(False) if self.heads else None
        )

    def loss(
        self, encoder: ConvEncoder, stacks: Tensor, generator: torch.Generator
    ) -> RepresentationLoss:
        """Two augmentations of uint8[M, S, H, W] through f and h, and the arm's loss over them."""
        stacks = encoder.see(stacks)
        views = torch.cat(
            [
                random_shift_and_intensity(stacks, generator=generator),
                random_shift_and_intensity(stacks, generator=generator),
            ]
        )
        M = stacks.shape[0]
        if self.arm == "curl":  # One direction: the anchor through f, the positive through h.
            online = encoder(views[:M])
            with torch.no_grad():
                target = self.momentum_encoder(views[M:])
            return self._curl(online, target)
        online_1, online_2 = encoder(views).chunk(2)
        with torch.no_grad():
            target_1, target_2 = self.momentum_encoder(views).chunk(2)
        if self.arm == "byol":
            return self._byol(online_1, online_2, target_1, target_2)
        return self._contrast(online_1, online_2, target_1, target_2)

    def update_momentum(self, encoder: ConvEncoder) -> None:
        """Moves h towards f, h <- m h + (1 - m) f; with byol the heads too."""
        move_towards(
            self.momentum_encoder.parameters(), encoder.parameters(), self.options.momentum
        )
        if self.heads is not None and self.momentum_heads is not None:
            move_towards(
                self.momentum_heads.parameters(), self.heads.parameters(), self.options.momentum
            )

    def _contrast(
        self, online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor
    ) -> RepresentationLoss:
        o = self.options
        metrics = _metrics((online_1, target_2), (online_2, target_1), normalize=o.normalize)
        if self.arm == "simclr":
            loss = simclr_loss(
                online_1,
                online_2,
                target_1,
                target_2,
                temperature=o.temperature,
                normalize=o.normalize,
            )
            return RepresentationLoss(loss, {"contrastive_loss": loss.detach(), **metrics})
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
        metrics["contrastive_loss"] = relic.contrastive.detach()
        metrics["invariance_loss"] = relic.invariance.detach()
        return RepresentationLoss(relic.loss, metrics)

    def _curl(self, online: Tensor, target: Tensor) -> RepresentationLoss:
        assert self.critic is not None
        loss = curl_loss(online, target, self.critic.weight)
        embedded = target @ self.critic.weight.detach().T
        metrics = _metrics((online, embedded), normalize=False)  # its logits are plain products
        return RepresentationLoss(loss, {"contrastive_loss": loss.detach(), **metrics})

    def _byol(
        self, online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor
    ) -> RepresentationLoss:
        assert self.heads is not None
        assert self.momentum_heads is not None
        with torch.no_grad():
            projection_1 = self.momentum_heads.projector(target_1)
            projection_2 = self.momentum_heads.projector(target_2)
        loss = byol_loss(self.heads(online_1), self.heads(online_2), projection_1, projection_2)
        # Its loss compares directions.
        metrics = _metrics((online_1, target_2), (online_2, target_1), normalize=True)
        return RepresentationLoss(loss, metrics)


def _metrics(*pairs: tuple[Tensor, Tensor], normalize: bool) -> dict[str, Tensor]:
    """Whether the positive is the closest, as the arm measures it, and how long f's outputs are.

    Args:
      pairs: float[M, F] of f and of h, for each direction; the metrics are their means.
      normalize: whether closeness is the cosine, or the plain product.
    """
    accuracies = [contrastive_accuracy(f, h, normalize=normalize) for f, h in pairs]
    norms = [f.detach().norm(dim=-1).mean() for f, _ in pairs]
    return {
        "contrastive_accuracy": torch.stack(accuracies).mean(),
        "embedding_norm": torch.stack(norms).mean(),
    }
