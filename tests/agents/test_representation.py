import math

import pytest
import torch
from torch import Tensor

from agents.representation.byol import ByolHeads, byol_loss
from agents.representation.contrastive import contrastive_accuracy
from agents.representation.curl import curl_loss
from agents.representation.relic import relic_loss

M, FEATURES = 6, 3


def embeddings(count: int = 4, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, M, FEATURES, generator=generator, dtype=torch.float64))


def leaves(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def naive_cross_entropy(logits: list[list[float]]) -> float:
    total = 0.0
    for i, row in enumerate(logits):
        total -= math.log(math.exp(row[i]) / sum(math.exp(logit) for logit in row))
    return total / len(logits)


def random_critic() -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.float64)


# SimCLR: ReLIC's loss with α = 0


def simclr_loss(*views: Tensor, temperature: float, normalize: bool = False) -> Tensor:
    return relic_loss(*views, temperature=temperature, normalize=normalize, alpha=0.0).loss


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_simclr_equals_a_naive_double_loop(temperature: float) -> None:
    views = embeddings()
    o1, o2, t1, t2 = (view.tolist() for view in views)

    loss = simclr_loss(*views, temperature=temperature)

    expected = naive_cross_entropy([[dot(x, y) / temperature for y in t2] for x in o1])
    expected += naive_cross_entropy([[dot(x, y) / temperature for y in t1] for x in o2])
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_simclr_normalized_equals_that_of_unit_embeddings() -> None:
    views = embeddings()
    units = [view / view.square().sum(-1, keepdim=True).sqrt() for view in views]

    normalized = simclr_loss(*views, temperature=0.5, normalize=True)

    assert normalized.item() == pytest.approx(simclr_loss(*units, temperature=0.5).item())
    assert normalized.item() != pytest.approx(simclr_loss(*views, temperature=0.5).item())


def test_simclr_gradient_reaches_both_online_views_and_no_target() -> None:
    views = leaves(embeddings())

    simclr_loss(*views, temperature=1.0).backward()

    assert [view.grad is not None for view in views] == [True, True, False, False]


# CURL


def test_curl_equals_a_naive_double_loop() -> None:
    (online, target), critic = embeddings(2), random_critic()
    x, y, W = online.tolist(), target.tolist(), critic.tolist()

    loss = curl_loss(online, target, critic)

    logits = [[0.0] * M for _ in range(M)]
    for i in range(M):
        for j in range(M):
            for a in range(FEATURES):
                for b in range(FEATURES):
                    logits[i][j] += x[i][a] * W[a][b] * y[j][b]
    assert loss.item() == pytest.approx(naive_cross_entropy(logits), rel=1e-12)


def test_curl_gradient_reaches_the_query_and_the_critic_and_not_the_key() -> None:
    online, target, critic = leaves([*embeddings(2), random_critic()])

    curl_loss(online, target, critic).backward()

    assert [x.grad is not None for x in (online, target, critic)] == [True, False, True]


def test_curl_is_not_symmetric_in_its_arguments() -> None:
    (online, target), critic = embeddings(2), random_critic()

    assert curl_loss(online, target, critic).item() != pytest.approx(
        curl_loss(target, online, critic).item()
    )


def test_curl_under_autocast_stays_in_float32() -> None:
    online, target = (view.bfloat16() for view in embeddings(2))
    critic = random_critic().float()
    expected = curl_loss(online.float(), target.float(), critic)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = curl_loss(online, target, critic)

    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()


def test_curl_refuses_a_critic_of_another_size() -> None:
    online, target = embeddings(2)

    with pytest.raises(ValueError, match=r"critic_weight has shape \(3, 4\), must be \(3, 3\)"):
        curl_loss(online, target, torch.zeros(3, 4))


# BYOL


