import inspect
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from agents.agent import R2D2Agent
from envs import registry
from envs.atari import RESEED_STEPS
from relic_rl import build
from relic_rl.config import resolve
from relic_rl.errors import UsageError
from relic_rl.evaluation import evaluate
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.stop import StopRequest


def make_agent(**representation: Any) -> R2D2Agent:
    overrides = {f"representation.{name}": value for name, value in representation.items()}
    config = resolve("smoke", overrides).config
    spec = build.env_spec(config, "toy_memory")
    return build.make_agent(config, spec, seed=0, device=torch.device("cpu"))


def test_a_named_generators_seed_is_the_same_in_every_process() -> None:
    assert build.named_seed(0, "agent") == 4_484_591_761_166_567_736


def test_the_acting_encoder_is_the_one_that_the_configuration_names() -> None:
    online = make_agent(encoder="separate")
    momentum = make_agent(encoder="separate", acting_encoder="momentum")
    shared = make_agent(encoder="shared")

    assert online.given_encoder is online.join.apart is not None
    assert momentum.arm is not None
    assert momentum.given_encoder is momentum.arm.momentum_encoder
    assert shared.given_encoder is None


def test_acting_with_the_momentum_encoder_of_a_shared_one_is_a_users_error() -> None:
    with pytest.raises(UsageError, match=r"acting_encoder is momentum.*separate"):
        resolve("smoke", {"representation.acting_encoder": "momentum"})


def played(number: int, incarnation: int) -> tuple[bytes, bytes]:
    """Frames (on the toy they are the episodes' cues) and actions of an actor's first steps."""
    overrides = {"run.engine": "threads", "actor.actors": 2, "actor.lanes": 8, "run.threads": 1}
    overrides |= {"actor.epsilon_base": 1.0}  # at random
    config = resolve("smoke", overrides).config
    named = (number, incarnation, Stopwatch())
    actor = build.make_actor(config, "toy_memory", None, *named, seed=0, threads=1)
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


def test_the_agent_is_given_its_options_and_its_environments_shape() -> None:
    config = resolve("smoke", {"replay.priority_mix": 0.73}).config
    spec = build.env_spec(config, "toy_memory")
    agent = build.make_agent(config, spec, seed=0, device=torch.device("cpu"))

    assert agent.network == config.network
    assert agent.learner == config.learner
    assert agent.representation == config.representation
    assert agent._priority_mix == 0.73
    assert agent.online.actions == spec.actions


def witnessed(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> dict[str, Any]:
    """What the last call of a function or class was given, by the names of its parameters."""
    real, given = getattr(module, name), {}

    def call(*positional: Any, **named: Any) -> Any:
        given.update(inspect.signature(real).bind(*positional, **named).arguments)
        return real(*positional, **named)

    monkeypatch.setattr(module, name, call)
    return given


def test_the_emulators_are_those_that_the_configuration_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = witnessed(monkeypatch, registry, "AtariLanes")
    for protocol, action_set in (("noop", "full"), ("machado", "minimal")):
        overrides = {"env.protocol": protocol, "env.action_set": action_set, "env.threads": 1}
        config = resolve("smoke", overrides).config

        build.make_env(config, "Breakout", lanes=3, seed=5).close()
        asked = given["game"].name, given["lanes"], given["seed"], given["threads"]
        assert asked == ("Breakout", 3, 5, 1)
        assert given["protocol"] == protocol
        assert given["action_set"] == action_set
        assert given["reseed_steps"] == RESEED_STEPS

        spec, agent = build.env_spec(config, "Breakout"), SimpleNamespace(updates=7)
        trained = TrainedAgent(agent, config, spec, env_frames=0, tracker_id=None)  # type: ignore[arg-type]
        evaluate.judging_env(trained, lanes=2, seed=5, flavour=None).close()
        assert given["protocol"] == protocol
        assert given["action_set"] == action_set
        assert given["reseed_steps"] == 0


def test_every_value_of_the_configuration_arrives_at_replay_and_actor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = {
        "network.frame_stack": 3,
        "learner.segment_steps": 8,
        "learner.burn_in_steps": 8,
        "learner.unroll_steps": 16,
        "learner.n_steps": 2,
        "learner.discount": 0.91,
        "learner.rescaling_epsilon": 0.003,
        "learner.life_loss_ends_return": True,
        "replay.capacity_steps": 777,
        "replay.max_bytes": 12_345_678,
        "replay.priority_exponent": 0.51,
        "replay.priority_mix": 0.73,
        "replay.importance_exponent": 0.42,
        "actor.lanes": 6,
        "actor.actors": 2,
        "run.engine": "threads",
        "env.threads": 1,
    }
    config = resolve("smoke", overrides).config
    replay = witnessed(monkeypatch, build, "ReplayBuffer")
    parts = ("Player", "Recorder", "Actor")
    player, recorder, actor = (witnessed(monkeypatch, build, part) for part in parts)

    build.make_replay(config, seed=0)
    build.make_actor(config, "toy_memory", None, 1, 4, Stopwatch(), seed=0, threads=1)

    assert (replay["options"], replay["sequence"]) == (config.replay, config.learner)
    assert (replay["frame_stack"], player["frame_stack"]) == (3, 3)
    assert torch.equal(player["epsilons"], build.make_epsilons(config)[3:])
    assert (actor["env"].lanes, actor["first_lane"], actor["run_lanes"]) == (3, 3, 6)
    assert np.array_equal(recorder.pop("frames"), player["frames"])
    assert (recorder.pop("network"), recorder.pop("learner")) == (config.network, config.learner)
    assert recorder == {"actor": 1, "incarnation": 4}


def test_an_evaluation_explores_as_much_and_sees_as_many_frames_as_the_configuration_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = {"evaluation.epsilon": 0.23, "network.frame_stack": 3, "run.threads": 1}
    config = resolve("smoke", overrides).config
    spec = build.env_spec(config, "toy_memory")
    agent = build.make_agent(config, spec, seed=0, device=torch.device("cpu"))
    given = witnessed(monkeypatch, evaluate, "Player")

    trained = TrainedAgent(agent, config, spec, env_frames=0, tracker_id=None)
    scores = evaluate.evaluate_agent(trained, seed=0, episodes=3, stop=StopRequest())

    assert len(scores) == 3
    assert given["epsilons"].tolist() == pytest.approx([0.23] * 3)
    assert given["frame_stack"] == 3


SHARING = """
import threading
import torch
from relic_rl.config import resolve
from relic_rl.machine import devices
devices.set_threads(resolve("smoke", {"run.threads": 3}).config)
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


def test_the_ladder_of_a_run_is_that_of_its_lanes_base_and_exponent() -> None:
    overrides = {"actor.lanes": 4, "actor.epsilon_base": 0.5, "actor.epsilon_exponent": 3.0}
    epsilons = build.make_epsilons(resolve("smoke", overrides).config)

    assert epsilons.tolist() == [0.5, 0.25, 0.125, 0.0625]
