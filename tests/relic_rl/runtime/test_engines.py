"""The contract of engines: the same claims of every one in the registry, on real actors.

Starting a Ray actor takes seconds, so each engine is run once, through everything, and the tests
look at what came of it.
"""

import signal
import threading
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest
import torch

from agents.agent import R2D2Agent
from relic_rl import build
from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.replay.segment import Segment
from relic_rl.runtime.engine import Engine
from relic_rl.runtime.engines import ENGINES
from relic_rl.runtime.stopwatch import Stopwatch

pytestmark = pytest.mark.xdist_group("ray")  # one Ray for all of them

GAME = "toy_memory"
EPISODE_STEPS = 8
EPSILONS = (0.8, 0.0, 0.0, 0.0)  # of two actors, each has a greedy lane
STEPS = 3_000
VERSION = 7


@dataclass
class Trace:
    """What an engine did."""

    engine: str
    segments: list[Segment] = field(default_factory=list)
    preferring_0: int = 0
    """So many of them had come when the parameters that prefer action 1 were published."""
    lanes_of_episodes: set[int] = field(default_factory=set)
    steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    error: Exception | None = None
    left_over: list[str] = field(default_factory=list)
    keeps_signals: bool = False


def make_config(engine: str) -> Config:
    actors = ENGINES[engine].max_actors or 2
    overrides = {
        "run.engine": engine,
        "actor.actors": actors,
        "actor.refresh_steps": 1,
        "actor.epsilon_base": 0.8,
        "actor.epsilon_exponent": 200.0,  # the next has 3e-7
        "learner.segment_steps": 4,
        "learner.burn_in_steps": 4,
    }
    return configuration.resolve("smoke", overrides).config


def make_agent(config: Config) -> R2D2Agent:
    spec = build.env_spec(config, GAME)
    return build.make_agent(config, spec, seed=0, device=torch.device("cpu"))


def make_engine(config: Config, agent: R2D2Agent) -> Engine:
    return build.make_engine(config, GAME, agent, seed=0, incarnation=0, stopwatch=Stopwatch())


def prefer(agent: R2D2Agent, action: int) -> None:
    """Greedy lanes then take that action whatever they see, so exploration can be counted."""
    head = agent.online.state_dict()
    name = next(n for n in head if "advantage" in n and n.endswith("bias") and len(head[n]) == 2)
    head[name].copy_(1000.0 * torch.eye(2)[action])
    agent.updates = VERSION + action


def break_parameters(agent: R2D2Agent) -> None:
    """The agent now publishes what no policy can load."""
    agent.online.core.bias_hh_l0 = torch.nn.Parameter(torch.zeros(1))
    agent.updates = VERSION + 2


def actor_processes() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [process for process in children if process.name().startswith("ray::Remote")]


def collect(engine: Engine, trace: Trace, until_steps: int) -> None:
    while trace.steps < until_steps:
        collected = engine.collect()
        trace.steps += collected.steps
        trace.segments += collected.segments
        trace.lanes_of_episodes |= {episode.lane for episode in collected.episodes}


@pytest.fixture(scope="module", params=ENGINES)
def trace(request: pytest.FixtureRequest) -> Trace:
    if ENGINES[request.param].needs_cluster:
        request.getfixturevalue("local_ray")
    trace = Trace(request.param)
    config = make_config(request.param)
    agent = make_agent(config)
    handler, threads = signal.getsignal(signal.SIGTERM), set(threading.enumerate())
    engine = make_engine(config, agent)
    trace.keeps_signals = signal.getsignal(signal.SIGTERM) is handler
    try:
        collect(engine, trace, 500)
        prefer(agent, 0)
        engine.publish(agent)
        collect(engine, trace, trace.steps + STEPS)
        trace.preferring_0 = len(trace.segments)
        prefer(agent, 1)
        engine.publish(agent)
        after: dict[int, list[int]] = {}
        while len(after) < len(EPSILONS) or min(map(len, after.values())) < STEPS // 10:
            collect(engine, trace, trace.steps + 100)  # a busy machine may favour one actor
            after = actions_by_lane(trace, trace.segments[trace.preferring_0 :])
        trace.metrics = engine.metrics()
        break_parameters(agent)
        try:
            engine.publish(agent)
            collect(engine, trace, trace.steps + STEPS)
        except Exception as error:
            trace.error = error
    finally:
        engine.close()
    psutil.wait_procs(actor_processes(), timeout=20)
    trace.left_over = [process.name() for process in actor_processes()]
    trace.left_over += [thread.name for thread in set(threading.enumerate()) - threads]
    return trace