def test_byol_equals_a_naive_double_loop() -> None:
    views = embeddings()
    p1, p2, t1, t2 = (view.tolist() for view in views)

    loss = byol_loss(*views)

    expected = 0.0
    for predictions, projections in ((p1, t2), (p2, t1)):
        for x, y in zip(predictions, projections, strict=True):
            expected += (2 - 2 * dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))) / M
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_byol_is_zero_for_aligned_and_eight_for_opposed_views_of_any_length() -> None:
    view_1, view_2 = embeddings(2)

    aligned = byol_loss(view_1, view_2, 3 * view_2, 7 * view_1)
    opposed = byol_loss(view_1, view_2, -view_2, -view_1)

    assert aligned.item() == pytest.approx(0.0, abs=1e-12)
    assert opposed.item() == pytest.approx(8.0)


def test_byol_gradient_reaches_both_predictions_and_no_target() -> None:
    views = leaves(embeddings())

    byol_loss(*views).backward()

    assert [view.grad is not None for view in views] == [True, True, False, False]


def test_byol_heads_are_two_layer_perceptrons_of_1024_and_512_units() -> None:
    heads = ByolHeads(features=32)
    embedding = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))

    projection = heads.projector(embedding)

    assert projection.shape == heads(embedding).shape == (8, 512)
    assert torch.equal(heads(embedding), heads.predictor(projection))
    weights = [tuple(p.shape) for name, p in heads.named_parameters() if p.ndim == 2]
    assert weights == [(1024, 32), (512, 1024), (1024, 512), (512, 1024)]


def test_byol_gradient_reaches_every_parameter_of_the_heads() -> None:
    heads, momentum_heads = ByolHeads(FEATURES), ByolHeads(FEATURES)
    online = embeddings()[0].float()
    prediction = heads(online)
    projection = momentum_heads.projector(online)

    byol_loss(prediction, prediction, projection, projection).backward()

    assert all(p.grad is not None for p in heads.parameters())
    assert all(p.grad is None for p in momentum_heads.parameters())


# What holds for all


def each_loss(views: list[Tensor]) -> dict[str, Tensor]:
    return {
        "simclr": simclr_loss(*views, temperature=0.5),
        "curl": curl_loss(views[0], views[3], random_critic()),
        "byol": byol_loss(*views),
    }


@pytest.mark.parametrize("name", ["simclr", "curl", "byol"])
def test_permuting_the_batch_changes_nothing(name: str) -> None:
    views = embeddings()
    order = torch.randperm(M, generator=torch.Generator().manual_seed(1))

    permuted = each_loss([view[order] for view in views])[name]

    assert permuted.item() == pytest.approx(each_loss(views)[name].item(), rel=1e-12)


@pytest.mark.parametrize("name", ["simclr", "curl", "byol"])
def test_half_precision_embeddings_give_a_float32_loss(name: str) -> None:
    loss = each_loss([view.bfloat16() for view in embeddings()])[name]

    assert loss.dtype == torch.float32
    assert loss.shape == ()


@pytest.mark.parametrize("loss", [simclr_loss, byol_loss])
def test_embeddings_of_different_shapes_are_refused(loss) -> None:  # type: ignore[no-untyped-def]
    options = {"temperature": 1.0} if loss is simclr_loss else {}
    views = embeddings()
    with pytest.raises(ValueError, match=r"has shape \(6, 2\), must be \(6, 3\)"):
        loss(views[0], views[1], views[2][:, :2], views[3], **options)
    with pytest.raises(ValueError, match=r"has shape \(6,\), must be \[M, F\]"):
        loss(*(view[:, 0] for view in views), **options)


# Accuracy


def test_accuracy_counts_rows_whose_nearest_target_is_their_own() -> None:
    target = torch.eye(4)
    online = target[[0, 1, 3, 2]]  # rows 2 and 3 are nearest to each other's targets

    assert contrastive_accuracy(online, target).item() == 0.5


def test_accuracy_normalized_compares_directions_only() -> None:
    target = torch.tensor([[1.0, 0.0], [10.0, 10.0]])
    online = torch.eye(2)[:1].repeat(2, 1)

    assert contrastive_accuracy(online, target).item() == 0.5  # the long one wins both
    assert contrastive_accuracy(online[:1], target[:1], normalize=True).item() == 1.0
    assert contrastive_accuracy(target, target, normalize=True).item() == 1.0
    assert contrastive_accuracy(target, target).item() == 0.5
