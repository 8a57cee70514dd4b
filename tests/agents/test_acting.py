from typing import Any

import pytest
import torch
from torch import Tensor

from agents.agent import R2D2Agent
from agents.interface import PolicyInput, TrainingBatch
from agents.networks import stacks_from_frames

BURN_IN, UNROLL = 4, 8


def stacks(batch: TrainingBatch) -> Tensor:
    return stacks_from_frames(batch.frames, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"arm": "none"},
        {"arm": "relic", "encoder": "separate"},
        {"arm": "relic", "encoder": "separate", "acting_encoder": "momentum"},
        {"arm": "augmentation", "encoder": "separate"},
    ],
    ids=str,
)
def test_the_policy_step_by_step_equals_the_learners_unroll(
    make_agent: Any, make_batch: Any, changes: dict[str, str]
) -> None:
    agent, batch = make_agent(**changes), make_batch()
    agent.update(batch)  # so that f and h differ
    batch = batch._replace(
        has_burn_in=torch.zeros_like(batch.has_burn_in), state=batch.unroll_state
    )
    L, B = batch.actions.shape
    policy, state, values = agent.policy(), batch.unroll_state, []

    rl = agent.losses(batch, stacks(batch)).rl
    for row in range(BURN_IN, BURN_IN + UNROLL):
        seen = PolicyInput(
            stacks(batch).unflatten(0, (L, B))[row],
            batch.previous_actions[row],
            batch.previous_rewards[row],
            state,
        )
        q, state = policy.q_values(seen)
        values.append(q)

    # The learner's Q-values: from the errors, with the targets of an agent that takes reward 0
    # and ends at every step: then target = h(0) = 0 and the error is -Q(s, a).
    silent = batch._replace(
        rewards=torch.zeros_like(batch.rewards), terminated=torch.ones_like(batch.terminated)
    )
    errors = agent.losses(silent, stacks(batch)).rl.td_errors
    actions = batch.actions[BURN_IN : BURN_IN + UNROLL]
    chosen = torch.stack(values).gather(-1, actions[..., None]).squeeze(-1)
    torch.testing.assert_close(-errors[rl.mask], chosen[rl.mask], rtol=1e-5, atol=1e-6)
    largest = torch.stack(values).abs().amax(-1)[rl.mask].max()
    torch.testing.assert_close(rl.largest_q, largest, rtol=1e-5, atol=1e-6)


def acted(agent: R2D2Agent, batch: TrainingBatch) -> Tensor:
    L, B = batch.actions.shape
    row = stacks(batch).unflatten(0, (L, B))[BURN_IN]
    seen = PolicyInput(
        row, batch.previous_actions[BURN_IN], batch.previous_rewards[BURN_IN], batch.unroll_state
    )
    return agent.policy().q_values(seen)[0]


@pytest.mark.parametrize("acting_encoder", ["online", "momentum"])
def test_acting_and_learning_use_the_encoder_that_the_option_names_and_no_other(
    make_agent: Any, make_batch: Any, acting_encoder: str
) -> None:
    agent = make_agent(arm="relic", encoder="separate", acting_encoder=acting_encoder)
    batch = make_batch()
    encoders = {"online": agent.join.apart, "momentum": agent.arm.momentum_encoder}
    used = encoders.pop(acting_encoder)
    (other,) = encoders.values()

    def values() -> tuple[Tensor, Tensor]:
        return acted(agent, batch), agent.losses(batch, stacks(batch)).rl.td_errors

    def shift(encoder: Any) -> None:
        with torch.no_grad():
            encoder.projection.bias += 1.0

    first = values()
    shift(other)
    unmoved = values()
    shift(used)
    moved = values()

    assert all(torch.equal(a, b) for a, b in zip(first, unmoved, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, moved, strict=True))


def test_acting_with_the_momentum_encoder_is_refused_for_a_shared_one(make_agent: Any) -> None:
    with pytest.raises(ValueError, match=r"acting_encoder is momentum: use .* separate"):
        make_agent(arm="relic", acting_encoder="momentum")


@pytest.mark.parametrize("acting_encoder", ["online", "momentum"])
def test_a_policy_takes_over_newer_parameters(
    make_agent: Any, make_batch: Any, acting_encoder: str
) -> None:
    agent = make_agent(arm="relic", encoder="separate", acting_encoder=acting_encoder)
    batch, policy, old = make_batch(), agent.policy(), agent.policy()
    for _ in range(3):
        agent.update(batch)

    policy.load(agent.parameters_for_policy(), agent.updates)

    restored = agent.policy()
    restored.load_state(policy.state())
    seen = PolicyInput(
        stacks(batch)[:2],
        torch.tensor([1, -1], device=agent.device),
        torch.tensor([0.5, 0.0], device=agent.device),
        policy.initial_state(2),
    )
    fresh = agent.policy().q_values(seen)[0]
    assert torch.equal(policy.q_values(seen)[0], fresh)
    assert torch.equal(restored.q_values(seen)[0], fresh)
    assert not torch.equal(old.q_values(seen)[0], fresh)
    assert (old.version_updates, policy.version_updates, restored.version_updates) == (0, 3, 3)


# Averaged parameters


@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_evaluation_plays_with_the_mean_of_past_parameters(
    make_agent: Any, make_batch: Any, encoder: str
) -> None:
    # After update u the weight of the past is min(0.1, u / (u + 10)): 1/11, 0.1, 0.1.
    agent = make_agent(arm="relic", encoder=encoder, average_decay=0.1)
    weight = agent.online.head.value[0].weight
    mean = weight.detach().clone()
    for update in range(1, 4):
        agent.update(make_batch(seed=update))
        decay = min(0.1, update / (update + 10))
        mean = decay * mean + (1 - decay) * weight.detach()

    judged = agent.evaluation_policy().state()["parameters"]
    acting = agent.policy().state()["parameters"]

    assert judged["online"]["head.value.0.weight"] == pytest.approx(
        mean.numpy(force=True), rel=1e-5
    )
    assert judged.keys() == acting.keys()
    for part, tensors in judged.items():
        assert any((tensor != acting[part][key]).any() for key, tensor in tensors.items())


def test_without_a_decay_evaluation_plays_with_the_newest(make_agent: Any, make_batch: Any) -> None:
    agent = make_agent()
    agent.update(make_batch())

    judged = agent.evaluation_policy().state()["parameters"]["online"]

    assert all(
        (judged[k] == v.numpy(force=True)).all() for k, v in agent.online.state_dict().items()
    )
    assert "average" not in agent.model_state()


@pytest.mark.parametrize(
    "changes",
    [{"arm": "none"}, {"arm": "relic", "encoder": "separate"}, {"arm": "augmentation"}],
    ids=str,
)
def test_a_policy_s_features_are_what_its_lstm_reads(
    make_agent: Any, make_batch: Any, changes: dict[str, str]
) -> None:
    agent, batch = make_agent(**changes), make_batch()
    agent.update(batch)
    given = None
    if agent.given_encoder is not None:
        given = agent.given_encoder(stacks(batch))
    policy = agent.policy()

    torch.testing.assert_close(
        policy.features(stacks(batch)), agent.online.encode(stacks(batch), given)
    )
    torch.testing.assert_close(
        policy.features(policy.see(stacks(batch))), policy.features(stacks(batch))
    )


def test_an_untrained_policy_differs_by_its_seed_and_changes_no_random_number(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(arm="relic"), make_batch()
    before = torch.get_rng_state(), agent.generator.get_state()
    one, again, other = (agent.untrained_policy(s).features(stacks(batch)) for s in (1, 1, 2))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(agent.generator.get_state(), before[1])
