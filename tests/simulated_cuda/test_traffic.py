"""What an update and an acting step ask of a GPU: each wait costs them the other's time.

A count that is exceeded names the line. Launches are of the simulated device, where a foreach
kernel is one for each tensor: a real GPU has some fewer.
"""

from collections.abc import Callable
from typing import Any

import pytest

from agents.graphs import EAGER_CALLS
from relic_rl.runtime.batches import training_batch

pytestmark = pytest.mark.cuda
STEPS = 20


@pytest.mark.parametrize("preset", ["workstation", "paper"])
def test_an_acting_step_waits_and_copies_no_more_than_this(
    make_setting: Any, recorded: Any, preset: str
) -> None:
    actor = make_setting(preset).actor

    with recorded() as found:
        for _ in range(STEPS):
            actor.step()

    assert found.waits.total() <= 1 * STEPS, found.waits
    assert found.transfers.total() <= 2 * STEPS, found.transfers
    assert sum(found.launches.values()) <= 50 * STEPS


@pytest.mark.parametrize(
    ("preset", "overrides", "launches"),
    [
        ("workstation", {}, 660),
        ("workstation", {"learner__bfloat16": "true"}, 765),
        ("workstation", {"representation__arm": "none"}, 415),
        ("paper", {}, 605),
    ],
)
def test_an_update_waits_copies_and_launches_no_more_than_this(
    make_setting: Any, recorded: Any, preset: str, overrides: dict[str, str], launches: int
) -> None:
    setting = make_setting(preset, **overrides)
    device = setting.agent.device
    with recorded() as sampling:
        batch = training_batch(setting.replay.sample(4), device)
    setting.agent.update(batch)

    with recorded() as found:
        setting.agent.update(batch)

    assert sampling.transfers.total() <= 1
    assert sampling.waits == {}
    assert found.waits == {}
    assert found.transfers == {}
    assert sum(found.launches.values()) <= launches


def test_graphs_are_a_launch_and_copies_of_what_they_are_given(
    make_setting: Any, recorded: Any
) -> None:
    setting = make_setting("workstation", learner__cuda_graph="true", actor__cuda_graph="true")
    batch = training_batch(setting.replay.sample(4), setting.agent.device)
    for _ in range(EAGER_CALLS + 1):
        setting.agent.update(batch)

    with recorded() as acting:
        for _ in range(STEPS):
            setting.actor.step()
    with recorded() as updating:
        for _ in range(STEPS):
            setting.agent.update(batch)

    assert acting.waits.total() <= 1 * STEPS, acting.waits
    assert acting.transfers.total() <= 2 * STEPS, acting.transfers
    assert acting.launches == {"graph": STEPS, "aten::copy_": 5 * STEPS}
    assert updating.waits == updating.transfers == {}
    assert updating.launches.pop("graph") == STEPS
    assert updating.launches.pop("aten::copy_") == 13 * STEPS
    assert sum(updating.launches.values()) <= 28 * STEPS, "the average: one foreach kernel"


@pytest.mark.parametrize(
    "planted",
    [lambda stacks: stacks.sum().item(), lambda stacks: stacks.cpu()],
    ids=["item", "pageable copy"],
)
def test_a_wait_planted_into_an_update_is_caught(
    make_setting: Any,
    recorded: Any,
    planted: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = make_setting("workstation")
    batch = training_batch(setting.replay.sample(4), setting.agent.device)
    with recorded() as clean:
        setting.agent.update(batch)
    seen = setting.agent.arm.q_stacks

    def q_stacks(stacks: Any, generator: Any) -> Any:
        planted(stacks)
        return seen(stacks, generator)

    monkeypatch.setattr(setting.agent.arm, "q_stacks", q_stacks)

    with recorded() as found:
        setting.agent.update(batch)

    assert clean.waits == {}
    assert found.waits.total() == 1
