import pytest
import torch

from agents.returns import importance_weights, sequence_priorities


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


def test_importance_weights_match_the_published_formula_for_any_replay_size() -> None:
    probabilities = torch.tensor([0.5, 0.1, 0.02], dtype=torch.float64)

    weights = importance_weights(probabilities, exponent=0.6)

    assert weights.dtype == torch.float32
    for size in (3, 100_000):
        published = [(size * p) ** -0.6 for p in probabilities.tolist()]
        expected = [w / max(published) for w in published]
        assert weights.tolist() == pytest.approx(expected, rel=1e-6)


def test_importance_weights_of_exponent_zero_are_ones() -> None:
    probabilities = torch.tensor([0.9, 1e-12], dtype=torch.float64)

    assert importance_weights(probabilities, exponent=0.0).tolist() == [1.0, 1.0]


def test_importance_weights_survive_tiny_probabilities() -> None:
    probabilities = torch.tensor([1e-300, 1e-299], dtype=torch.float64)

    assert importance_weights(probabilities, 1.0).tolist() == pytest.approx([1.0, 0.1], rel=1e-6)


def test_importance_weights_refuse_what_could_not_have_been_sampled() -> None:
    with pytest.raises(ValueError, match=r"probabilities holds 0\.0"):
        importance_weights(torch.tensor([0.5, 0.0]), 0.6)
    with pytest.raises(ValueError, match="probabilities holds nan"):
        importance_weights(torch.tensor([0.5, float("nan")]), 0.6)
    with pytest.raises(ValueError, match="exponent is -1"):
        importance_weights(torch.tensor([0.5]), -1.0)
