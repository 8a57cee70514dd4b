"""The simulated device is one: what a GPU would refuse, wait for or copy slowly, it shows."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.cuda
CUDA = torch.device("cuda", 0)


def test_tensors_are_on_the_device_and_equal_the_cpus() -> None:
    layer = torch.nn.LSTM(3, 4)
    moved, x = copy.deepcopy(layer).cuda(), torch.randn(5, 2, 3)

    for one in (layer, moved):
        one(x.to(next(one.parameters()).device))[0].square().sum().backward()

    for expected, found in zip(layer.parameters(), moved.parameters(), strict=True):
        assert found.device == CUDA
        assert found.grad is not None
        torch.testing.assert_close(found.grad.cpu(), expected.grad)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: x + torch.zeros(3),
        lambda x: torch.cat([x, torch.zeros(3)]),
        lambda x: torch.where(torch.ones(3, dtype=torch.bool), x, 0.0),
        lambda x: torch.rand(3, generator=torch.Generator(), device="cuda"),
        lambda x: torch.rand(3, generator=torch.Generator("cuda")),
        lambda x: x.numpy(),
        lambda x: torch.Generator("cuda").set_state(torch.Generator().get_state()),
    ],
)
def test_what_mixes_devices_raises(mistake: Callable[..., object]) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"cuda|RNG state"):
        mistake(torch.ones(3, device=CUDA))


def test_a_planted_mistake_of_the_device_is_caught(make_setting: Any) -> None:
    actor = make_setting("workstation").actor
    actor._player._epsilons = actor._player._epsilons.cpu()

    with pytest.raises(RuntimeError, match=r"cuda"):
        actor.step()


@pytest.mark.parametrize(
    ("wait", "what"),
    [
        (lambda x: x.sum().item(), "item"),
        (lambda x: bool((x > 0).all()), "item"),
        (lambda x: x.cpu(), "to the host, pageable"),
        (lambda x: x[x > 0], "aten::index"),
        (lambda x: x.nonzero(), "aten::nonzero"),
        (lambda x: x[torch.tensor([1])], "to the device, pageable: an index"),
        (lambda x: x.add_(torch.ones(3).to("cuda")), "to the device, pageable"),
        (lambda x: x.add_(torch.ones(3).to("cuda", non_blocking=True)), "to the device, pageable"),
        (lambda x: x.add_(torch.ones(3).pin_memory().to("cuda")), "to the device, pinned"),
        (lambda x: torch.cuda.synchronize(), "device"),
        (lambda x: torch.cuda.current_stream().synchronize(), "stream"),
    ],
)
def test_a_wait_is_counted_and_its_place_named(
    recorded: Any, wait: Callable[..., object], what: str
) -> None:
    x = torch.ones(3, device=CUDA)

    with recorded() as found:
        wait(x)

    here = f"{what} at tests/simulated_cuda/test_simulated_cuda.py:"
    assert [place for place in found.waits if place.startswith(here)], found.waits


def test_what_does_not_wait_is_counted_as_a_transfer_or_a_launch_only(recorded: Any) -> None:
    host = torch.ones(3).pin_memory()

    with recorded() as found:
        x = host.to("cuda", non_blocking=True)
        y = (2.0 * x).to("cpu", non_blocking=True)
        torch.nonzero_static(x > 0, size=3)

    assert y.is_pinned()
    assert found.waits == {}
    assert sorted(place.split(" at ")[0] for place in found.transfers) == [
        "to the device, pinned",
        "to the host, pinned",
    ]
    assert found.moved_bytes == 24
    assert found.launches == {"aten::mul": 1, "aten::gt": 1, "aten::nonzero_static": 1}


@pytest.mark.usefixtures("recorded")
def test_a_graph_computes_nothing_when_it_is_made_and_then_what_it_was_made_of() -> None:
    x, host = torch.zeros(3, device=CUDA), [1.0]
    graph = torch.cuda.CUDAGraph()

    with torch.cuda.graph(graph):
        x.add_(host[0])
        y = 2 * x

    assert x.tolist() == [0.0] * 3
    host[0] = 100.0
    for _ in range(2):
        graph.replay()
    assert x.tolist() == [2.0] * 3
    assert y.tolist() == [4.0] * 3


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: x[x > 0]])
def test_a_graph_must_not_wait(wait: Callable[..., object]) -> None:
    x, here = torch.ones(3, device=CUDA), torch.cuda.current_stream()

    with (
        torch.cuda.stream(here),  # a graph that fails does not go back to it
        pytest.raises(RuntimeError, match="previous error during capture") as raised,
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        wait(x)

    assert "not permitted when stream is capturing" in str(raised.value.__context__)


def test_a_graph_is_of_its_own_threads_kernels() -> None:
    x, y = torch.zeros(2, 3, device=CUDA).unbind()
    graph = torch.cuda.CUDAGraph()

    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        x.add_(1.0)
        other = threading.Thread(target=lambda: y.add_(1.0).sum().item())
        other.start()
        other.join()
    graph.replay()

    assert x.tolist() == y.tolist() == [1.0] * 3
