"""The agent's reinforcement loss against a naive float64 twin: one sequence, one step at a time."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from agents.interface import RecurrentState, TrainingBatch
from agents.networks import stacks_from_frames
from agents.r2d2_loss import R2D2Loss, r2d2_loss
from agents.returns import q_lambda_targets

BURN_IN, UNROLL, N_STEPS = 4, 8, 2
DISCOUNT, EPSILON, MIX = 0.9, 1e-3, 0.9


def doubled(batch: TrainingBatch) -> TrainingBatch:
    return batch._replace(
        previous_rewards=batch.previous_rewards.double(),
        rewards=batch.rewards.double(),
        weights=batch.weights.double(),
        state=RecurrentState(*(part.double() for part in batch.state)),
    )


def in_double(agent: Any) -> Any:
    for module in (agent.online, agent.target, agent.join.apart, agent.arm):
        if module is not None:
            module.double()
    return agent


def disturb_target(agent: Any) -> None:
    """A target that differs from the online network, as after some updates."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in agent.target.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter += 0.1 * noise.to(parameter.device)


def reinforcement(agent: Any, batch: TrainingBatch) -> R2D2Loss:
    loss: R2D2Loss = agent.losses(batch, stacks_from_frames(batch.frames, 4)).rl
    return loss


# The twin. Functional and in float64, written from the papers; it uses only the parameters.


