"""The arms: what each compares, its metrics, and which of the options it takes."""

from typing import Any

import pytest
import torch

from agents.augmentation import random_shift_and_intensity
from agents.interface import TrainingBatch
from agents.networks import stacks_from_frames
from agents.representation.arm import Arm, RepresentationLoss, TwoWayArm, arm_class
from agents.representation.arms import ARMS
from agents.representation.byol import byol_loss
from agents.representation.curl import curl_loss
from agents.representation.relic import relic_loss

# Row 0 is nearest to itself by direction, and to the longer row 1 by the plain product.
EMBEDDINGS = torch.tensor([[1.0, 0.0], [10.0, 10.0]])


def accuracy(loss: RepresentationLoss) -> float:
    return loss.metrics["contrastive_accuracy"].item()


def compared(agent: Any, batch: TrainingBatch) -> Any:
    """The agent's representation loss of a batch."""
    stacks = stacks_from_frames(agent.join.encoder.see(batch.frames), 4)
    return agent.losses(batch, stacks).rep


def by_hand(agent: Any, views: list[torch.Tensor]) -> torch.Tensor:
    """The arm's loss of two views, each through f and h by itself."""
    arm, o = agent.arm, agent.representation
    f_1, f_2 = map(agent.join.encoder, views)
    h_1, h_2 = map(arm.momentum_encoder, views)
    shared = {"temperature": o.temperature, "normalize": o.normalize}
    match o.arm:
        case "curl":
            return curl_loss(f_1, h_2, arm.critic.weight)
        case "byol":
            project = arm.momentum_heads.projector
            return byol_loss(arm.heads(f_1), arm.heads(f_2), project(h_1), project(h_2))
        case "simclr":
            return relic_loss(f_1, f_2, h_1, h_2, **shared, alpha=0.0).loss
    return relic_loss(
        *(f_1, f_2, h_1, h_2),
        **shared,
        alpha=o.alpha,
        kl_direction=o.kl_direction,
        kl_stop_gradient=o.kl_stop_gradient,
    ).loss


@pytest.mark.parametrize("centred_input", [False, True])
@pytest.mark.parametrize("arm", ["relic", "simclr", "curl", "byol"])
def test_the_loss_compares_two_augmentations_of_the_same_stacks_through_f_and_h(
    make_agent: Any, make_batch: Any, arm: str, centred_input: bool
) -> None:
    agent, batch = make_agent(arm=arm, centred_input=centred_input), make_batch()
    if centred_input:
        agent.centre_input(batch.frames.flatten(0, 1))
    with torch.no_grad():  # h, and its heads, are others than f and its
        for name, parameter in agent.arm.named_parameters():
            if name.startswith("momentum"):
                parameter += 0.3 * parameter.std() * torch.randn_like(parameter)
    same = torch.Generator(agent.device)
    same.set_state(agent.generator.get_state())
    stacks = agent.join.encoder.see(agent.arm.contrast_set(batch, same))  # centred, then augmented
    one, other = (random_shift_and_intensity(stacks, generator=same) for _ in range(2))

    loss = compared(agent, batch).loss

    torch.testing.assert_close(loss, by_hand(agent, [one, other]))
    plain = stacks.float()
    for wrong in ([plain, plain], [one, one], [other, one] if arm == "curl" else [other, other]):
        assert not torch.allclose(loss, by_hand(agent, wrong))


@pytest.mark.parametrize("normalize", [False, True])
def test_curls_accuracy_is_that_of_its_own_logits_which_are_plain_products(
    make_agent: Any, normalize: bool
) -> None:
    agent = make_agent(arm="curl", features=2, normalize=normalize)
    arm, embeddings = agent.arm, EMBEDDINGS.to(agent.device)
    logits = torch.tensor([[1.0, 10.0], [10.0, 200.0]])  # with W the identity

    with torch.no_grad():
        arm.critic.weight.copy_(torch.eye(2))
    loss = arm.loss_of_pair(embeddings, embeddings)

    assert loss.loss.item() == pytest.approx(-logits.log_softmax(-1).diagonal().mean().item())
    assert accuracy(loss) == 0.5


