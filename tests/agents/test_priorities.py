import pytest
import torch

from agents.returns import sequence_priorities


def test_priority_matches_hand_worked_numbers() -> None:
    # |δ| = 1, 4, 1: 0.9 * 4 + 0.1 * 2 = 3.8.   |δ| = 2 alone: 0.9 * 2 + 0.1 * 2 = 2.
    td_errors = torch.tensor([[1.0, 2.0], [-4.0, 9.0], [1.0, -9.0]])
    mask = torch.tensor([[True, True], [True, False], [True, False]])

    assert sequence_priorities(td_errors, mask).tolist() == pytest.approx([3.8, 2.0])


def test_priority_ignores_whatever_masked_rows_hold() -> None:
    td_errors = torch.tensor([[1.0], [float("nan")], [float("inf")]])
    mask = torch.tensor([[True], [False], [False]])

    assert sequence_priorities(td_errors, mask).tolist() == pytest.approx([1.0])


def test_priority_of_a_sequence_without_counting_rows_is_zero() -> None:
    td_errors = torch.full((3, 2), 5.0)
    mask = torch.tensor([[False, True]] * 3)

    assert sequence_priorities(td_errors, mask).tolist() == [0.0, 5.0]


def test_priority_mix_ends_are_the_maximum_and_the_mean() -> None:
    td_errors = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.ones(7, 5, dtype=torch.bool)

    assert torch.equal(sequence_priorities(td_errors, mask, mix=1.0), td_errors.abs().amax(0))
    assert torch.allclose(sequence_priorities(td_errors, mask, mix=0.0), td_errors.abs().mean(0))


def test_priorities_carry_no_gradient() -> None:
    td_errors = torch.ones(3, 2, requires_grad=True)

    assert not sequence_priorities(td_errors, torch.ones(3, 2, dtype=torch.bool)).requires_grad


def test_priority_arguments_that_do_not_fit_are_refused() -> None:
    mask = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2\), must be \(3, 2\)"):
        sequence_priorities(torch.zeros(3, 2), mask)
    with pytest.raises(ValueError, match=r"mix is 1\.1"):
        sequence_priorities(torch.zeros(2, 2), mask, mix=1.1)
