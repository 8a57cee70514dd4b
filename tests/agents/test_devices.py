"""A GPU computes what a CPU computes. `RELIC_RL_TEST_CUDA=simulated` runs them without a GPU."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.interface import PolicyInput, TrainingBatch
from agents.networks import stacks_from_frames
from agents.representation.arm import arm_class
from agents.representation.arms import ARMS

pytestmark = pytest.mark.cuda
BOTH = ["cpu", "cuda"]
JOINED = [(arm, encoder) for arm in ARMS for encoder in arm_class(arm).joins]


@pytest.fixture
def device() -> str:
    """Of the batches: each test moves them to where it wants them."""
    return "cpu"


def on(device: str, batch: TrainingBatch) -> TrainingBatch:
    there = (
        type(p)(*[t.to(device) for t in p]) if isinstance(p, tuple) else p.to(device) for p in batch
    )
    return TrainingBatch(*there)._replace(is_step_on_host=batch.is_step_on_host)


def learned_from(agent: Any, batch: Any) -> dict[str, Tensor]:
    """Losses, priorities and gradients; all draws are the CPU's, and so equal everywhere."""
    agent.generator = torch.Generator().manual_seed(1)
    stacks = stacks_from_frames(batch.frames, agent.network.frame_stack)
    rl, rep = agent.losses(batch, agent.arm.q_stacks(stacks, agent.generator))
    found, loss = {"rl": rl.loss, "priorities": rl.priorities}, rl.loss
    if rep is not None:
        found["representation"], loss = rep.loss, loss + rep.loss
    loss.backward()
    apart = {} if agent.join.apart is None else dict(agent.join.apart.named_parameters())
    gradients = {
        f"{part}.{name}": parameter.grad
        for part, named in (("online", dict(agent.online.named_parameters())), ("apart", apart))
        for name, parameter in named.items()
        if parameter.grad is not None
    }
    return {name: value.detach().cpu() for name, value in (found | gradients).items()}


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("arm", "encoder"), JOINED)
def test_losses_priorities_and_gradients_are_the_cpus(
    make_agent: Any, make_batch: Any, arm: str, encoder: str, bfloat16: bool
) -> None:
    batch = make_batch()
    exact = learned_from(make_agent(arm=arm, encoder=encoder, device="cpu"), batch)
    agent = make_agent(arm=arm, encoder=encoder, device="cuda", bfloat16=bfloat16)

    found = learned_from(agent, on("cuda", batch))

    assert found.keys() == exact.keys()
    for name, expected in exact.items():
        difference = float((found[name] - expected).norm() / expected.norm().clamp(min=1e-6))
        # bfloat16 has 8 bits; the gradients of its convolutions are sums that all but cancel.
        is_value = name in ("rl", "priorities", "representation")
        limit = (0.1 if is_value else 0.6) if bfloat16 else (1e-4 if is_value else 2e-3)
        assert difference < limit, f"{name} differs by {difference:.1e}"


@pytest.mark.parametrize(
    "options",
    [
        {"arm": "none", "recurrent": False},
        {"arm": "none", "trace_lambda": 0.7},
        {"arm": "relic", "average_decay": 0.99, "centred_input": True, "layer_norm": True},
        {"arm": "relic", "target_decay": 0.9, "use_burn_in": True},
        {"arm": "relic", "skip_core": True, "previous_reward": "tanh"},
        {"arm": "relic", "encoder": "separate", "acting_encoder": "momentum"},
        *({"arm": arm, "encoder": encoder} for arm, encoder in JOINED),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_an_agent_acts_and_learns_and_moves_between_a_cpu_and_a_gpu(
    make_agent: Any, make_batch: Any, options: dict[str, Any]
) -> None:
    options = {**options, "diagnostics_every_updates": 1}
    here = {device: make_agent(**options, device=device) for device in BOTH}
    if options.get("centred_input"):
        for agent in here.values():
            agent.centre_input(make_batch().frames.flatten(0, 1))
    agent = here["cuda"]
    for seed in range(3):
        report = agent.update(on("cuda", make_batch(seed=seed)))
        assert bool(report.finite)
        assert all(value.is_cuda for value in report.metrics.values())

    file = io.BytesIO()
    torch.save((agent.model_state(), agent.optimizer_state()), file)
    for device, other in here.items():
        file.seek(0)
        model, optimizer = torch.load(file, map_location="cpu", weights_only=True)
        other = make_agent(**options, device=device)
        other.load_state(model, optimizer, other.generator.get_state(), agent.updates)
        stepped = acted(other, make_batch())
        torch.testing.assert_close(stepped, acted(agent, make_batch()), rtol=1e-3, atol=1e-4)
        last = other.update(on(device, make_batch()))
        assert bool(last.finite)
        assert {state.device.type for state in adams(other)} == {device}
        assert other.updates == 4


def acted(agent: Any, batch: Any) -> Tensor:
    """Q-values of one step."""
    B = batch.actions.shape[1]
    seen = PolicyInput(
        stacks_from_frames(batch.frames, 4)[:B],
        batch.previous_actions[0],
        batch.previous_rewards[0],
        batch.state,
    )
    q, _ = agent.policy().q_values(seen.to(agent.device))
    assert q.device.type == agent.device.type
    result: Tensor = q.cpu().clone()
    return result


def adams(agent: Any) -> Iterator[Tensor]:
    for optimizer in agent.optimizers.values():
        for state in optimizer.state.values():
            yield from state.values()


def test_a_gpus_gradient_of_the_pixels_is_the_cpus(make_agent: Any, make_batch: Any) -> None:
    batch, agents = make_batch(), [make_agent(device=device) for device in BOTH]
    seen = PolicyInput(
        stacks_from_frames(batch.frames, 4)[: batch.actions.shape[1]],
        batch.previous_actions[0],
        batch.previous_rewards[0],
        batch.state,
    )

    expected, found = (agent.policy().pixel_gradient(seen) for agent in agents)

    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-6)
