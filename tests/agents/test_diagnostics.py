import math

import pytest
import torch

from agents.diagnostics import (
    delta_q,
    effective_rank,
    error_quantiles,
    gradient_cosine,
    mean_share,
)

# effective_rank


def test_effective_rank_hand_worked() -> None:
    # Orthogonal rows of lengths 3 and 1: singular values 3 and 1, p = (3/4, 1/4),
    # entropy = 3/4 log(4/3) + 1/4 log 4 = log 4 - 3/4 log 3, erank = 4 / 3^(3/4) = 1.7548.
    features = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

    assert effective_rank(features).item() == pytest.approx(4 / 3**0.75, rel=1e-6)


def test_effective_rank_of_equal_orthogonal_directions_is_their_number() -> None:
    assert effective_rank(7.0 * torch.eye(5, 9)).item() == pytest.approx(5.0, rel=1e-5)


def test_effective_rank_of_one_direction_is_1_at_any_scale() -> None:
    features = torch.linspace(1, 2, 8)[:, None] * torch.tensor([1.0, -2.0, 4.0])

    assert effective_rank(features).item() == pytest.approx(1.0, abs=1e-4)
    assert effective_rank(1e-6 * features).item() == pytest.approx(1.0, abs=1e-4)


def test_effective_rank_of_a_collapsed_encoder_is_0() -> None:
    assert effective_rank(torch.zeros(4, 3)).item() == 0.0


def test_effective_rank_of_what_is_not_finite_is_nan() -> None:
    assert math.isnan(effective_rank(torch.tensor([[1.0, torch.inf], [0.0, 1.0]])).item())


# mean_share


def test_mean_share_hand_worked() -> None:
    # Rows (3, 1) and (3, -1): mean (3, 0), |mean|² = 9, mean |row|² = 10.
    assert mean_share(torch.tensor([[3.0, 1.0], [3.0, -1.0]])).item() == pytest.approx(0.9)


def test_mean_share_is_1_of_equal_rows_and_0_of_opposite_or_vanishing_ones_at_any_scale() -> None:
    row = torch.tensor([[2.0, -1.0, 5.0]])

    for scale in (1e-30, 1.0, 1e30):
        assert mean_share((scale * row).repeat(4, 1)).item() == pytest.approx(1.0)
        assert mean_share(scale * torch.cat([row, -row])).item() == pytest.approx(0.0)
    assert mean_share(torch.zeros(4, 3)).item() == 0.0


# gradient_cosine


def test_gradient_cosine_hand_worked() -> None:
    # a = (1, 2, 2), b = (2, 0, 1) over two parameters: a·b = 4, |a| = 3, |b| = sqrt(5).
    first = [torch.tensor([[1.0, 2.0]]), torch.tensor([2.0])]
    second = [torch.tensor([[2.0, 0.0]]), torch.tensor([1.0])]

    assert gradient_cosine(first, second).item() == pytest.approx(4 / (3 * math.sqrt(5)))
    assert gradient_cosine(first, [-5 * g for g in first]).item() == pytest.approx(-1.0)


def test_gradient_cosine_with_a_vanishing_gradient_is_0() -> None:
    assert gradient_cosine([torch.ones(3)], [torch.zeros(3)]).item() == 0.0


def test_gradient_cosine_does_not_depend_on_tiny_scales() -> None:
    first, second = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])

    assert gradient_cosine([1e-12 * first], [second]).item() == pytest.approx(24 / 25)


# error_quantiles


def test_error_quantiles_are_of_absolute_errors_and_of_unmasked_rows_only() -> None:
    # |δ| = 0, 1, ..., 10: the median is 5, the 90th percentile 9, the 99th 9.9.
    errors = torch.tensor([[-10.0, 1.0, -2.0, 3.0], [4.0, -5.0, 6.0, 7.0], [8.0, 9.0, 0.0, 1e6]])
    mask = errors < 1e5

    quantiles = error_quantiles(errors, mask)

    assert {name: value.item() for name, value in quantiles.items()} == pytest.approx(
        {"td_error_50th": 5.0, "td_error_90th": 9.0, "td_error_99th": 9.9}
    )


# delta_q


def test_delta_q_hand_worked() -> None:
    # Sequence 0: difference (3, 4), norm 5; largest |q| of (-10, 4) is 10: 0.5.
    # Sequence 1: no difference: 0. Sequence 2 has no burn-in. Mean 0.25.
    recomputed = torch.tensor([[-10.0, 4.0], [1.0, 2.0], [5.0, 5.0]])
    stored = torch.tensor([[-13.0, 0.0], [1.0, 2.0], [50.0, -5.0]])
    has_burn_in = torch.tensor([True, True, False])

    assert delta_q(recomputed, stored, has_burn_in).item() == pytest.approx(0.25)
