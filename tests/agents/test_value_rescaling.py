import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.value_rescaling import rescale, unrescale


def published_rescale(x: float, epsilon: float) -> float:
    return math.copysign(1.0, x) * (math.sqrt(abs(x) + 1.0) - 1.0) + epsilon * x


def published_unrescale(y: float, epsilon: float) -> float:
    root = (math.sqrt(1.0 + 4.0 * epsilon * (abs(y) + 1.0 + epsilon)) - 1.0) / (2.0 * epsilon)
    return math.copysign(1.0, y) * (root**2 - 1.0)


def test_rescale_of_hand_worked_values() -> None:
    # h(8) = sqrt(9) - 1 + 0.001 * 8 = 2.008;  h(-99) = -(sqrt(100) - 1) - 0.099 = -9.099
    x = torch.tensor([0.0, 8.0, -99.0], dtype=torch.float64)

    assert rescale(x).tolist() == pytest.approx([0.0, 2.008, -9.099], rel=1e-12)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-2, 1.0])
def test_both_equal_the_published_formulas(epsilon: float) -> None:
    values = [sign * 10.0**power for power in range(-2, 7) for sign in (-1, 1)]
    x = torch.tensor(values, dtype=torch.float64)

    assert rescale(x, epsilon).tolist() == pytest.approx(
        [published_rescale(v, epsilon) for v in values], rel=1e-11
    )
    assert unrescale(x, epsilon).tolist() == pytest.approx(
        [published_unrescale(v, epsilon) for v in values], rel=1e-9
    )


@settings(derandomize=True, deadline=None)
@given(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e-6, 1e-3, 1e-1]))
def test_round_trip_in_float64_is_exact_to_1e_9(value: float, epsilon: float) -> None:
    x = torch.tensor(value, dtype=torch.float64)

    assert unrescale(rescale(x, epsilon), epsilon).item() == pytest.approx(value, rel=1e-9)
    assert rescale(unrescale(x, epsilon), epsilon).item() == pytest.approx(value, rel=1e-9)


def test_round_trip_in_float32_keeps_six_digits_at_every_size() -> None:
    sizes = torch.logspace(-30, 6, 2000)
    x = torch.cat([-sizes, sizes])

    relative = (unrescale(rescale(x)) / x - 1).abs()

    assert relative.max() < 1e-6
    assert unrescale(rescale(torch.zeros(1))) == 0


def test_rescale_is_odd_and_strictly_increasing() -> None:
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64)

    assert torch.equal(rescale(-x), -rescale(x))
    assert (rescale(x).diff() > 0).all()
    assert torch.equal(unrescale(-x), -unrescale(x))


def test_gradient_at_zero_is_the_true_one() -> None:
    # h'(0) = 1/2 + ε, and the inverse's is its reciprocal.
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    y = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    rescale(x).backward()
    unrescale(y).backward()

    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.item() == pytest.approx(0.501, rel=1e-12)
    assert y.grad.item() == pytest.approx(1 / 0.501, rel=1e-12)


@pytest.mark.parametrize("function", [rescale, unrescale])
def test_negative_epsilon_is_refused(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"epsilon is -0\.5"):
        function(torch.zeros(1), -0.5)