def by_episode(segments: list[Segment]) -> dict[tuple[int, ...], list[Segment]]:
    episodes: dict[tuple[int, ...], list[Segment]] = defaultdict(list)
    for segment in segments:
        episodes[segment.name[:4]].append(segment)
    return episodes


def actions_by_lane(trace: Trace, segments: list[Segment]) -> dict[int, list[int]]:
    """What each lane of the run did."""
    lanes_per_actor = 1 + max(segment.name.lane for segment in trace.segments)
    actions: dict[int, list[int]] = defaultdict(list)
    for segment in segments:
        lane = segment.name.actor * lanes_per_actor + segment.name.lane
        actions[lane] += segment.actions.tolist()
    return actions


def test_no_segment_is_lost_torn_or_given_twice(trace: Trace) -> None:
    names = [segment.name for segment in trace.segments]
    episodes = by_episode(trace.segments)
    lanes: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for actor, incarnation, lane, episode in episodes:
        lanes[actor, incarnation, lane].append(episode)

    assert len(set(names)) == len(names)
    assert len(lanes) == len(EPSILONS)
    for numbers in lanes.values():
        assert sorted(numbers) == list(range(len(numbers)))
        assert len(numbers) > 50
    last = {(*lane, max(numbers)) for lane, numbers in lanes.items()}
    for key, segments in episodes.items():
        assert [segment.name.index for segment in segments] == list(range(len(segments)))
        if key not in last:
            assert sum(segment.steps for segment in segments) == EPISODE_STEPS
            assert segments[-1].terminated


def test_the_steps_counted_are_the_steps_in_segments(trace: Trace) -> None:
    delivered = sum(segment.steps for segment in trace.segments)
    # What a lane has not delivered yet: a run that waits for n more steps, and the one at hand.
    assert 0 <= trace.steps - delivered < len(EPSILONS) * 2 * 4


def test_every_lane_explores_at_its_own_place_of_the_ladder(trace: Trace) -> None:
    settled = trace.segments[trace.preferring_0 // 3 : trace.preferring_0]
    actions = actions_by_lane(trace, settled)
    seen = [float(np.mean(actions[lane])) for lane in range(len(EPSILONS))]

    # A random action is action 1 half of the time; the greedy one never is.
    assert seen == pytest.approx([epsilon / 2 for epsilon in EPSILONS], abs=0.07)
    assert seen[1] == seen[2] == 0.0


def test_episodes_are_reported_under_the_lanes_of_the_whole_run(trace: Trace) -> None:
    assert trace.lanes_of_episodes == set(range(len(EPSILONS)))


def test_published_parameters_reach_every_actor(trace: Trace) -> None:
    before = actions_by_lane(trace, trace.segments[: trace.preferring_0])
    after = actions_by_lane(trace, trace.segments[trace.preferring_0 :])

    for lane in (1, 2):  # greedy ones; of different actors where there are two
        assert set(before[lane][-100:]) == {0}
        assert set(after[lane][-100:]) == {1}
        assert len(after[lane]) > 150


def test_an_error_where_an_actor_acts_surfaces_as_itself(trace: Trace) -> None:
    assert isinstance(trace.error, RuntimeError)
    assert "size mismatch" in str(trace.error)


def test_a_closed_engine_leaves_no_thread_and_no_process(trace: Trace) -> None:
    assert trace.left_over == []


def test_metrics_tell_what_the_loop_itself_cannot_time_or_count(trace: Trace) -> None:
    acting = {f"{name}_seconds" for name in ("environment", "inference", "recording")}
    of_cluster = {"actors_alive": 2, "actor_restarts": 0}
    expected: set[str] = {
        "threads": acting,
        "ray": acting | of_cluster.keys() | {"segment_bytes_per_step"},
    }.get(trace.engine, set())  # others act in the loop

    assert expected <= trace.metrics.keys()
    assert bool(expected) == bool(trace.metrics)
    assert all(isinstance(value, int | float) for value in trace.metrics.values())
    assert all(trace.metrics[name] > 0 for name in acting & expected)
    if trace.engine == "ray":
        assert of_cluster.items() <= trace.metrics.items()
        assert 0 < trace.metrics["segment_bytes_per_step"] < 1000


def test_an_engine_leaves_our_answer_to_signals_alone(trace: Trace) -> None:
    assert trace.keeps_signals
