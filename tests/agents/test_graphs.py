"""One CUDA graph computes what its kernels do; `RELIC_RL_TEST_CUDA=simulated`: without a GPU."""

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from agents.graphs import EAGER_CALLS, Graphed
from agents.interface import TrainingBatch

pytestmark = pytest.mark.cuda
UPDATES = EAGER_CALLS + 5


class Number(NamedTuple):
    value: Tensor
    nothing: None = None


@pytest.fixture
def device() -> str:
    return "cuda"


def learned(agent: Any, batches: list[TrainingBatch]) -> list[Tensor]:
    """What each update found, and then every parameter."""
    found = []
    for batch in batches:
        report = agent.update(batch)
        found.append(torch.stack([*report.metrics.values()]))
        found += [report.priorities.clone(), report.finite.float()]
    modules = agent.model_state().values()
    return [tensor.clone() for tensor in (*found, *(p for m in modules for p in m.values()))]


@pytest.mark.parametrize(
    "options",
    [
        {"arm": "none", "trace_lambda": 0.7, "target_period_updates": 3},
        {"arm": "disturbed_relic", "average_decay": 0.99, "centred_input": True},
        {"arm": "relic", "encoder": "separate", "target_decay": 0.9, "use_burn_in": True},
        {"arm": "byol", "bfloat16": True},
        {"arm": "augmentation", "encoder": "separate", "diagnostics_every_updates": 3},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_updates_by_a_graph_are_the_eager_ones(
    make_agent: Any, make_batch: Any, options: dict[str, Any]
) -> None:
    # A graph's contrast set has one size; eager ones leave out what a short sequence lacks.
    batches = [make_batch(seed=seed)._replace(is_step_on_host=None) for seed in range(UPDATES)]
    eager, graphed = make_agent(**options), make_agent(**options, cuda_graph=True)
    for agent in (eager, graphed):
        if agent.needs_frames:
            agent.centre_input(batches[0].frames.flatten(0, 1))

    expected, found = learned(eager, batches), learned(graphed, batches)

    assert graphed._graph.is_graph
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_graph_skips_an_update_that_is_not_finite(make_agent: Any, make_batch: Any) -> None:
    agent = make_agent(arm="relic", cuda_graph=True)
    learned(agent, [make_batch()] * UPDATES)
    before = copy.deepcopy(agent.model_state()["online"])
    bad = make_batch()
    bad.rewards[5] = torch.nan

    assert not bool(agent.update(bad).finite)
    torch.testing.assert_close(agent.model_state()["online"], before, rtol=0, atol=0)
    assert bool(agent.update(make_batch()).finite)
    assert not torch.equal(
        agent.model_state()["online"]["encoders.0.projection.weight"],
        before["encoders.0.projection.weight"],
    )


def test_what_is_restored_is_learned_from_by_a_graph_of_its_own(
    make_agent: Any, make_batch: Any
) -> None:
    batches = [make_batch(seed=seed) for seed in range(UPDATES)]
    first = make_agent(arm="relic", cuda_graph=True)
    learned(first, batches)
    saved = copy.deepcopy((first.model_state(), first.optimizer_state()))
    draws, updates = first.generator.get_state(), first.updates
    expected = learned(first, batches)

    first.load_state(*saved, draws, updates)

    for one, other in zip(expected, learned(first, batches), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_a_graph_computes_with_what_it_is_given_and_draws_on() -> None:
    def noisy(given: Number) -> Tensor:
        return given.value + torch.rand(3, generator=generator, device="cuda")

    generator = torch.Generator("cuda").manual_seed(1)
    graphed = Graphed(noisy, generator, "noise")
    found = [graphed(Number(torch.full((3,), float(i), device="cuda"))).cpu() for i in range(9)]

    again = torch.Generator("cuda").manual_seed(1)
    expected = [i + torch.rand(3, generator=again, device="cuda").cpu() for i in range(9)]
    assert graphed.is_graph
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))
    assert torch.equal(generator.get_state(), again.get_state())


def test_what_cannot_be_a_graph_is_computed_without_one_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def waiting(given: Number) -> Tensor:
        noise = torch.rand(3, generator=generator, device="cuda")
        return noise * given.value.sum().item()

    generator, here = torch.Generator("cuda").manual_seed(1), torch.cuda.current_stream()
    graphed = Graphed(waiting, generator, "an update")
    found = [graphed(Number(torch.ones(3, device="cuda"))).cpu() for _ in range(9)]

    again = torch.Generator("cuda").manual_seed(1)
    expected = [3 * torch.rand(3, generator=again, device="cuda").cpu() for _ in range(9)]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))
    assert not graphed.is_graph
    (line,) = caplog.messages
    assert line.startswith("an update is no CUDA graph, its kernels go one by one: ")
    assert "not permitted when stream is capturing" in line
    assert torch.cuda.current_stream() == here
