from typing import Any

import pytest
import torch
from torch import Tensor

from agents.interface import PolicyInput, TrainingBatch
from agents.networks import stacks_from_frames

BURN_IN, UNROLL = 4, 8


def stacks(batch: TrainingBatch) -> Tensor:
    return stacks_from_frames(batch.frames, 4)


@pytest.mark.parametrize("use_burn_in", [False, True])
def test_the_contrast_set_holds_stacks_of_steps_and_of_the_burn_in_only_when_asked(
    make_agent: Any, make_batch: Any, use_burn_in: bool
) -> None:
    agent = make_agent(arm="relic", stacks_per_sequence=100, use_burn_in=use_burn_in)
    batch = make_batch()

    seen = agent.arm.contrast_set(batch, agent.generator)

    usable = batch.is_step[: BURN_IN + UNROLL].clone()
    usable[:BURN_IN] &= use_burn_in
    expected = stacks(batch).unflatten(0, batch.actions.shape)[: BURN_IN + UNROLL][usable]
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert sorted(seen.flatten(1).tolist()) == sorted(expected.flatten(1).tolist())


def test_the_diagnosed_cosine_is_that_of_separately_computed_gradients(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(arm="relic", diagnostics_every_updates=1), make_batch()
    twin = make_agent(arm="relic")
    gradients = []
    for loss in twin.losses(batch, stacks(batch)):
        twin.online.zero_grad()
        loss.loss.backward()
        encoder = twin.online.encoder.parameters()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder]).double())

    found = agent.update(batch).metrics["gradient_cosine"]

    expected = gradients[0] @ gradients[1] / (gradients[0].norm() * gradients[1].norm())
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_delta_q_is_0_when_the_burn_in_reproduces_the_stored_state(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(diagnostics_every_updates=1), make_batch()
    policy, state = agent.policy(), batch.state
    rows = stacks(batch).unflatten(0, batch.actions.shape)
    for row in range(BURN_IN):
        seen = PolicyInput(
            rows[row], batch.previous_actions[row], batch.previous_rewards[row], state
        )
        _, state = policy.q_values(seen)
    true_state = type(state)(*(part.clone() for part in state))

    stale = make_agent(diagnostics_every_updates=1).update(batch).metrics["delta_q"]
    exact = agent.update(batch._replace(unroll_state=true_state)).metrics["delta_q"]

    assert float(exact) == pytest.approx(0.0, abs=1e-5)
    assert float(stale) > 1e-3


def test_without_any_burn_in_there_is_no_delta_q(make_agent: Any, make_batch: Any) -> None:
    agent, batch = make_agent(diagnostics_every_updates=1), make_batch()

    metrics = agent.update(batch._replace(has_burn_in=torch.zeros_like(batch.has_burn_in))).metrics

    assert "delta_q" not in metrics
