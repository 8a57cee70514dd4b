import subprocess
import sys
from typing import Any

import pytest
import torch

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl import config as configuration
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


def played(number: int, incarnation: int) -> tuple[bytes, bytes]:
    """Frames (on the toy they are the episodes' cues) and actions of an actor's first steps."""
    overrides = {"run.engine": "threads", "actor.actors": 2, "actor.lanes": 8, "run.threads": 1}
    values = configuration.values(resolve("smoke", overrides).config)
    actor = build.make_lone_actor(values, build.TOY_GAME, [1.0] * 8, 0, number, incarnation)
    segments = [segment for _ in range(60) for segment in actor.step().segments]
    actor.close()
    segments.sort(key=lambda segment: segment.name)
    return (
        b"".join(segment.decode_frames().tobytes() for segment in segments),
        b"".join(segment.actions.tobytes() for segment in segments),
    )


def test_no_two_actors_and_no_two_incarnations_play_the_same_episodes_or_explore_alike() -> None:
    found = [played(number, incarnation) for number in (0, 1) for incarnation in (0, 1)]

    assert len({frames for frames, _ in found}) == 4
    assert len({actions for _, actions in found}) == 4
    assert played(1, 1) == found[-1]


SHARING = """
import threading
import torch
from relic_rl import build
from relic_rl.config import resolve
build.set_threads(resolve("smoke", {"run.threads": 3}).config)
other = threading.Thread(target=torch.set_num_threads, args=(1,))
other.start()
other.join()
print(torch.get_num_threads())
"""


def test_the_learners_threads_are_its_own_whatever_other_threads_take() -> None:
    # In a process of its own: a thread that has computed before keeps its number anyway.
    command = [sys.executable, "-c", SHARING]
    result = subprocess.run(command, capture_output=True, text=True, check=True)

    assert result.stdout == "3\n"
