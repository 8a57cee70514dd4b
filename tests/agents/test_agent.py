import copy
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.agent import R2D2Agent
from agents.augmentation import random_shift_and_intensity
from agents.interface import TrainingBatch
from agents.networks import stacks_from_frames
from agents.representation.arm import Arm, MomentumArm, arm_class
from agents.representation.arms import ARMS

BURN_IN, UNROLL = 4, 8
MOMENTUM_ARMS = [arm for arm in ARMS if issubclass(arm_class(arm), MomentumArm)]
JOINS = ("shared", "separate")
CASES = [(arm, join) for arm in ARMS for join in arm_class(arm).joins]


def parameters(agent: R2D2Agent) -> dict[str, Tensor]:
    """Copies of all parameters and buffers of all networks."""
    return {
        f"{part}.{name}": tensor.clone()
        for part, tensors in agent.model_state().items()
        for name, tensor in tensors.items()
    }


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def gradient_size(module: Any) -> float:
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


def stacks(batch: TrainingBatch) -> Tensor:
    return stacks_from_frames(batch.frames, 4)


# Arms and encoders


@pytest.mark.parametrize(("arm", "encoder"), CASES)
def test_every_arm_builds_and_learns_on_either_encoder(
    make_agent: Any, make_batch: Any, arm: str, encoder: str
) -> None:
    agent, batch = make_agent(arm=arm, encoder=encoder), make_batch()
    before = copy.deepcopy(agent.online.state_dict())
    represented = copy.deepcopy(agent.join.encoder.state_dict())

    reports = [agent.update(batch) for _ in range(2)]

    assert all(report.finite for report in reports)
    assert agent.updates == 2
    assert all(torch.isfinite(value) for value in reports[1].metrics.values())
    # It would keep a backward pass alive, in a GPU's memory and on the stream of its update.
    assert not any(value.requires_grad for value in reports[1].metrics.values())
    has_loss = arm_class(arm).loss is not Arm.loss
    assert ("representation_loss" in reports[1].metrics) == has_loss
    assert (agent.join.apart is not None) == (encoder == "separate" and has_loss)
    own_optimizer = agent.join.apart is not None or arm == "disturbed_relic"
    assert len(agent.optimizers) == 1 + own_optimizer
    after = agent.online.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    after = agent.join.encoder.state_dict()
    assert not any(torch.equal(represented[name], after[name]) for name in represented)


