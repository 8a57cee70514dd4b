"""The R2D2 loss: squared n-step double-Q errors in rescaled space, over time-major sequences.

Source: Kapturowski et al. (R2D2), ICLR 2019, section 2.3. The paper leaves open how the error is
reduced; as in the authors' later SEED RL and Acme code, errors are squared (not Huber), halved,
summed over time, weighted by importance and averaged over the batch.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from agents.returns import n_step_double_q_targets, q_lambda_targets, sequence_priorities


class R2D2Loss(NamedTuple):
    """`loss` has a gradient; the rest does not."""

    loss: Tensor
    """float32[]"""
    td_errors: Tensor
    """float32[T, B]: target minus estimate, 0 where masked."""
    mask: Tensor
    """bool[T, B]: rows that were trained on."""
    priorities: Tensor
    """float32[B]"""
    largest_q: Tensor
    """float32[]: the largest |Q| of all actions in the rows that were trained on, rescaled."""

    def metrics(self) -> dict[str, Tensor]:
        """Scalars to watch."""
        errors = self.td_errors.abs()
        return {
            "td_error_mean": errors.sum() / self.mask.sum().clamp(min=1),
            "td_error_max": errors.max(),
            "largest_q": self.largest_q,
            "masked_fraction": 1.0 - self.mask.float().mean(),
        }


def r2d2_loss(
    *,
    online_q: Tensor,
    bootstrap_online_q: Tensor,
    target_q: Tensor,
    actions: Tensor,
    rewards: Tensor,
    terminated: Tensor,
    is_step: Tensor,
    weights: Tensor,
    discount: float,
    n_steps: int,
    trace_lambda: float,
    rescaling_epsilon: float,
    priority_mix: float,
) -> R2D2Loss:
    """Loss, errors and new priorities of a batch of sequences.

    Args:
      online_q: float32[T, B, A], online Q-values of the trained rows, with gradient.
      bootstrap_online_q: float32[T + n, B, A], the same and the rows after them, without gradient.
      target_q: float32[T + n, B, A], the target network's.
      actions: int64[T + n, B]
      rewards: float32[T + n, B], unclipped.
      terminated: bool[T + n, B]
      is_step: bool[T + n, B]; rows without a step are not trained on.
      weights: float32[B], importance weights.
      discount: γ.
      n_steps: n, at least 1.
      trace_lambda: 0 for R2D2's n-step targets; above 0 for Peng's Q(λ) over the sequence instead.
      rescaling_epsilon: ε of h.
      priority_mix: η.
    """
    T = online_q.shape[0]
    make_targets: Callable[..., Tensor] = n_step_double_q_targets
    if trace_lambda > 0.0:
        make_targets = partial(q_lambda_targets, lambda_=trace_lambda)
    targets = make_targets(
        online_q=bootstrap_online_q,
        target_q=target_q,
        rewards=rewards,
        terminated=terminated,
        is_step=is_step,
        discount=discount,
        n_steps=n_steps,
        epsilon=rescaling_epsilon,
    )
    mask = is_step[:T]
    chosen = online_q.gather(-1, actions[:T].unsqueeze(-1)).squeeze(-1)
    td_errors = torch.where(mask, targets.detach() - chosen, 0.0)
    loss = (0.5 * td_errors.square().sum(dim=0) * weights).mean()
    errors = td_errors.detach()
    priorities = sequence_priorities(errors, mask, mix=priority_mix)
    sizes = torch.where(mask, online_q.detach().abs().amax(dim=-1), 0.0)
    return R2D2Loss(loss, errors, mask, priorities, largest_q=sizes.max())
