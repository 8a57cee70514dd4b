"""ReLIC between a frame and a disturbed view of it: the loss, what it compares, how it moves f."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from agents.augmentation import random_disturbance
from agents.networks import stacks_at, stacks_from_frames
from agents.representation.contrast_set import contrast_set
from agents.representation.disturbed_relic import disturbed_relic_loss

BURN_IN, UNROLL = 4, 8
Array = NDArray[np.float64]


def naive_loss(view: Array, raw: Array, key: Array, temperature: float, alpha: float) -> Array:
    """The three parts, one row and one number at a time: total, contrastive, invariance."""
    M = len(key)
    units = [row / math.sqrt(float(row @ row)) for row in key]
    mean = np.mean(units, axis=0)

    def embedding(row: Array) -> Array:
        moved = row / math.sqrt(float(row @ row)) - mean
        return np.asarray(moved / math.sqrt(float(moved @ moved)))

    def log_probabilities(row: Array) -> list[float]:
        logits = [float(embedding(row) @ embedding(k)) / temperature for k in key]
        total = math.log(sum(math.exp(logit) for logit in logits))
        return [logit - total for logit in logits]

    of_view, of_raw = ([log_probabilities(row) for row in rows] for rows in (view, raw))
    contrastive = -sum(of_view[i][i] for i in range(M)) / M
    invariance = (
        sum(
            math.exp(of_raw[i][j]) * (of_raw[i][j] - of_view[i][j])
            for i in range(M)
            for j in range(M)
        )
        / M
    )
    return np.array([contrastive + alpha * invariance, contrastive, invariance])


@pytest.fixture
def embeddings() -> list[Tensor]:
    """View, raw and key, float64[5, 3], as features are: not below 0."""
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(5, 3, generator=generator, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize(("temperature", "alpha"), [(0.1, 1.0), (1.0, 0.3), (0.5, 0.0)])
def test_the_loss_is_that_of_a_naive_twin(
    embeddings: list[Tensor], temperature: float, alpha: float
) -> None:
    loss = disturbed_relic_loss(*embeddings, temperature=temperature, alpha=alpha)

    expected = naive_loss(*(e.numpy() for e in embeddings), temperature=temperature, alpha=alpha)
    assert [float(x) for x in loss[:3]] == pytest.approx(expected.tolist(), rel=1e-12)


def test_by_hand_opposite_keys_are_one_apart_from_their_mean() -> None:
    # Units (1, 0) and (0, 1) less their mean are opposite: logits are ±1 / τ.
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0]])

    loss = disturbed_relic_loss(features, features, features, temperature=0.5, alpha=1.0)

    assert loss.contrastive.item() == pytest.approx(math.log(1 + math.exp(-4.0)), rel=1e-5)
    assert loss.invariance.item() == pytest.approx(0.0, abs=1e-7)
    assert loss.accuracy.item() == 1.0


def test_views_of_other_frames_cost_more_and_hit_none(embeddings: list[Tensor]) -> None:
    _, _, key = embeddings

    right, wrong = (
        disturbed_relic_loss(view, key, key, temperature=0.1, alpha=1.0)
        for view in (key, key.roll(1, 0))
    )

    assert right.accuracy == 1.0
    assert wrong.accuracy == 0.0
    assert wrong.contrastive > right.contrastive
    assert wrong.invariance > right.invariance


def test_only_the_view_learns(embeddings: list[Tensor]) -> None:
    view, raw, key = (e.requires_grad_() for e in embeddings)

    disturbed_relic_loss(view, raw, key, temperature=0.1, alpha=1.0).loss.backward()

    assert view.grad is not None
    assert view.grad.abs().sum() > 0
    assert raw.grad is None
    assert key.grad is None


def test_it_compares_disturbed_stacks_with_the_q_networks_features_of_the_same_ones(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(arm="disturbed_relic", centred_input=True), make_batch()
    agent.centre_input(batch.frames.flatten(0, 1))
    with torch.no_grad():  # h is another than f
        for parameter in agent.target.parameters():
            parameter += 0.3 * parameter.abs().mean() * torch.randn_like(parameter)
    same = torch.Generator(agent.device)
    same.set_state(agent.generator.get_state())
    encoder = agent.online.encoder

    stacks = stacks_from_frames(encoder.see(batch.frames), 4)
    found = agent.losses(batch, stacks).rep

    rows, lanes = contrast_set(batch, lambda held: held[BURN_IN : BURN_IN + UNROLL], 2, same)
    chosen = stacks_at(batch, BURN_IN + rows, lanes)
    view = encoder(encoder.see(random_disturbance(chosen, generator=same)))
    raw, key = encoder(chosen), agent.target.encoder(chosen)
    expected = disturbed_relic_loss(view, raw, key, temperature=0.1, alpha=1.0)
    torch.testing.assert_close(found.loss, expected.loss)
    assert found.metrics["contrastive_accuracy"] == expected.accuracy
    swapped = disturbed_relic_loss(view, key, raw, temperature=0.1, alpha=1.0)
    assert not torch.allclose(found.loss, swapped.loss)


def test_each_loss_moves_the_encoder_by_an_adam_of_its_own(
    make_agent: Any, make_batch: Any
) -> None:
    batch = make_batch()
    agent, plain = (make_agent(arm=arm, clip_norm=1e6) for arm in ("disturbed_relic", "none"))
    before = [p.detach().clone() for p in agent.online.encoder.parameters()]
    stacks = stacks_from_frames(batch.frames, 4)
    state = agent.generator.get_state()
    loss = agent.losses(batch, stacks).rep.loss
    gradients = torch.autograd.grad(loss, list(agent.online.encoder.parameters()))
    agent.generator.set_state(state)

    agent.update(batch)
    plain.update(batch)

    # Adam's first step: the learning rate (2e-3) times g / (|g| + ε), whatever the scale of g.
    for moved, by_rl, was, g in zip(
        agent.online.encoder.parameters(),
        plain.online.encoder.parameters(),
        before,
        gradients,
        strict=True,
    ):
        by_both = moved.detach().double() - was.double()
        by_rl_alone = by_rl.detach().double() - was.double()
        own = -2e-3 * g.double() / (g.double().abs() + 1e-4)
        torch.testing.assert_close(by_both, by_rl_alone + own, rtol=1e-3, atol=1e-6)


def test_the_q_networks_other_layers_learn_as_without_it(make_agent: Any, make_batch: Any) -> None:
    batch = make_batch()
    agent, plain = (make_agent(arm=arm) for arm in ("disturbed_relic", "none"))

    for each in (agent, plain):
        each.update(batch)

    for name in ("core", "head"):
        ours, theirs = (getattr(each.online, name).parameters() for each in (agent, plain))
        assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


def test_views_come_nearer_to_their_frames_in_training(make_agent: Any, make_batch: Any) -> None:
    agent = make_agent(arm="disturbed_relic", stacks_per_sequence=8)
    batch = make_batch()

    metrics = [agent.update(batch).metrics for _ in range(200)]

    losses = [float(row["representation_loss"]) for row in metrics]
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) / 1.5


def test_a_separate_encoder_is_refused_in_one_line(make_agent: Any) -> None:
    with pytest.raises(ValueError, match=r"^encoder is separate: arm disturbed_relic needs"):
        make_agent(arm="disturbed_relic", encoder="separate")


# The views


def pictures(count: int = 400) -> Tensor:
    """uint8[N, 2, 24, 24]: mid-gray, so that little is clipped."""
    return torch.full((count, 2, 24, 24), 120, dtype=torch.uint8)


def disturbed(stacks: Tensor, seed: int = 0, **changes: float) -> Tensor:
    settings: dict[str, Any] = {"pad_pixels": 0, "brightness": 0.0, "noise_deviation": 0.0}
    generator = torch.Generator().manual_seed(seed)
    return random_disturbance(stacks, generator=generator, **(settings | changes))


def test_with_nothing_asked_for_a_view_is_the_frame() -> None:
    stacks = torch.randint(0, 256, (5, 2, 24, 24), dtype=torch.uint8)

    assert torch.equal(disturbed(stacks), stacks.float())


def test_brightness_is_one_factor_a_stack_evenly_in_its_range() -> None:
    factors = disturbed(pictures(), brightness=0.3) / 120

    per_stack = factors[:, 0, 0, 0]
    assert torch.equal(factors, per_stack[:, None, None, None].expand_as(factors))
    assert per_stack.min() >= 0.7 - 1e-6
    assert per_stack.max() <= 1.3 + 1e-6
    quartiles = torch.quantile(per_stack, torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quartiles, torch.tensor([0.85, 1.0, 1.15]), rtol=0, atol=0.04)


def test_noise_is_drawn_for_each_pixel_with_a_strength_for_each_stack() -> None:
    noise = disturbed(pictures(), noise_deviation=15.0) - 120

    strengths = noise.flatten(1).std(dim=1)
    assert strengths.max() < 16
    torch.testing.assert_close(strengths.mean(), torch.tensor(7.5), rtol=0, atol=0.7)
    assert abs(noise.mean()) < 0.05
    one, other = noise[:, 0].flatten(), noise[:, 1].flatten()  # of two frames of a stack
    assert abs(F.cosine_similarity(one, other, dim=0)) < 0.02


def test_a_shift_moves_all_frames_of_a_stack_by_up_to_so_many_pixels() -> None:
    stacks = torch.zeros(200, 2, 24, 24, dtype=torch.uint8)
    stacks[:, :, 12, 12] = 200

    moved = disturbed(stacks, pad_pixels=3).flatten(2).argmax(dim=2)

    assert torch.equal(moved[:, 0], moved[:, 1])
    assert set((moved[:, 0] // 24 - 12).tolist()) == set(range(-3, 4))
    assert set((moved[:, 0] % 24 - 12).tolist()) == set(range(-3, 4))


def test_views_are_pictures_and_an_absent_frame_stays_absent() -> None:
    stacks = torch.randint(0, 256, (50, 3, 24, 24), dtype=torch.uint8)
    stacks[:, 0] = 0

    view = random_disturbance(stacks, generator=torch.Generator().manual_seed(1))

    assert view.min() >= 0
    assert view.max() <= 255
    assert not view[:, 0].any()
    assert view[:, 1].any()


def test_equal_generators_give_equal_views_in_either_layout() -> None:
    stacks = torch.randint(0, 256, (6, 4, 24, 24), dtype=torch.uint8)
    changes: dict[str, Any] = {"pad_pixels": 4, "brightness": 0.3}

    one = disturbed(stacks, seed=5, **changes)
    other = disturbed(stacks.contiguous(memory_format=torch.channels_last), seed=5, **changes)

    assert torch.equal(one, other)
    assert not torch.equal(one, disturbed(stacks, seed=6, **changes))
