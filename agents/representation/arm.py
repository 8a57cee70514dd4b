"""What an arm of the paper's table 4 is: a loss beside R2D2's, its networks, and how it joins.

f, the online encoder, belongs to the agent's join and is handed in at each call; h, the momentum
encoder, and the heads belong to the arm.

Source: Mitrovic et al. (ReLIC), ICLR 2021, equation 3 and appendix E.6; what they leave open is an
option of `RepresentationOptions`.
"""

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from agents.augmentation import random_shift_and_intensity
from agents.interface import TrainingBatch
from agents.joins import SeparateEncoder, SharedEncoder
from agents.networks import ConvEncoder, move_towards, stacks_at
from agents.representation.arms import ARMS
from agents.representation.contrast_set import contrast_set
from agents.representation.contrastive import contrastive_accuracy
from agents.representation.options import RepresentationOptions
from agents.sequence_values import Features
from agents.sequences import SequenceOptions


class RepresentationLoss(NamedTuple):
    """`loss` has a gradient into f and the heads; metrics have none."""

    loss: Tensor
    metrics: dict[str, Tensor]


class Arm(nn.Module):
    """An arm without a loss: plain R2D2, unless a subclass says otherwise.

    Args:
      options: of the representation.
      sequence: which rows of a batch are trained on.
      encoder: f as it begins.
    """

    joins: ClassVar[Mapping[str, type[SharedEncoder]]] = {
        "shared": SharedEncoder,
        "separate": SharedEncoder,
    }
    """By `representation.encoder`: how the arm joins the Q-network."""

    def __init__(
        self, options: RepresentationOptions, sequence: SequenceOptions, encoder: ConvEncoder
    ) -> None:
        super().__init__()
        self.options = options
        self.sequence = sequence

    def q_stacks(self, stacks: Tensor, generator: torch.Generator) -> Tensor:
        """What the Q-network learns from: float32[N, S, H, W] of the batch's stacks, as seen."""
        return stacks.float()

    def loss(
        self,
        encoder: ConvEncoder,
        batch: TrainingBatch,
        seen: Features,
        generator: torch.Generator,
    ) -> RepresentationLoss | None:
        """The arm's loss on a batch; None if it has none.

        Args:
          encoder: f.
          batch: of sequences; with time and actions, for losses that need them.
          seen: features that the Q-networks have of it anyway.
          generator: the only source of randomness.
        """
        return None

    def follow(self, encoder: ConvEncoder) -> None:
        """Called after each step of f's optimizer."""


class MomentumArm(Arm, ABC):
    """Two augmentations of each stack of a contrast set, through f and through h.

    h begins as f and follows it: h <- m h + (1 - m) f, as do the heads in `followers`.
    """

    joins = {"shared": SharedEncoder, "separate": SeparateEncoder}  # noqa: RUF012

    def __init__(
        self, options: RepresentationOptions, sequence: SequenceOptions, encoder: ConvEncoder
    ) -> None:
        super().__init__(options, sequence, encoder)
        self.momentum_encoder = copy.deepcopy(encoder).requires_grad_(False)

    def loss(
        self,
        encoder: ConvEncoder,
        batch: TrainingBatch,
        seen: Features,
        generator: torch.Generator,
    ) -> RepresentationLoss:
        """The loss over M stacks of the batch."""
        stacks = encoder.see(self.contrast_set(batch, generator))
        views = [random_shift_and_intensity(stacks, generator=generator) for _ in range(2)]
        return self.compare(encoder, *views)

    def contrast_set(self, batch: TrainingBatch, generator: torch.Generator) -> Tensor:
        """uint8[M, S, H, W]: stacks of the trained rows, and the burn-in's if asked for."""
        trained = self.sequence.trained
        first = 0 if self.options.use_burn_in else trained.start
        k = self.options.stacks_per_sequence
        rows, lanes = contrast_set(batch, lambda held: held[first : trained.stop], k, generator)
        return stacks_at(batch, first + rows, lanes)

    @abstractmethod
    def compare(self, encoder: ConvEncoder, view_1: Tensor, view_2: Tensor) -> RepresentationLoss:
        """The loss of two views of the same stacks, float32[M, S, H, W] each."""

    def followers(self) -> list[tuple[nn.Module, nn.Module]]:
        """Pairs of a head of h, and the head of f that it follows."""
        return []

    def follow(self, encoder: ConvEncoder) -> None:
        """Moves h, and its heads, towards f and its."""
        for mean, newest in ((self.momentum_encoder, encoder), *self.followers()):
            move_towards(mean.parameters(), newest.parameters(), self.options.momentum)


class TwoWayArm(MomentumArm):
    """Both views go through f and through h: view 1 is held against view 2, and 2 against 1."""

    def compare(self, encoder: ConvEncoder, view_1: Tensor, view_2: Tensor) -> RepresentationLoss:
        """The loss of the views' embeddings."""
        views = torch.cat([view_1, view_2])
        online_1, online_2 = encoder(views).chunk(2)
        with torch.no_grad():
            target_1, target_2 = self.momentum_encoder(views).chunk(2)
        return self.loss_of(online_1, online_2, target_1, target_2)

    @abstractmethod
    def loss_of(
        self, online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor
    ) -> RepresentationLoss:
        """The loss of embeddings float[M, F], by f and by h of each view."""


def embedding_metrics(*pairs: tuple[Tensor, Tensor], normalize: bool) -> dict[str, Tensor]:
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


def arm_class(name: str) -> type[Arm]:
    """The arm of a name in `ARMS`."""
    module, _, cls = ARMS[name].partition(".")
    found: type[Arm] = getattr(importlib.import_module(f"agents.representation.{module}"), cls)
    return found
