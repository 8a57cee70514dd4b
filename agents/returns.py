"""Bootstrapped targets in rescaled value space, sequence priorities and importance weights.

Sequences are time-major and never cross an episode. A sequence has L = T + n_steps rows: the T
trained ones and n_steps more to bootstrap from. Row t holds s_t, the action taken there, the
reward r_t it brought, and whether it terminated the episode. The rows with `is_step` false hold
no agent step; the first of them after an episode's last step holds its final observation.

How an episode ends decides the bootstrap:
  terminated  nothing follows: rewards up to and including the terminating row, no bootstrap;
  truncated   the value of the final observation is bootstrapped, after fewer than n steps.
A target at a row that is no step is 0: the caller masks that row.

Source: Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning"
(R2D2), 2019, sec. 2.3. Deviation: the paper does not speak of truncation; we bootstrap there.
"""

import torch
from torch import Tensor

from agents.value_rescaling import rescale, unrescale


@torch.no_grad()
def n_step_double_q_targets(
    *,
    rewards: Tensor,
    terminated: Tensor,
    is_step: Tensor,
    online_q: Tensor,
    target_q: Tensor,
    discount: float,
    n_steps: int,
    epsilon: float = 1e-3,
) -> Tensor:
    """Returns n-step double-Q targets, rescaled.

    y_t = h( Σ_{k<m} γ^k r_{t+k} + γ^m b_{t+m} V_{t+m} ),
    V_u = h^-1( Q_target(s_u, argmax_a Q_online(s_u, a)) ),
    m = min(n_steps, steps from t to the episode's last one, both counted),
    b_{t+m} = 0 if the episode terminated at row t + m - 1, else 1.

    Args:
      rewards: float32[L, B], unclipped; L = T + n_steps.
      terminated: bool[L, B], the row's action ended the episode (or a life) for good.
      is_step: bool[L, B], the row holds an agent step; in each column one unbroken run.
      online_q: float32[L, B, A], rescaled; selects the action.
      target_q: float32[L, B, A], rescaled; values it.
      discount: γ per agent step, in [0, 1].
      n_steps: n >= 1.
      epsilon: of the value rescaling.

    Returns:
      float32[T, B] without gradient, 0 where `is_step` is false.

    Raises:
      ValueError: on shapes that disagree, L <= n_steps, or a constant out of its range.
    """
    T = _trained_rows(rewards, terminated, is_step, online_q, target_q, discount, n_steps)
    values = _double_q_values(online_q, target_q, epsilon)

    returns = torch.zeros_like(rewards[:T])
    unfinished = is_step[:T]  # the episode continues, and nothing was bootstrapped yet
    for k in range(n_steps):
        rows = slice(k, k + T)
        acted = unfinished & is_step[rows]
        # `where`, not a product: rows that are no step may hold anything, even NaN.
        gain = torch.where(acted, rewards[rows], values[rows])
        returns = torch.where(unfinished, returns + discount**k * gain, returns)
        unfinished = acted & ~terminated[rows]
    bootstrapped = returns + discount**n_steps * values[n_steps:]
    return rescale(torch.where(unfinished, bootstrapped, returns), epsilon)


@torch.no_grad()
def q_lambda_targets(
    *,
    rewards: Tensor,
    terminated: Tensor,
    is_step: Tensor,
    online_q: Tensor,
    target_q: Tensor,
    discount: float,
    n_steps: int,
    lambda_: float,
    epsilon: float = 1e-3,
) -> Tensor:
    """Returns Peng's Q(λ) targets, rescaled, for the same rows as `n_step_double_q_targets`.

    y_t = h(G_t),   G_t = r_t + γ b_{t+1} [ (1 - λ) V_{t+1} + λ G_{t+1} ],
    with V and b as there, and G_u = V_u at the last row L - 1 and at an episode's final
    observation. So row t mixes bootstraps from 1 to T + n_steps - 1 - t steps ahead; λ = 0 is
    the one-step target. Nothing is cut at exploratory actions ("uncorrected").

    The recursion is a Python loop over L rows of a few operations on [B]. λ is in [0, 1]; all other
    arguments, what is returned and what is raised are as there.

    Source: Peng and Williams, "Incremental Multi-Step Q-Learning", 1994; Kozuno et al.,
    "Revisiting Peng's Q(λ) for Modern Reinforcement Learning", 2021. Deviation: double-Q values
    and rescaling as in R2D2, where they use the maximum.
    """
    T = _trained_rows(rewards, terminated, is_step, online_q, target_q, discount, n_steps)
    _check_fraction(lambda_, "lambda_")
    values = _double_q_values(online_q, target_q, epsilon)

    later = values[-1]
    reversed_returns = []
    for t in range(rewards.shape[0] - 2, -1, -1):
        following = (1 - lambda_) * values[t + 1] + lambda_ * later
        acted = torch.where(terminated[t], rewards[t], rewards[t] + discount * following)
        later = torch.where(is_step[t], acted, values[t])
        reversed_returns.append(later)
    returns = torch.stack(reversed_returns[::-1])[:T]
    return rescale(torch.where(is_step[:T], returns, 0.0), epsilon)


def sequence_priorities(td_errors: Tensor, mask: Tensor, mix: float = 0.9) -> Tensor:
    """Returns the replay priority of each sequence.

    p = η max_t |δ_t| + (1 - η) mean_t |δ_t|, over the rows of the mask.

    Args:
      td_errors: float32[T, B], δ in rescaled value space.
      mask: bool[T, B], the rows that count; the others may hold anything.
      mix: η in [0, 1]. R2D2, sec. 2.3: 0.9.

    Returns:
      float32[B] without gradient, 0 for a sequence of which no row counts.

    Raises:
      ValueError: if the shapes differ or mix is out of range.
    """
    _check_fraction(mix, "mix")
    _check_shape(mask, tuple(td_errors.shape), "mask")
    sizes = torch.where(mask, td_errors.detach().abs(), 0.0)
    means = sizes.sum(0) / mask.sum(0).clamp(min=1)
    return mix * sizes.amax(0) + (1 - mix) * means


def _double_q_values(online_q: Tensor, target_q: Tensor, epsilon: float) -> Tensor:
    """V: float32[L, B], the target network's value of the online network's action, unrescaled."""
    actions = online_q.argmax(-1, keepdim=True)
    return unrescale(target_q.gather(-1, actions).squeeze(-1), epsilon)


def _trained_rows(
    rewards: Tensor,
    terminated: Tensor,
    is_step: Tensor,
    online_q: Tensor,
    target_q: Tensor,
    discount: float,
    n_steps: int,
) -> int:
    """Returns T = L - n_steps; raises ValueError unless the arguments fit together."""
    if n_steps < 1:
        raise ValueError(f"n_steps is {n_steps}, must be >= 1")
    if rewards.ndim != 2 or rewards.shape[0] <= n_steps:
        raise ValueError(
            f"rewards has shape {tuple(rewards.shape)}, must be [L, B] with L > n_steps = {n_steps}"
        )
    _check_fraction(discount, "discount")
    for name, tensor in (("terminated", terminated), ("is_step", is_step)):
        _check_shape(tensor, tuple(rewards.shape), name)
    if online_q.shape[:-1] != rewards.shape:
        raise ValueError(
            f"online_q has shape {tuple(online_q.shape)}, must be [L, B, A] with "
            f"[L, B] = {list(rewards.shape)} as in rewards"
        )
    _check_shape(target_q, tuple(online_q.shape), "target_q")
    return rewards.shape[0] - n_steps


def _check_shape(tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, must be {shape}")


def _check_fraction(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}, must be in [0, 1]")