@pytest.mark.parametrize("normalize", [False, True])
def test_byols_accuracy_compares_directions_as_its_loss_does(
    make_agent: Any, normalize: bool
) -> None:
    agent = make_agent(arm="byol", features=2, normalize=normalize)

    assert accuracy(agent.arm.loss_of(*[EMBEDDINGS.to(agent.device)] * 4)) == 1.0


@pytest.mark.parametrize(("normalize", "expected"), [(False, 0.5), (True, 1.0)])
@pytest.mark.parametrize("arm", ["relic", "simclr"])
def test_the_other_arms_accuracy_is_that_of_the_embeddings_they_compare(
    make_agent: Any, arm: str, normalize: bool, expected: float
) -> None:
    agent = make_agent(arm=arm, features=2, normalize=normalize)

    assert accuracy(agent.arm.loss_of(*[EMBEDDINGS] * 4)) == expected


@pytest.mark.parametrize("change", [{"normalize": False}, {"temperature": 1.0}])
@pytest.mark.parametrize(
    ("arm", "takes_them"), [("relic", True), ("simclr", True), ("curl", False), ("byol", False)]
)
def test_normalize_and_temperature_are_of_relic_and_simclr_only(
    make_agent: Any, make_batch: Any, arm: str, takes_them: bool, change: dict[str, Any]
) -> None:
    agents = [make_agent(arm=arm), make_agent(arm=arm, **change)]

    one, other = (compared(agent, make_batch()) for agent in agents)

    assert torch.equal(one.loss, other.loss) != takes_them
    if not takes_them:
        assert one.metrics == other.metrics


@pytest.mark.parametrize(
    ("arm", "parts"),
    [
        ("relic", {"contrastive_loss", "invariance_loss"}),
        ("simclr", {"contrastive_loss", "invariance_loss"}),
        ("curl", {"contrastive_loss"}),
        ("byol", set()),
    ],
)
def test_an_arm_reports_the_parts_that_its_loss_has(
    make_agent: Any, make_batch: Any, arm: str, parts: set[str]
) -> None:
    agent = make_agent(arm=arm)

    metrics = compared(agent, make_batch()).metrics

    assert metrics.keys() == {"contrastive_accuracy", "embedding_norm"} | parts


def contrasted(make_agent: Any, **options: Any) -> tuple[RepresentationLoss, torch.Tensor]:
    """ReLIC's loss of four random views with these options, and its gradient by the first."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(6, 4, generator=generator).requires_grad_() for _ in range(4)]
    loss = make_agent(arm="relic", features=4, **options).arm.loss_of(*views)
    (gradient,) = torch.autograd.grad(loss.loss, views[0])
    return loss, gradient


def test_alpha_weighs_the_invariance_term(make_agent: Any) -> None:
    for alpha in (0.0, 0.7):
        loss, _ = contrasted(make_agent, alpha=alpha)
        parts = loss.metrics["contrastive_loss"], loss.metrics["invariance_loss"]
        assert parts[1] > 0
        torch.testing.assert_close(loss.loss, parts[0] + alpha * parts[1])


def test_the_kls_direction_and_what_is_held_constant_reach_the_loss(make_agent: Any) -> None:
    forward, reverse = (contrasted(make_agent, kl_direction=way) for way in ("forward", "reverse"))
    held = contrasted(make_agent, kl_stop_gradient="first")

    assert forward[0].metrics["invariance_loss"] != reverse[0].metrics["invariance_loss"]
    assert torch.equal(forward[0].loss, held[0].loss)
    assert not torch.allclose(forward[1], held[1])


@pytest.mark.parametrize("name", ARMS)
def test_every_name_stands_for_an_arm_and_two_have_no_loss(
    make_agent: Any, make_batch: Any, name: str
) -> None:
    agent = make_agent(arm=name)

    assert issubclass(arm_class(name), Arm)
    loss = compared(agent, make_batch())
    assert (loss is None) == (name in ("none", "augmentation"))


def test_an_arm_that_lacks_its_loss_cannot_be_made(make_agent: Any) -> None:
    arm = make_agent(arm="relic").arm

    with pytest.raises(TypeError, match="loss_of"):
        TwoWayArm(arm.options, arm.sequence, arm.momentum_encoder)
