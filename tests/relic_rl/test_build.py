from typing import Any

import pytest
import torch

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl.config import resolve
from relic_rl.errors import UsageError


def make_agent(**representation: Any) -> R2D2Agent:
    overrides = {f"representation.{name}": value for name, value in representation.items()}
    config = resolve("smoke", overrides).config
    env = build.make_env(config, build.TOY_GAME, lanes=1, seed=0)
    return build.make_agent(config, env, seed=0, device=torch.device("cpu"))


def test_the_acting_encoder_is_the_one_that_the_configuration_names() -> None:
    online = make_agent(encoder="separate")
    momentum = make_agent(encoder="separate", acting_encoder="momentum")
    shared = make_agent(encoder="shared")

    assert online.given_encoder is online.separate_encoder is not None
    assert momentum.objective is not None
    assert momentum.given_encoder is momentum.objective.momentum_encoder
    assert shared.given_encoder is None


def test_acting_with_the_momentum_encoder_of_a_shared_one_is_a_users_error() -> None:
    with pytest.raises(UsageError, match=r"acting_encoder is momentum.*separate"):
        resolve("smoke", {"representation.acting_encoder": "momentum"})
