"""The `paper` preset against a copy of the papers' tables, and docs/fidelity.md against both."""

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.agent import R2D2Agent
from agents.augmentation import random_shift_and_intensity
from agents.networks import PIXEL_SCALE
from agents.representation.byol import ByolHeads
from relic_rl import build
from relic_rl.config import field_docs, resolve, values

TABLES = tomllib.loads(Path(__file__).with_name("papers_tables.toml").read_text())
ENTRIES = [(table, name) for table, entries in TABLES.items() for name in entries]
DOCUMENT = Path(__file__).parents[2] / "docs" / "fidelity.md"
PAPER = resolve("paper", {}).config
UNPUBLISHED_SECTIONS = ("run", "evaluation")


@pytest.fixture(scope="module")
def agent() -> R2D2Agent:
    spec = build.env_spec(PAPER, "toy_memory")
    return build.make_agent(PAPER, spec, seed=0, device=torch.device("cpu"))


def derived(check: str, agent: R2D2Agent) -> Any:
    """What the code makes of values that no single field holds."""
    learner, actor, replay = PAPER.learner, PAPER.actor, PAPER.replay
    match check:
        case "publish_interval":  # steps of each lane between fresh parameters
            trained_steps = actor.publish_every_updates * learner.steps_per_update
            return trained_steps / replay.replay_ratio / actor.lanes
        case "sequences":  # one starts at every segment
            return replay.capacity_steps / learner.segment_steps
        case "main_optimizer" | "representation_optimizer":
            optimizer = agent.optimizers[check.removesuffix("_optimizer")]
            return type(optimizer).__name__
        case "representation_beta_1" | "representation_beta_2":
            return agent.optimizers["representation"].defaults["betas"][int(check[-1]) - 1]
        case "inputs_are_divided_by_255":
            return PIXEL_SCALE == 1 / 255
        case "pad_pixels" | "intensity_scale":
            return inspect.signature(random_shift_and_intensity).parameters[check].default
        case "byol_units":
            heads = ByolHeads(PAPER.network.features)
            return [heads.predictor[0].out_features, heads.predictor[-1].out_features]
    raise AssertionError(f"papers_tables.toml asks for an unknown check: {check}")


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_the_paper_preset_holds_every_published_value(
    table: str, name: str, agent: R2D2Agent
) -> None:
    entry = TABLES[table][name]

    if "field" in entry:
        found = values(PAPER)[entry["field"]]
        found = list(found) if isinstance(found, tuple) else found
    else:
        found = derived(entry["derived"], agent)

    assert found == pytest.approx(entry["value"])
    assert isinstance(found, bool) == isinstance(entry["value"], bool)


def test_the_optimizers_are_built_with_the_published_settings(agent: R2D2Agent) -> None:
    main, representation = (agent.optimizers[name].defaults for name in ("main", "representation"))

    assert (main["lr"], main["eps"]) == (1e-4, 1e-3)
    assert (representation["lr"], representation["eps"]) == (5e-4, 0.01)


def test_every_field_says_what_it_means_and_where_its_value_is_from() -> None:
    docs = field_docs()

    assert docs.keys() == values(PAPER).keys()
    for name, (meaning, source) in docs.items():
        assert meaning, name
        assert re.match(r"ours|R2D2|ReLIC|Ape-X|SEED RL|DQN|separate: ReLIC", source), name


def test_fidelity_md_has_a_row_with_the_value_of_every_field() -> None:
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| ([^|]+?) \|", DOCUMENT.read_text(), re.MULTILINE))
    expected = {
        name: ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in values(PAPER).items()
        if name.partition(".")[0] not in UNPUBLISHED_SECTIONS
    }

    assert {name: row for name, row in rows.items() if name in expected} == expected
