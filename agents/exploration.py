"""Epsilon-greedy exploration with one rate per lane, spread over a ladder.

Lane i of N explores with ε_i = base^(1 + exponent · i / (N - 1)): from base (0.4) down to
base^(1 + exponent) (0.4^8 = 0.00066), evenly on a logarithmic scale.

Source: Horgan et al., "Distributed Prioritized Experience Replay" (Ape-X), 2018, to
which R2D2 refers for what it does not state. No deviation.
"""

import torch
from torch import Tensor


def epsilon_ladder(lanes: int, base: float, exponent: float) -> Tensor:
    """Returns the ladder of exploration rates over all lanes of a run.

    The ladder belongs to the run: an actor that owns the lanes [first, first + count) takes
    `[first : first + count]` of it. A single lane (N = 1, where the formula is
    0 / 0) stands on the first rung: ε_0 = base.

    Args:
      lanes: N >= 1, of all actors together.
      base: ε of the first lane, in (0, 1].
      exponent: the last lane's ε is base^(1 + exponent); >= 0.

    Returns:
      float32[N], on the CPU, not increasing.

    Raises:
      ValueError: if an argument is out of its range.
    """
    if lanes < 1:
        raise ValueError(f"lanes is {lanes}, must be >= 1")
    if not 0 < base <= 1:
        raise ValueError(f"base is {base}, must be in (0, 1]")
    if not exponent >= 0:
        raise ValueError(f"exponent is {exponent}, must be >= 0")
    place = torch.arange(lanes, dtype=torch.float64) / max(lanes - 1, 1)
    return torch.pow(base, 1 + exponent * place).float()


def epsilon_greedy(q: Tensor, epsilon: Tensor, generator: torch.Generator) -> Tensor:
    """Returns one action per lane: the greedy one, or with probability ε a uniform one.

    The uniform draw is over all actions, the greedy one included. Ties go to the first action.
    Two draws per lane are taken from the generator whatever q and ε are.

    Args:
      q: float32[B, A], in any monotone scale.
      epsilon: float32[B], in [0, 1], on the same device.
      generator: the only source of randomness, on the same device.

    Returns:
      int64[B].

    Raises:
      ValueError: if the shapes disagree.
    """
    if q.ndim != 2 or epsilon.shape != q.shape[:1]:
        raise ValueError(
            f"q has shape {tuple(q.shape)} and epsilon {tuple(epsilon.shape)}, "
            "must be [B, A] and [B]"
        )
    B, A = q.shape
    explores = torch.rand(B, generator=generator, device=q.device) < epsilon
    uniform = torch.randint(A, (B,), generator=generator, device=q.device)
    return torch.where(explores, uniform, q.argmax(-1))
