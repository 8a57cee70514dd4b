import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from agents.representation.relic import KlDirection, KlStopGradient, relic_loss

M, FEATURES = 6, 3
DIRECTIONS = get_args(KlDirection)
STOP_GRADIENTS = get_args(KlStopGradient)
Rows = list[list[float]]


def embeddings(seed: int = 0, rows: int = M, scale: float = 1.0) -> list[Tensor]:
    """online_1, online_2, target_1, target_2: float64[rows, FEATURES]."""
    generator = torch.Generator().manual_seed(seed)
    size = (4, rows, FEATURES)
    return list(scale * torch.randn(size, generator=generator, dtype=torch.float64))


def naive_softmax(online: Rows, target: Rows, temperature: float, normalize: bool) -> Rows:
    def unit(x: list[float]) -> list[float]:
        length = math.sqrt(sum(v * v for v in x)) if normalize else 1.0
        return [v / length for v in x]

    p = []
    for x in online:
        weights = [
            math.exp(sum(a * b for a, b in zip(unit(x), unit(y), strict=True)) / temperature)
            for y in target
        ]
        p.append([w / sum(weights) for w in weights])
    return p


def naive_kl(p: Rows, q: Rows) -> float:
    total = 0.0
    for i in range(len(p)):
        for j in range(len(p)):
            total += p[i][j] * math.log(p[i][j] / q[i][j])
    return total / len(p)


def naive_relic(
    views: list[Tensor], temperature: float, normalize: bool, direction: str
) -> tuple[float, float]:
    """The contrastive and the invariance part of the paper's equation 3, in double loops."""
    online_1, online_2, target_1, target_2 = (view.tolist() for view in views)
    p12 = naive_softmax(online_1, target_2, temperature, normalize)
    p21 = naive_softmax(online_2, target_1, temperature, normalize)
    contrastive = 0.0
    for p in (p12, p21):
        contrastive -= sum(math.log(p[i][i]) for i in range(len(p))) / len(p)
    forward, reverse = naive_kl(p12, p21), naive_kl(p21, p12)
    invariance = {"forward": forward, "reverse": reverse, "symmetric": (forward + reverse) / 2}
    return contrastive, invariance[direction]