def test_the_separate_augmentation_arm_has_two_encoders_trained_end_to_end(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(arm="augmentation", encoder="separate"), make_batch()

    agent.losses(batch, stacks(batch)).rl.loss.backward()

    assert [gradient_size(encoder) > 0 for encoder in agent.online.encoders] == [True, True]


def test_the_augmentation_arm_augments_what_the_q_network_learns_from(
    make_agent: Any, make_batch: Any
) -> None:
    plain, augmented, batch = make_agent(), make_agent(arm="augmentation"), make_batch()
    same_start = same(parameters(plain), parameters(augmented))

    losses = [agent.update(batch).metrics["rl_loss"] for agent in (plain, augmented)]

    assert same_start
    assert not torch.equal(*losses)


def test_the_augmentation_arm_draws_anew_for_every_stack_of_the_whole_sequence(
    make_agent: Any, make_batch: Any
) -> None:
    agent, twin = (make_agent(arm="augmentation") for _ in range(2))
    batch = make_batch()
    augmented = random_shift_and_intensity(stacks(batch), generator=twin.generator)

    loss = agent.update(batch).metrics["rl_loss"]

    assert torch.equal(loss, twin.losses(batch, augmented).rl.loss)


@pytest.mark.parametrize("arm", MOMENTUM_ARMS)
def test_both_losses_reach_the_shared_encoder(make_agent: Any, make_batch: Any, arm: str) -> None:
    agent, batch = make_agent(arm=arm), make_batch()

    agent.losses(batch, stacks(batch)).rl.loss.backward()
    of_reinforcement = gradient_size(agent.online.encoder)
    agent.online.zero_grad()
    agent.losses(batch, stacks(batch)).rep.loss.backward()

    assert of_reinforcement > 0
    assert gradient_size(agent.online.encoder) > 0
    assert gradient_size(agent.online.core) == gradient_size(agent.online.head) == 0
    assert gradient_size(agent.arm.momentum_encoder) == 0


@pytest.mark.parametrize("arm", MOMENTUM_ARMS)
@pytest.mark.parametrize("acting_encoder", ["online", "momentum"])
def test_with_a_separate_encoder_each_loss_keeps_to_its_own(
    make_agent: Any, make_batch: Any, arm: str, acting_encoder: str
) -> None:
    agent = make_agent(arm=arm, encoder="separate", acting_encoder=acting_encoder)
    batch = make_batch()

    agent.losses(batch, stacks(batch)).rl.loss.backward()
    into_separate = gradient_size(agent.join.apart) + gradient_size(agent.arm)
    into_online = gradient_size(agent.online)
    agent.online.zero_grad()
    agent.losses(batch, stacks(batch)).rep.loss.backward()

    assert into_separate == 0
    assert into_online > 0
    assert gradient_size(agent.online) == 0
    assert gradient_size(agent.join.apart) > 0
    assert gradient_size(agent.arm.momentum_encoder) == 0


def test_each_optimizer_has_its_own_settings_and_parameters(make_agent: Any) -> None:
    agent = make_agent(arm="curl", encoder="separate")

    main, apart = agent.optimizers["main"], agent.optimizers["representation"]

    assert (main.defaults["lr"], main.defaults["eps"]) == (1e-3, 1e-5)
    assert (apart.defaults["lr"], apart.defaults["eps"]) == (2e-3, 1e-4)
    assert main.defaults["betas"] == apart.defaults["betas"] == (0.9, 0.999)
    assert {id(p) for p in main.param_groups[0]["params"]} == {
        id(p) for p in agent.online.parameters()
    }
    assert {id(p) for p in apart.param_groups[0]["params"]} == {
        id(p) for p in (*agent.join.apart.parameters(), agent.arm.critic.weight)
    }


def test_each_optimizer_clips_by_its_own_norm(make_agent: Any, make_batch: Any) -> None:
    agent = make_agent(arm="relic", encoder="separate")
    # Both records have a `clip_norm`, and the factory would set both to the same value.
    agent.learner = replace(agent.learner, clip_norm=1e-3)
    agent.representation = replace(agent.representation, clip_norm=2e-3)

    metrics = agent.update(make_batch()).metrics

    for name, norm in (("main", 1e-3), ("representation", 2e-3)):
        parameters = agent.optimizers[name].param_groups[0]["params"]
        gradients = [p.grad.flatten() for p in parameters]
        assert metrics[f"{name}_gradient_norm"] > norm  # before clipping
        assert float(torch.cat(gradients).norm()) == pytest.approx(norm, rel=1e-2)


def test_the_weight_scales_the_representation_gradient_of_a_shared_encoder(
    make_agent: Any, make_batch: Any
) -> None:
    batch, gradients = make_batch(), {}
    for weight in (0.0, 1.0, 3.0):
        agent = make_agent(arm="relic", weight=weight, clip_norm=1e9)
        agent.update(batch)
        gradients[weight] = agent.online.encoder.projection.weight.grad.clone()

    one, three = gradients[1.0] - gradients[0.0], gradients[3.0] - gradients[0.0]

    assert float(one.abs().sum()) > 0
    torch.testing.assert_close(three, 3 * one, rtol=1e-3, atol=1e-6)


# Learning


def test_the_learner_overfits_a_fixed_batch(make_agent: Any, make_batch: Any) -> None:
    agent, batch = make_agent(learning_rate=3e-3), make_batch()

    losses = [float(agent.update(batch).metrics["rl_loss"]) for _ in range(120)]

    assert min(losses[-20:]) < losses[0] / 100


@pytest.mark.parametrize("encoder", JOINS)
def test_with_relic_both_losses_fall_on_a_fixed_batch(
    make_agent: Any, make_batch: Any, encoder: str
) -> None:
    agent, batch = make_agent(arm="relic", encoder=encoder, learning_rate=3e-3), make_batch()

    reports = [agent.update(batch) for _ in range(120)]

    assert all(report.finite for report in reports)
    for name, factor in (("rl_loss", 10.0), ("representation_loss", 1.5)):
        values = torch.stack([report.metrics[name] for report in reports])
        assert values[-20:].mean() < values[:5].mean() / factor, name


def test_the_average_is_learned_from_nothing(make_agent: Any, make_batch: Any) -> None:
    plain, averaged = make_agent(), make_agent(average_decay=0.9)
    for update in range(3):
        plain.update(make_batch(seed=update))
        averaged.update(make_batch(seed=update))

    assert same(
        parameters(plain),
        {k: v for k, v in parameters(averaged).items() if not k.startswith("average.")},
    )


@pytest.mark.parametrize(("arm", "encoder"), CASES)
def test_diagnostics_change_nothing_that_is_learned(
    make_agent: Any, make_batch: Any, arm: str, encoder: str
) -> None:
    batch = make_batch()
    agents = [
        make_agent(arm=arm, encoder=encoder, diagnostics_every_updates=every) for every in (0, 2)
    ]

    metrics = [[agent.update(batch).metrics for _ in range(4)] for agent in agents]

    assert same(parameters(agents[0]), parameters(agents[1]))
    assert torch.equal(*(agent.generator.get_state() for agent in agents))
    diagnosed = {"effective_rank", "delta_q"} | {f"td_error_{q}th" for q in (50, 90, 99)}
    if arm_class(arm).loss is not Arm.loss and encoder == "shared":
        diagnosed.add("gradient_cosine")
    without, with_diagnostics = metrics
    for update, (plain, more) in enumerate(zip(without, with_diagnostics, strict=True)):
        assert more.keys() - plain.keys() == (diagnosed if update % 2 == 0 else set())
        assert all(torch.isfinite(value) for value in more.values())
        assert not any(value.requires_grad for value in more.values())


# Target and momentum


def test_the_target_is_copied_exactly_every_period_and_not_before(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(target_period_updates=3), make_batch()
    first = copy.deepcopy(agent.target.state_dict())
    assert same(first, agent.online.state_dict())

    copied = []
    for _ in range(6):
        agent.update(batch)
        copied.append(same(dict(agent.target.state_dict()), dict(agent.online.state_dict())))
        if len(copied) == 2:
            assert same(dict(agent.target.state_dict()), first)

    assert copied == [False, False, True, False, False, True]


def test_an_averaging_target_is_the_exponential_mean_of_the_online_networks(
    make_agent: Any, make_batch: Any
) -> None:
    # The period would copy it after every update: with a decay there are no copies.
    agent = make_agent(target_decay=0.75, target_period_updates=1)
    expected = {name: p.detach().double() for name, p in agent.target.named_parameters()}

    for update in range(3):
        agent.update(make_batch(seed=update))
        for name, newest in agent.online.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * newest.detach().double()

    assert agent.updates == 3
    for name, mean in agent.target.named_parameters():
        torch.testing.assert_close(mean.double(), expected[name], rtol=1e-5, atol=1e-7)
    assert not same(dict(agent.target.state_dict()), dict(agent.online.state_dict()))


@pytest.mark.parametrize("encoder", JOINS)
def test_the_momentum_encoder_follows_the_updated_one(
    make_agent: Any, make_batch: Any, encoder: str
) -> None:
    agent, batch = make_agent(arm="byol", encoder=encoder, momentum=0.9), make_batch()
    pairs = [(agent.arm.momentum_encoder, agent.join.encoder)]
    pairs += [(agent.arm.momentum_heads, agent.arm.heads)]
    before = [copy.deepcopy(momentum) for momentum, _ in pairs]

    agent.update(batch)

    for (momentum, online), old in zip(pairs, before, strict=True):
        for h, f, was in zip(*(m.parameters() for m in (momentum, online, old)), strict=True):
            expected = 0.9 * was.double() + 0.1 * f.double()
            torch.testing.assert_close(h.double(), expected, rtol=1e-6, atol=1e-7)
            assert not h.requires_grad


def test_the_momentum_encoder_starts_as_a_copy(make_agent: Any) -> None:
    for encoder in JOINS:
        agent = make_agent(arm="relic", encoder=encoder)
        assert same(
            dict(agent.arm.momentum_encoder.state_dict()),
            dict(agent.join.encoder.state_dict()),
        )


# State


def stored(agent: R2D2Agent) -> dict[str, Any]:
    """The agent's state after a trip through a file."""
    buffer = io.BytesIO()
    torch.save(
        {
            "model": agent.model_state(),
            "optimizer": agent.optimizer_state(),
            "generator": agent.generator.get_state(),
            "updates": agent.updates,
        },
        buffer,
    )
    buffer.seek(0)
    state: dict[str, Any] = torch.load(buffer, map_location="cpu", weights_only=True)
    return state


@pytest.mark.parametrize("encoder", JOINS)
def test_every_network_takes_the_same_mean_picture_off_its_input(
    make_agent: Any, make_batch: Any, encoder: str
) -> None:
    agent = make_agent(arm="relic", encoder=encoder, centred_input=True, average_decay=0.5)
    frames = make_batch().frames.flatten(0, 1)
    assert agent.needs_frames

    agent.centre_input(frames)

    pictures = frames[frames.flatten(1).amax(1) > 0].double()
    modules = {**agent._modules, "policy": agent.policy()._online}
    found = {
        f"{name}.{key}": buffer
        for name, module in modules.items()
        for key, buffer in module.named_buffers()
        if key.endswith("centring.mean")
    }
    assert not agent.needs_frames
    # Of the Q-network, its target, its average and the policy, and of f, h and f's average.
    assert len(found) == {"shared": 5, "separate": 7}[encoder]
    for mean in found.values():
        torch.testing.assert_close(mean.double(), pictures.mean(0), rtol=0, atol=1e-4)


def test_a_centred_agent_is_restored_with_its_mean_picture_and_learns_on_alike(
    make_agent: Any, make_batch: Any
) -> None:
    options = {"arm": "relic", "centred_input": True, "layer_norm": True, "average_decay": 0.5}
    agent, batch, other = make_agent(**options), make_batch(), make_agent(**options, seed=1)
    agent.centre_input(batch.frames.flatten(0, 1))
    agent.update(batch)

    other.load_state(**stored(agent))

    assert not other.needs_frames
    first, second = agent.update(batch), other.update(batch)
    assert first.finite
    assert same(first.metrics, second.metrics)
    assert same(parameters(agent), parameters(other))


@pytest.mark.parametrize(("arm", "encoder"), CASES)
def test_state_round_trip_is_bit_equal_and_so_is_the_next_update(
    make_agent: Any, make_batch: Any, arm: str, encoder: str
) -> None:
    options = {"arm": arm, "encoder": encoder, "average_decay": 0.5}
    agent, batch = make_agent(**options), make_batch()
    for _ in range(2):
        agent.update(batch)
    other = make_agent(**options, seed=1)
    assert not same(parameters(agent), parameters(other))

    other.load_state(**stored(agent))

    assert same(parameters(agent), parameters(other))
    first, second = agent.update(batch), other.update(batch)
    assert same(parameters(agent), parameters(other))
    assert same(first.metrics, second.metrics)
    assert torch.equal(first.priorities, second.priorities)
    assert agent.updates == other.updates == 3


def test_load_state_refuses_another_shape_and_names_it(make_agent: Any) -> None:
    agent, wider = make_agent(), make_agent(features=20)
    before = parameters(agent)

    with pytest.raises(ValueError, match=r"online\.\S+ is torch\.float32\[20, \d+\], needs"):
        agent.load_state(**stored(wider))

    assert same(before, parameters(agent))


def test_load_state_refuses_another_arm_and_says_what_is_there(make_agent: Any) -> None:
    with pytest.raises(ValueError, match=r"holds \['objective', 'online', 'target'\].*needs"):
        make_agent().load_state(**stored(make_agent(arm="relic")))


def test_load_state_refuses_another_network_of_the_same_parts(make_agent: Any) -> None:
    with pytest.raises(ValueError, match=r"objective: parameters .*critic\.weight"):
        make_agent(arm="relic").load_state(**stored(make_agent(arm="curl")))


@pytest.mark.parametrize("encoder", JOINS)
def test_a_batch_that_is_not_finite_leaves_what_learns_as_it_was(
    make_agent: Any, make_batch: Any, encoder: str
) -> None:
    agent, batch = make_agent(arm="relic", encoder=encoder, target_period_updates=2), make_batch()
    agent.update(batch)
    learns = [p for o in agent.optimizers.values() for p in o.param_groups[0]["params"]]
    before, optimizers = copy.deepcopy(learns), copy.deepcopy(agent.optimizer_state())
    rewards = batch.rewards.clone()
    rewards[BURN_IN + 1, 0] = torch.nan

    report = agent.update(batch._replace(rewards=rewards))

    assert not report.finite
    assert agent.updates == 2
    assert all(torch.equal(*pair) for pair in zip(before, learns, strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in parameters(agent).values())
    for name, optimizer in agent.optimizer_state().items():
        for index, moments in optimizer["state"].items():
            assert same(moments, optimizers[name]["state"][index])
    assert agent.update(batch).finite


def test_same_seed_same_agent_other_seed_another(make_agent: Any, make_batch: Any) -> None:
    batch = make_batch()
    agents = [make_agent(arm="relic", seed=seed) for seed in (0, 0, 1)]
    for agent in agents:
        agent.update(batch)

    first, again, other = (parameters(agent) for agent in agents)

    assert same(first, again)
    assert not same(first, other)


def test_building_an_agent_leaves_torchs_global_generator_alone(make_agent: Any) -> None:
    before = torch.get_rng_state()

    make_agent(arm="byol", encoder="separate")

    assert torch.equal(torch.get_rng_state(), before)


# Options for a GPU


@pytest.fixture
def bfloat16_on_any_cpu() -> Iterator[None]:
    """PyTorch's own kernels: oneDNN's know bfloat16 only on CPUs with AVX-512."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


@pytest.mark.usefixtures("bfloat16_on_any_cpu")
def test_bfloat16_changes_the_loss_by_its_rounding_and_nothing_else(
    make_agent: Any, make_batch: Any
) -> None:
    batch = make_batch()
    exact, rounded = make_agent(), make_agent(bfloat16=True)

    loss = exact.losses(batch, stacks(batch).float()).rl
    rounded_loss = rounded.losses(batch, stacks(batch).float()).rl
    report = rounded.update(batch)

    # 8 bits of mantissa: a relative error of 2^-9 an operation, some operations deep.
    assert not torch.equal(rounded_loss.loss, loss.loss)
    torch.testing.assert_close(rounded_loss.loss, loss.loss, rtol=0.05, atol=0.0)
    assert rounded_loss.td_errors.dtype == torch.float32
    assert report.finite
    assert {p.dtype for p in rounded.online.parameters()} == {torch.float32}


@pytest.mark.usefixtures("bfloat16_on_any_cpu")
def test_bfloat16_gives_every_parameter_the_exact_gradients_direction(
    make_agent: Any, make_batch: Any
) -> None:
    batch = make_batch()  # with a burn-in, in which the weights are used without gradient
    gradients = []
    for agent in (make_agent(), make_agent(bfloat16=True)):
        agent.losses(batch, stacks(batch).float()).rl.loss.backward()
        gradients.append({name: p.grad for name, p in agent.online.named_parameters()})

    for name, exact in gradients[0].items():
        cosine = torch.cosine_similarity(exact.flatten(), gradients[1][name].flatten(), dim=0)
        assert float(cosine) > 0.9, name


def test_the_lstm_is_run_in_float32_under_autocast(
    make_agent: Any, make_batch: Any, device: str
) -> None:
    online, batch = make_agent().online, make_batch()
    features = online.encode(stacks(batch)).unflatten(0, batch.actions.shape)
    seen = (features, batch.previous_actions, batch.previous_rewards, batch.state)
    exact, state = online.advance(*seen)

    with torch.autocast(device, torch.bfloat16):
        outputs, state_too = online.advance(*seen)

    # On a GPU autocast would make it float16, whatever type it was asked for.
    assert torch.equal(outputs, exact)
    assert torch.equal(state_too.cell, state.cell)


def test_q_values_under_bfloat16_are_finer_than_it(make_agent: Any, device: str) -> None:
    head = make_agent().online.head
    inputs = torch.randn(4, head.value[0].in_features, generator=torch.Generator().manual_seed(0))

    with torch.autocast(device, torch.bfloat16):
        q = head(inputs.to(device))

    assert q.dtype == torch.float32
    assert not torch.equal(q, q.bfloat16().float())


@pytest.mark.cuda
@pytest.mark.skipif(
    os.environ.get("RELIC_RL_TEST_CUDA") == "simulated", reason="compiles for a GPU"
)
def test_compiled_encoders_learn_the_same_and_keep_their_names(
    make_agent: Any, make_batch: Any
) -> None:
    batch = make_batch()
    plain = make_agent(arm="relic", diagnostics_every_updates=1)
    compiled = make_agent(arm="relic", diagnostics_every_updates=1, compile_encoders=True)

    loss = plain.losses(batch, stacks(batch).float()).rl.loss
    compiled_loss = compiled.losses(batch, stacks(batch).float()).rl.loss

    torch.testing.assert_close(compiled_loss, loss)
    assert parameters(compiled).keys() == parameters(plain).keys()
    assert compiled.update(batch).finite
