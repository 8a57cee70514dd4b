"""The augmentation arm of ReLIC's comparison: R2D2 that learns from augmented frames, no loss.

Source: Mitrovic et al. (ReLIC), 2021, app. E.6. Every stack of a sequence gets a draw of its own,
and the online and the target network see the same pixels.
"""

import torch
from torch import Tensor

from agents.augmentation import random_shift_and_intensity
from agents.joins import SharedEncoder, TwoEncoders
from agents.representation.arm import Arm


class Augmented(Arm):
    """R2D2 on augmented frames; where the encoder is separate, two of them, trained end to end."""

    joins = {"shared": SharedEncoder, "separate": TwoEncoders}  # noqa: RUF012

    def q_stacks(self, stacks: Tensor, generator: torch.Generator) -> Tensor:
        """The stacks, each augmented."""
        return random_shift_and_intensity(stacks, generator=generator)