def test_loss_of_a_hand_worked_example() -> None:
    # M = 2, one feature, τ = 1. target_1 = target_2 = (0, 1), so each row's logits are (0, x).
    # online_1 = (0, log 3): rows of p12 are (1/2, 1/2) and (1/4, 3/4).
    # online_2 = (log 3, 0): rows of p21 are (1/4, 3/4) and (1/2, 1/2).
    # CE(p12) = (log 2 + log 4/3) / 2      CE(p21) = (log 4 + log 2) / 2
    # KL row 1: 1/2 log 2 + 1/2 log 2/3    KL row 2: 1/4 log 1/2 + 3/4 log 3/2
    targets = torch.tensor([[0.0], [1.0]])
    online_1 = torch.tensor([[0.0], [math.log(3)]])
    online_2 = torch.tensor([[math.log(3)], [0.0]])

    loss, contrastive, invariance = relic_loss(
        online_1, online_2, targets, targets, temperature=1.0, alpha=10.0
    )

    log = math.log
    expected_contrastive = (log(2) + log(4 / 3) + log(4) + log(2)) / 2
    expected_kl = (log(2) / 2 + log(2 / 3) / 2 + log(1 / 2) / 4 + 3 * log(3 / 2) / 4) / 2
    assert contrastive.item() == pytest.approx(expected_contrastive, rel=1e-6)
    assert invariance.item() == pytest.approx(expected_kl, rel=1e-6)
    assert loss.item() == pytest.approx(expected_contrastive + 10 * expected_kl, rel=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_loss_equals_the_papers_equation_in_double_loops(
    temperature: float, normalize: bool, direction: KlDirection
) -> None:
    views = embeddings()

    loss = relic_loss(
        *views, temperature=temperature, alpha=0.7, normalize=normalize, kl_direction=direction
    )

    contrastive, invariance = naive_relic(views, temperature, normalize, direction)
    assert loss.contrastive.item() == pytest.approx(contrastive, rel=1e-12)
    assert loss.invariance.item() == pytest.approx(invariance, rel=1e-12)
    assert loss.loss.item() == pytest.approx(contrastive + 0.7 * invariance, rel=1e-12)


@pytest.mark.parametrize("stop_gradient", STOP_GRADIENTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_stop_gradient_never_changes_the_value(
    direction: KlDirection, stop_gradient: KlStopGradient
) -> None:
    views = embeddings()
    constants: dict[str, Any] = {"temperature": 1.0, "alpha": 2.0, "kl_direction": direction}

    stopped = relic_loss(*views, **constants, kl_stop_gradient=stop_gradient)

    assert stopped.loss.item() == pytest.approx(relic_loss(*views, **constants).loss.item())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_identical_views_have_no_invariance_loss(direction: KlDirection) -> None:
    online, _, target, _ = embeddings()

    loss = relic_loss(
        online, online, target, target, temperature=0.5, alpha=3.0, kl_direction=direction
    )

    assert loss.invariance.item() == pytest.approx(0.0, abs=1e-15)
    assert loss.loss.item() == loss.contrastive.item() > 0


def test_permuting_the_batch_changes_nothing() -> None:
    views = embeddings()
    order = torch.randperm(M, generator=torch.Generator().manual_seed(1))

    loss = relic_loss(*views, temperature=1.0, alpha=1.0)
    permuted = relic_loss(*(view[order] for view in views), temperature=1.0, alpha=1.0)

    assert [x.item() for x in permuted] == pytest.approx([x.item() for x in loss], rel=1e-12)


def test_breaking_the_pairs_of_rows_raises_the_contrastive_loss() -> None:
    online = 5 * torch.eye(M)
    matched = relic_loss(online, online, online, online, temperature=1.0, alpha=1.0)
    shifted = online.roll(1, dims=0)
    broken = relic_loss(online, online, shifted, shifted, temperature=1.0, alpha=1.0)

    assert matched.contrastive < 1e-6
    assert broken.contrastive > 40


def test_alpha_zero_is_the_plain_contrastive_loss_with_its_gradient() -> None:
    views = [view.requires_grad_() for view in embeddings()]
    relic = relic_loss(*views, temperature=0.5, alpha=0.0)

    assert relic.loss.item() == relic.contrastive.item()
    for gradient, expected in zip(
        torch.autograd.grad(relic.loss, views[:2], retain_graph=True),
        torch.autograd.grad(relic.contrastive, views[:2]),
        strict=True,
    ):
        assert torch.equal(gradient, expected)


def test_gradient_reaches_both_online_views_and_no_target() -> None:
    views = [view.requires_grad_() for view in embeddings()]

    relic_loss(*views, temperature=1.0, alpha=1.0).loss.backward()

    assert [view.grad is not None for view in views] == [True, True, False, False]
    assert all((view.grad != 0).all() for view in views[:2] if view.grad is not None)


@pytest.mark.parametrize(
    ("direction", "stop_gradient", "learns_1", "learns_2"),
    [
        ("forward", "none", True, True),
        ("forward", "entropy", True, True),
        ("forward", "first", False, True),  # the first argument of KL(p12 || p21) is view 1's
        ("forward", "second", True, False),
        ("reverse", "none", True, True),
        ("reverse", "entropy", True, True),
        ("reverse", "first", True, False),
        ("reverse", "second", False, True),
        ("symmetric", "none", True, True),
        ("symmetric", "entropy", True, True),
        ("symmetric", "first", True, True),
        ("symmetric", "second", True, True),
    ],
)
def test_invariance_gradient_goes_where_the_option_says(
    direction: KlDirection, stop_gradient: KlStopGradient, learns_1: bool, learns_2: bool
) -> None:
    views = [view.requires_grad_() for view in embeddings()]
    loss = relic_loss(
        *views,
        temperature=1.0,
        alpha=1.0,
        kl_direction=direction,
        kl_stop_gradient=stop_gradient,
    )

    gradients = torch.autograd.grad(loss.invariance, views, allow_unused=True)

    reached = [gradient is not None and bool((gradient != 0).any()) for gradient in gradients]
    assert reached == [learns_1, learns_2, False, False]


def numerical_gradient(function: Callable[[Tensor], float], x: Tensor) -> Tensor:
    gradient = torch.zeros_like(x)
    for index in range(x.numel()):
        step = torch.zeros_like(x).flatten()
        step[index] = 1e-6
        step = step.view_as(x)
        gradient.view(-1)[index] = (function(x + step) - function(x - step)) / 2e-6
    return gradient


def cross_entropy_12_21(online_1: Tensor, online_2: Tensor, views: list[Tensor]) -> float:
    """-E_p12 log p21: what is left of the KL when its entropy term is held constant."""
    p = naive_softmax(online_1.tolist(), views[3].tolist(), 1.0, False)
    q = naive_softmax(online_2.tolist(), views[2].tolist(), 1.0, False)
    return -sum(p[i][j] * math.log(q[i][j]) for i in range(M) for j in range(M)) / M


@pytest.mark.parametrize("view", [0, 1])
def test_stopping_the_entropy_leaves_the_gradient_of_the_cross_entropy(view: int) -> None:
    views = embeddings()
    leaves = [v.clone().requires_grad_() for v in views]
    loss = relic_loss(*leaves, temperature=1.0, alpha=1.0, kl_stop_gradient="entropy")

    (gradient,) = torch.autograd.grad(loss.invariance, leaves[view])

    def moved(x: Tensor) -> float:
        online = [x if v == view else views[v] for v in (0, 1)]
        return cross_entropy_12_21(online[0], online[1], views)

    assert torch.allclose(gradient, numerical_gradient(moved, views[view]), atol=1e-8)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("view", [0, 1])
def test_gradient_without_stopping_is_that_of_the_naive_loss(
    direction: KlDirection, view: int
) -> None:
    views = embeddings()
    leaves = [v.clone().requires_grad_() for v in views]
    loss = relic_loss(*leaves, temperature=0.5, alpha=0.7, kl_direction=direction)

    (gradient,) = torch.autograd.grad(loss.loss, leaves[view])

    def moved(x: Tensor) -> float:
        contrastive, invariance = naive_relic(
            [x if v == view else views[v] for v in range(4)], 0.5, False, direction
        )
        return contrastive + 0.7 * invariance

    assert torch.allclose(gradient, numerical_gradient(moved, views[view]), atol=1e-7)


@pytest.mark.parametrize("stop_gradient", STOP_GRADIENTS)
def test_extreme_embeddings_give_finite_losses_and_gradients(
    stop_gradient: KlStopGradient,
) -> None:
    views = [view.float().requires_grad_() for view in embeddings(scale=1e3)]

    loss = relic_loss(*views, temperature=0.1, alpha=1.0, kl_stop_gradient=stop_gradient)
    loss.loss.backward()

    assert all(x.isfinite() for x in loss)
    assert all(view.grad.isfinite().all() for view in views[:2] if view.grad is not None)


def test_half_precision_embeddings_are_computed_in_float32_autocast_or_not() -> None:
    views = [view.bfloat16() for view in embeddings()]
    expected = relic_loss(*(view.float() for view in views), temperature=1.0, alpha=1.0)

    loss = relic_loss(*views, temperature=1.0, alpha=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = relic_loss(*views, temperature=1.0, alpha=1.0)

    for result in (loss, under_autocast):
        assert all(x.dtype == torch.float32 for x in result)
        assert [x.item() for x in result] == [x.item() for x in expected]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, r"temperature is 0\.0"),
        ({"alpha": -1.0}, r"alpha is -1\.0"),
        ({"kl_direction": "12"}, "kl_direction is '12', must be one of .*'forward'"),
        ({"kl_stop_gradient": "both"}, "kl_stop_gradient is 'both', must be one of .*'entropy'"),
    ],
)
def test_unsuitable_options_are_refused(change: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "alpha": 1.0} | change

    with pytest.raises(ValueError, match=message):
        relic_loss(*embeddings(), **options)


def test_embeddings_of_different_shapes_are_refused() -> None:
    views = embeddings()
    with pytest.raises(ValueError, match=r"target_1 has shape \(5, 3\), must be \(6, 3\)"):
        relic_loss(views[0], views[1], views[2][:5], views[3], temperature=1.0, alpha=1.0)
