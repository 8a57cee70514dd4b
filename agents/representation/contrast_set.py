"""The contrast set: which frame stacks of a batch the representation loss compares.

ReLIC (Mitrovic et al., 2021) writes of M points "we use to construct the contrast set" and says
nothing of their number or of which time steps they are in the Atari experiment. Ours: k of each
sequence, spread evenly over its steps. Neighbouring frames are near duplicates, so that a row's
hardest negatives are its own neighbours: k = 1 avoids them, a large k takes them all in.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from agents.interface import TrainingBatch


def contrast_set(
    batch: TrainingBatch,
    rows_of: Callable[[Tensor], Tensor],
    stacks_per_sequence: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Returns M places (row, sequence) of a batch that hold a step, k of each sequence.

    A sequence of n steps is cut into k equal stretches and one place is taken of each, all at the
    same random offset: every step is chosen with probability min(k / n, 1), and with k >= n all
    of them are. No place is chosen twice, so M is the sum over sequences of min(k, n).

    Where the batch does not say on the host which rows hold steps, so that M would wait for a GPU,
    M is k for each sequence: one of fewer steps has some twice.

    Args:
      batch: of sequences; in each column `is_step` is one unbroken run.
      rows_of: makes of bool[L, B], which hold a step, bool[R, B]: the rows to choose from.
      stacks_per_sequence: k >= 1.
      generator: the only source of randomness: B draws, whatever the rest.

    Returns:
      rows and sequences, int64[M] each.

    Raises:
      ValueError: if stacks_per_sequence < 1.
    """
    if stacks_per_sequence < 1:
        raise ValueError(f"stacks_per_sequence is {stacks_per_sequence}, must be >= 1")
    is_step = rows_of(batch.is_step)
    R, B = is_step.shape
    k = min(stacks_per_sequence, R)
    steps = is_step.sum(dim=0)
    first_row = is_step.int().argmax(dim=0)
    offset = torch.rand(B, generator=generator, device=generator.device).to(is_step.device)
    stretch = torch.arange(k, device=is_step.device)[:, None]
    # Rounding may carry the last place to the end: minimum keeps it inside.
    places = ((stretch + offset) * (steps / k)).long().minimum(steps - 1)
    if batch.is_step_on_host is None:
        sequences = torch.arange(B, device=is_step.device).expand(k, B)
        return (first_row + places.clamp(min=0)).flatten(), sequences.flatten()
    is_new = (steps > 0).expand(k, B).clone()
    is_new[1:] &= places[1:] > places[:-1]
    M = int(rows_of(batch.is_step_on_host).sum(dim=0).clamp(max=k).sum())
    stretches, sequences = is_new.nonzero_static(size=M).unbind(dim=1)
    return (first_row + places)[stretches, sequences], sequences
