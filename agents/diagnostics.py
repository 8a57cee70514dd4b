"""What one looks at when learning goes wrong: pure functions, without gradient or randomness.

They are costly enough to be computed now and then only; `R2D2Agent` decides when.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

QUANTILES = (0.5, 0.9, 0.99)


@torch.no_grad()
def effective_rank(features: Tensor) -> Tensor:
    """Returns how many dimensions the features make use of, a scalar in [1, min(N, F)].

    erank = exp( -Σ_i p_i log p_i ),   p_i = σ_i / Σ_j σ_j,   σ the singular values.
    0 if all features are zero: a collapsed encoder. NaN if one is not finite.

    Args:
      features: float[N, F], not centred.

    Source: Roy and Vetterli, "The Effective Rank", 2007, definition 1. No deviation.
    """
    if not features.isfinite().all():  # of which the decomposition makes an exception
        return features.new_full((), torch.nan)
    singular_values = torch.linalg.svdvals(features.float())
    total = singular_values.sum()
    p = singular_values / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, torch.special.entr(p).sum().exp(), 0.0)


@torch.no_grad()
def mean_share(features: Tensor) -> Tensor:
    """Returns how much of the features is the same in all rows, a scalar in [0, 1].

    |mean_i f_i|² / mean_i |f_i|²: 1 if all rows are equal. 0 if all features are zero.

    Args:
      features: float[N, F].
    """
    largest = features.abs().amax().clamp(min=torch.finfo(features.dtype).tiny)
    scaled = features / largest  # squares keep in range
    square = scaled.square().sum(dim=1).mean()
    return torch.where(square > 0, scaled.mean(dim=0).square().sum() / square, 0.0)


@torch.no_grad()
def gradient_cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Returns the cosine of the angle between two gradients, a scalar in [-1, 1].

    Below 0 the two losses pull the parameters apart. 0 if a gradient vanishes.

    Args:
      first: one gradient per parameter, any shapes.
      second: the other loss's, for the same parameters.
    """
    a, b = (torch.cat([g.flatten() for g in gradient]) for gradient in (first, second))
    return torch.nn.functional.cosine_similarity(a, b, dim=0, eps=torch.finfo(a.dtype).tiny)


@torch.no_grad()
def error_quantiles(td_errors: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Returns quantiles of |δ| over the rows of the mask, linearly interpolated.

    Args:
      td_errors: float32[T, B], δ in rescaled value space.
      mask: bool[T, B], the rows that count, at least one.
    """
    sizes = td_errors.abs()[mask]
    levels = torch.tensor(QUANTILES, dtype=sizes.dtype, device=sizes.device)
    names = (f"td_error_{round(100 * level)}th" for level in QUANTILES)
    return dict(zip(names, torch.quantile(sizes, levels).unbind(), strict=True))


@torch.no_grad()
def delta_q(recomputed_q: Tensor, stored_q: Tensor, has_burn_in: Tensor) -> Tensor:
    """Returns how far Q from the stored recurrent state is from Q after burn-in, on average.

    ΔQ = || q_recomputed - q_stored ||_2 / max_a |q_recomputed|, mean over sequences with a burn-in.

    Args:
      recomputed_q: float32[B, A], at the first trained row, the state burned in by this network.
      stored_q: float32[B, A], the same from the state that the actor stored for that row.
      has_burn_in: bool[B], at least one.

    Source: R2D2 (Kapturowski et al., 2019), section 3. Deviation: there the recomputed state comes
    from the episode's start, here from the burn-in, since more is not at hand; and the divisor is
    the largest |q|, not |the largest q|, which passes through 0.
    """
    difference = (recomputed_q - stored_q).norm(dim=-1)
    largest = recomputed_q.abs().amax(dim=-1)
    ratio = difference / largest.clamp(min=torch.finfo(largest.dtype).tiny)
    mean: Tensor = ratio[has_burn_in].mean()
    return mean