def encoded(parameters: dict[str, Tensor], prefix: str, stack: Tensor) -> Tensor:
    x = stack[None].double() / 255.0
    for layer, stride in enumerate((4, 2, 1)):
        name = f"{prefix}.convolutions.{layer}"
        x = F.relu(F.conv2d(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"], stride))
    weight, bias = (parameters[f"{prefix}.projection.{part}"] for part in ("weight", "bias"))
    return F.relu(weight @ x[0].permute(1, 2, 0).reshape(-1) + bias)


def stepped(
    parameters: dict[str, Tensor], batch: TrainingBatch, row: int, b: int, state: Any
) -> tuple[Tensor, Any]:
    """Q-values of one row of one sequence, and the next (h, c)."""
    features = encoded(parameters, "encoders.0", batch.frames[row : row + 4, b])
    one_hot = torch.zeros(5, dtype=torch.float64)
    action = int(batch.previous_actions[row, b])
    if action >= 0:
        one_hot[action] = 1.0
    x = torch.cat([features, batch.previous_rewards[row, b].double()[None], one_hot])
    h, c = state
    gates = (
        parameters["core.weight_ih_l0"] @ x
        + parameters["core.bias_ih_l0"]
        + parameters["core.weight_hh_l0"] @ h
        + parameters["core.bias_hh_l0"]
    )
    i, f, g, o = gates.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    skips = parameters["head.value.0.weight"].shape[1] > len(h)
    read = torch.cat([h, features]) if skips else h

    def stream(name: str) -> Tensor:
        first, second = (f"head.{name}.{layer}" for layer in (0, 2))
        hidden = F.relu(parameters[f"{first}.weight"] @ read + parameters[f"{first}.bias"])
        return parameters[f"{second}.weight"] @ hidden + parameters[f"{second}.bias"]

    advantage = stream("advantage")
    return stream("value") + advantage - advantage.mean(), (h, c)


def h(x: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + EPSILON * x


def h_inverse(y: float) -> float:
    root = math.sqrt(1 + 4 * EPSILON * (abs(y) + 1 + EPSILON))
    return math.copysign(((root - 1) / (2 * EPSILON)) ** 2 - 1, y)


def unrolled(parameters: dict[str, Tensor], batch: TrainingBatch, b: int) -> list[Tensor]:
    """Q-values of the trained rows and the n after them; no gradient into what was before."""
    state = tuple(part[b].double() for part in batch.state)
    if batch.has_burn_in[b]:
        for row in range(BURN_IN):
            _, state = stepped(parameters, batch, row, b, state)
        state = tuple(part.detach() for part in state)
    q_values = []
    for row in range(BURN_IN, BURN_IN + UNROLL + N_STEPS):
        q, state = stepped(parameters, batch, row, b, state)
        q_values.append(q)
    return q_values


def naive_target(batch: TrainingBatch, b: int, t: int, online: Any, target: Any) -> float:
    """Row t counts from the first trained one."""
    value = 0.0
    for k in range(N_STEPS):
        row = BURN_IN + t + k
        if not batch.is_step[row, b]:  # the final observation of a truncated episode
            return h(value + DISCOUNT**k * bootstrap(t + k, online, target))
        value += DISCOUNT**k * float(batch.rewards[row, b])
        if batch.terminated[row, b]:
            return h(value)
    return h(value + DISCOUNT**N_STEPS * bootstrap(t + N_STEPS, online, target))


def bootstrap(t: int, online: Any, target: Any) -> float:
    return h_inverse(float(target[t][int(online[t].argmax())]))


def naive_loss(
    online: dict[str, Tensor], target: dict[str, Tensor], batch: TrainingBatch
) -> tuple[Tensor, list[float]]:
    total, priorities = torch.zeros((), dtype=torch.float64), []
    B = batch.actions.shape[1]
    for b in range(B):
        q = unrolled(online, batch, b)
        target_q = unrolled(target, batch, b)
        sizes = []
        for t in range(UNROLL):
            if batch.is_step[BURN_IN + t, b]:
                error = naive_target(batch, b, t, q, target_q) - q[t][batch.actions[BURN_IN + t, b]]
                total = total + 0.5 * batch.weights[b].double() * error**2 / B
                sizes.append(abs(error.item()))
        priorities.append(MIX * max(sizes) + (1 - MIX) * sum(sizes) / len(sizes))
    return total, priorities


# Against the twin


@pytest.mark.parametrize("device", ["cpu"])  # where the twin computes
@pytest.mark.parametrize("options", [{}, {"skip_core": True, "previous_reward": "tanh"}])
def test_loss_gradient_and_priorities_equal_a_naive_twin(
    make_agent: Any, make_batch: Any, options: dict[str, Any]
) -> None:
    agent, batch = in_double(make_agent(**options)), doubled(make_batch())
    disturb_target(agent)
    online = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in agent.online.named_parameters()
    }
    target = dict(agent.target.named_parameters())

    rl = reinforcement(agent, batch)
    rl.loss.backward()
    if "previous_reward" in options:
        batch = batch._replace(previous_rewards=torch.tanh(batch.previous_rewards))
    expected, priorities = naive_loss(online, target, batch)
    expected.backward()

    assert rl.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert rl.priorities.tolist() == pytest.approx(priorities, rel=1e-6)
    for name, parameter in agent.online.named_parameters():
        torch.testing.assert_close(parameter.grad, online[name].grad, rtol=1e-6, atol=1e-12)


def test_hand_worked_loss() -> None:
    # One sequence, T = 2, n = 1, ε = 0 (h(x) = sqrt(x + 1) - 1), γ = 0.5, two actions.
    #   row 0: reward 7, action 1, Q(s_0) = (0, 1); s_1: online prefers action 0 (2 > 1), the target
    #          network values it at 1: h^-1(1) = (1 + 1)² - 1 = 3. y = h(7 + 0.5 · 3) = h(8.5)
    #   row 1: reward 3, terminates, action 0, Q = 2: y = h(3) = 1.
    # δ = (sqrt(9.5) - 1 - 1, 1 - 2) = (1.0822, -1).  loss = weight (δ_0² + δ_1²) / 2
    online_q = torch.tensor([[[0.0, 1.0]], [[2.0, 1.0]], [[9.0, 9.0]]])
    target_q = torch.tensor([[[5.0, 5.0]], [[1.0, 4.0]], [[9.0, 9.0]]])

    rl = r2d2_loss(
        online_q=online_q[:2],
        bootstrap_online_q=online_q,
        target_q=target_q,
        actions=torch.tensor([[1], [0], [0]]),
        rewards=torch.tensor([[7.0], [3.0], [0.0]]),
        terminated=torch.tensor([[False], [True], [False]]),
        is_step=torch.tensor([[True], [True], [False]]),
        weights=torch.tensor([0.5]),
        discount=0.5,
        n_steps=1,
        trace_lambda=0.0,
        rescaling_epsilon=0.0,
        priority_mix=0.9,
    )

    first = math.sqrt(9.5) - 2
    assert rl.td_errors.flatten().tolist() == pytest.approx([first, -1.0], rel=1e-6)
    assert rl.loss.item() == pytest.approx(0.5 * (first**2 + 1) / 2, rel=1e-6)
    assert rl.priorities.tolist() == pytest.approx([0.9 * first + 0.1 * (first + 1) / 2])
    assert rl.largest_q.item() == 2.0  # not 9: that row is not trained on


# Burn-in


def test_no_gradient_flows_into_burn_in_or_bootstrap_rows(make_agent: Any, make_batch: Any) -> None:
    agent, batch = make_agent(), make_batch()
    stacks = stacks_from_frames(batch.frames, 4).float().requires_grad_()

    agent.losses(batch, stacks).rl.loss.backward()

    assert stacks.grad is not None
    rows = stacks.grad.unflatten(0, batch.actions.shape).abs().sum(dim=(2, 3, 4))
    trained = rows[BURN_IN : BURN_IN + UNROLL]
    assert (trained[batch.is_step[BURN_IN : BURN_IN + UNROLL]] > 0).all()
    assert (rows[:BURN_IN] == 0).all()
    assert (rows[BURN_IN + UNROLL :] == 0).all()


def test_burn_in_frames_change_the_values_where_there_is_a_burn_in_and_nowhere_else(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(), make_batch()
    frames = batch.frames.clone()
    frames[:BURN_IN] = 255 - frames[:BURN_IN]

    before = reinforcement(agent, batch).td_errors
    after = reinforcement(agent, batch._replace(frames=frames)).td_errors

    # Row t's stack is frames[t : t + 4]: the first trained row sees none of the first 4 frames.
    assert (before != after).any(dim=0).tolist() == batch.has_burn_in.tolist()


def test_a_missing_burn_in_uses_the_stored_state(make_agent: Any, make_batch: Any) -> None:
    agent, batch = make_agent(), make_batch()
    burn_in_rows = batch._replace(
        previous_rewards=torch.cat(
            [batch.previous_rewards[:BURN_IN] + 1.0, batch.previous_rewards[BURN_IN:]]
        )
    )
    other_state = batch._replace(
        state=type(batch.state)(batch.state.hidden + 0.5, batch.state.cell - 0.5)
    )

    before = reinforcement(agent, batch).td_errors
    by_rows = (before != reinforcement(agent, burn_in_rows).td_errors).any(dim=0)
    by_state = (before != reinforcement(agent, other_state).td_errors).any(dim=0)

    assert by_rows.tolist() == batch.has_burn_in.tolist()
    assert by_state[~batch.has_burn_in].all()


def test_without_burn_in_steps_the_unroll_starts_from_the_stored_state(
    make_agent: Any, make_batch: Any
) -> None:
    agent, batch = make_agent(), make_batch()
    short = make_agent(burn_in_steps=0)
    short.online.load_state_dict(agent.online.state_dict())
    short.target.load_state_dict(agent.target.state_dict())
    cut = {
        name: getattr(batch, name)[BURN_IN:]
        for name in (
            "frames",
            "previous_actions",
            "previous_rewards",
            "actions",
            "rewards",
            "terminated",
            "is_step",
        )
    }
    missing = batch._replace(
        has_burn_in=torch.zeros_like(batch.has_burn_in), state=batch.unroll_state
    )

    masked = reinforcement(agent, missing)
    without = reinforcement(short, missing._replace(**cut))

    torch.testing.assert_close(masked.td_errors, without.td_errors, rtol=1e-5, atol=1e-6)


# Masks and weights


def test_rows_that_are_no_step_contribute_nothing(make_agent: Any, make_batch: Any) -> None:
    agent, batch = make_agent(), make_batch()
    junk = {
        "actions": torch.where(batch.is_step, batch.actions, 3),
        "rewards": torch.where(batch.is_step, batch.rewards, torch.nan),
    }
    frames = batch.frames.clone()
    is_last = batch.is_step & ~torch.cat([batch.is_step[1:], torch.ones_like(batch.is_step[:1])])
    for row, b in is_last.nonzero().tolist():
        frames[row + 5 :, b] = 77  # after the final observation, whose newest frame is row + 4

    expected = reinforcement(agent, batch)
    found = reinforcement(agent, batch._replace(frames=frames, **junk))

    assert is_last.any()
    assert torch.equal(found.td_errors, expected.td_errors)
    assert torch.equal(found.loss, expected.loss)
    assert torch.equal(found.priorities, expected.priorities)
    assert (found.td_errors[~batch.is_step[BURN_IN : BURN_IN + UNROLL]] == 0).all()


def test_importance_weights_scale_each_sequences_share(make_agent: Any, make_batch: Any) -> None:
    agent, batch = make_agent(), make_batch()
    B = len(batch.weights)

    def share(weights: Tensor) -> Tensor:
        return reinforcement(agent, batch._replace(weights=weights)).loss.detach()

    each = torch.stack([share(one) for one in torch.eye(B, device=agent.device)])
    errors = reinforcement(agent, batch).td_errors

    torch.testing.assert_close(each, 0.5 * errors.square().sum(dim=0) / B)
    torch.testing.assert_close(share(batch.weights), (each * batch.weights).sum())


def test_peng_traces_replace_the_n_step_targets(make_agent: Any, make_batch: Any) -> None:
    batch = make_batch()

    n_step = reinforcement(make_agent(), batch).td_errors
    traces = reinforcement(make_agent(trace_lambda=0.7), batch).td_errors

    assert not torch.allclose(n_step, traces)


def test_peng_traces_are_made_of_the_rows_and_settings_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    L, T, B, A = 7, 5, 3, 4
    online, target = torch.randn(2, L, B, A, generator=generator)
    actions = torch.randint(A, (L, B), generator=generator)
    rewards = torch.randn(L, B, generator=generator)
    is_step = torch.ones(L, B, dtype=torch.bool)
    is_step[4:, 1] = False
    terminated = torch.zeros(L, B, dtype=torch.bool)
    terminated[3, 1] = True
    common = {"rewards": rewards, "terminated": terminated, "is_step": is_step}

    rl = r2d2_loss(
        online_q=online[:T],
        bootstrap_online_q=online,
        target_q=target,
        actions=actions,
        **common,
        weights=torch.ones(B),
        discount=0.9,
        n_steps=2,
        trace_lambda=0.7,
        rescaling_epsilon=EPSILON,
        priority_mix=MIX,
    )
    targets = q_lambda_targets(
        **common,
        online_q=online,
        target_q=target,
        discount=0.9,
        n_steps=2,
        lambda_=0.7,
        epsilon=EPSILON,
    )
    chosen = online[:T].gather(-1, actions[:T, :, None]).squeeze(-1)

    torch.testing.assert_close(rl.td_errors, (targets - chosen) * is_step[:T])
