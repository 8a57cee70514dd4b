from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.interface import EnvShape, PolicyInput, RecurrentState
from agents.networks import RecurrentQNetwork
from agents.options import NetworkOptions
from agents.policy import Policy
from envs.atari import AtariLanes
from envs.interface import EpisodeRecord, Frames, StepResult, VectorEnv
from envs.toy import MemoryLanes
from relic_rl import build
from relic_rl.config import resolve
from relic_rl.evaluation import evaluate
from relic_rl.evaluation.evaluate import (
    MAX_LANES,
    evaluate_agent,
    evaluation_lanes,
    play_episodes,
)
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.runtime.player import Player
from relic_rl.runtime.watchdog import STALL_SECONDS, Watchdog
from relic_rl.stop import StopRequest

STACK = 4


class Witness:
    """A policy and an environment in one that write down what passes between the two."""

    def __init__(self, env: VectorEnv, *, weights: int = 3) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(weights)
            network = RecurrentQNetwork(
                EnvShape(env.spec.actions, env.spec.frame_height, env.spec.frame_width),
                NetworkOptions(frame_stack=STACK, channels=(2, 2, 2), features=4, lstm=5, hidden=4),
            )
        self.env = env
        self.policy = Policy(nn.ModuleDict({"online": network}))
        self.rewards: list[NDArray[np.float32]] = []
        self.ended: list[NDArray[np.bool_]] = []
        self.episodes: list[EpisodeRecord] = []
        self.actions: list[NDArray[np.int64]] = []
        self.q: list[NDArray[np.float32]] = []
        self.shown: list[PolicyInput] = []
        self.after: list[RecurrentState] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env if hasattr(self.env, name) else self.policy, name)

    def step(self, actions: NDArray[np.int64]) -> StepResult:
        result = self.env.step(actions)
        self.actions.append(actions.copy())
        self.rewards.append(result.rewards)
        self.ended.append(result.terminated | result.truncated)
        self.episodes += result.episodes
        return result

    def q_values(self, seen: PolicyInput) -> tuple[Tensor, RecurrentState]:
        *tensors, state = seen
        self.shown.append(PolicyInput(*(tensor.clone() for tensor in tensors), state))
        q, after = self.policy.q_values(seen)
        self.q.append(q.numpy().copy())
        self.after.append(after)
        return q, after

    def play(self, episodes: int, *, epsilon: float = 0.2, seed: int = 0) -> list[float]:
        start = partial(self.at_play, epsilon=epsilon, seed=seed)
        return play_episodes(self, start, episodes=episodes, stop=StopRequest())  # type: ignore[arg-type]

    def at_play(self, frames: Frames, *, epsilon: float, seed: int) -> Player:
        return Player(
            self,  # type: ignore[arg-type]
            frames,
            frame_stack=STACK,
            epsilons=torch.full((len(frames),), epsilon),
            device=torch.device("cpu"),
            seed=seed,
        )

    def summed(self) -> list[list[float]]:
        """Scores of the finished episodes, by lane: sums of raw rewards, by hand."""
        scores: list[list[float]] = [[] for _ in range(self.env.lanes)]
        for lane in range(self.env.lanes):
            total = 0.0
            for rewards, ended in zip(self.rewards, self.ended, strict=True):
                total += float(rewards[lane])
                if ended[lane]:
                    scores[lane].append(total)
                    total = 0.0
        return scores


class UnevenLanes(MemoryLanes):
    """The toy task whose lane 0 needs half as long: the first to finish are all lane 0's."""

    def __init__(self, lanes: int, seed: int) -> None:
        super().__init__(lanes, seed, blank_frames=6)

    def step(self, actions: NDArray[np.integer[Any]]) -> StepResult:
        self._steps[0] += self._steps[0] in (1, 3, 5)
        return super().step(actions)


@pytest.mark.parametrize(
    ("episodes", "lanes"), [(1, 1), (10, 10), (16, 16), (17, 1), (30, 15), (32, 16), (34, 2)]
)
def test_lanes_divide_the_episodes(episodes: int, lanes: int) -> None:
    assert evaluation_lanes(episodes) == lanes <= MAX_LANES


def test_an_evaluation_tells_how_far_it_is_before_every_step() -> None:
    told: list[tuple[int, int, int]] = []
    witness = Witness(MemoryLanes(3, 1))
    start = partial(witness.at_play, epsilon=0.2, seed=0)
    play_episodes(
        witness,  # type: ignore[arg-type]
        start,
        episodes=6,
        stop=StopRequest(),
        tell=lambda *numbers: told.append(numbers),
    )

    finished = np.cumsum([0, *np.sum(witness.ended, axis=1)])
    assert told == [(finished[step], 6, 3 * step) for step in range(len(witness.ended))]


def test_an_evaluation_plays_no_steps_after_a_lanes_last_episode() -> None:
    told: list[tuple[int, int, int]] = []
    env = UnevenLanes(2, 1)  # its lane 0 needs 5 steps where the other one needs 8
    start = partial(Witness(env).at_play, epsilon=0.2, seed=0)
    stop = StopRequest()
    play_episodes(env, start, episodes=2, stop=stop, tell=lambda *numbers: told.append(numbers))

    assert told[-1] == (1, 2, 2 * 5 + 2)


def test_each_lane_plays_the_same_number_of_episodes_however_fast_it_is() -> None:
    witness = Witness(UnevenLanes(3, 1))
    scores = witness.play(12)

    finished = Counter(record.lane for record in witness.episodes)
    assert finished == {0: 4, 1: 4, 2: 4}
    assert np.array(witness.ended)[:, 0].nonzero()[0].max() < len(witness.ended) - 1
    assert len(scores) == 12
    assert scores == [score for lane in witness.summed() for score in lane[:4]]


def test_scores_are_sums_of_raw_rewards_over_whole_episodes_of_a_real_game() -> None:
    witness = Witness(AtariLanes("UpNDown", 2, 0, "noop", action_set="minimal"))
    scores = witness.play(2, epsilon=1.0)
    largest = max(float(rewards.max()) for rewards in witness.rewards)

    assert scores == [lane[0] for lane in witness.summed()]
    assert len(witness.rewards) > 200
    assert min(scores) > largest > 1.0  # several rewards, unclipped


def test_every_episode_begins_with_an_empty_memory() -> None:
    witness = Witness(MemoryLanes(2, 0, blank_frames=3))
    witness.play(6)

    starts = [0, *(step + 1 for step, ended in enumerate(witness.ended[:-1]) if ended.all())]
    assert len(starts) == 3
    for step, (stacks, actions, rewards, state) in enumerate(witness.shown):
        if step in starts:
            assert not stacks[:, :-1].any()
            assert stacks[:, -1].any()  # the cue
            assert (actions.tolist(), rewards.tolist()) == ([-1, -1], [0.0, 0.0])
            assert not state.hidden.any()
            assert not state.cell.any()
        else:
            assert actions.tolist() == witness.actions[step - 1].tolist()
            assert state.hidden.any()


@pytest.mark.parametrize("max_episode_steps", [None, 4])
def test_a_lane_starts_afresh_when_its_own_episode_ends_and_never_else(
    max_episode_steps: int | None,
) -> None:
    env = MemoryLanes(2, 0, blank_frames=20, max_episode_steps=max_episode_steps)
    witness = Witness(env if max_episode_steps else UnevenLanes(3, 1))
    witness.play(6)

    fresh = 0
    for step, (stacks, actions, rewards, state) in enumerate(witness.shown[1:]):
        for lane, ended in enumerate(witness.ended[step]):
            if ended:
                fresh += 1
                assert not stacks[lane, :-1].any()
                assert (actions[lane], rewards[lane]) == (-1, 0.0)
                assert not state.hidden[lane].any()
            else:
                assert actions[lane] == witness.actions[step][lane]
                assert torch.equal(state.hidden[lane], witness.after[step].hidden[lane])
                assert torch.equal(state.cell[lane], witness.after[step].cell[lane])
    assert fresh >= 3


def test_epsilon_zero_is_greedy_and_one_is_uniform() -> None:
    greedy, uniform = (Witness(MemoryLanes(4, 0)) for _ in range(2))
    greedy.play(40, epsilon=0.0)
    uniform.play(40, epsilon=1.0)

    assert all(
        np.array_equal(a, q.argmax(-1)) for a, q in zip(greedy.actions, greedy.q, strict=True)
    )
    assert np.mean(uniform.actions) == pytest.approx(0.5, abs=0.1)


def test_the_same_seed_plays_the_same_and_another_does_not() -> None:
    one, same, other = (Witness(MemoryLanes(4, 0)) for _ in range(3))

    assert one.play(16, seed=1) == same.play(16, seed=1)
    other.play(16, seed=2)
    assert np.array_equal(one.actions, same.actions)
    assert not np.array_equal(one.actions, other.actions)


def test_emulators_may_take_two_minutes_for_a_step_and_ten_in_an_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = []

    class Noted(Watchdog):
        def __init__(self, seconds: float) -> None:
            given.append(seconds)
            super().__init__(seconds)

    monkeypatch.setattr(evaluate, "Watchdog", Noted)
    Witness(MemoryLanes(2, seed=0)).play(2)

    assert (STALL_SECONDS, given) == (120, [600])


def test_a_stop_ends_it_without_scores() -> None:
    witness, stop = Witness(MemoryLanes(2, 0)), StopRequest()
    stop.requested = True
    start = partial(witness.at_play, epsilon=0.0, seed=0)
    scores = play_episodes(witness, start, episodes=2, stop=stop)  # type: ignore[arg-type]

    assert (scores, witness.actions) == ([], [])


def scores_of(*, averaged: int, newest: int) -> list[float]:
    """Scores on the toy of an agent whose averaged and newest parameters insist on one action."""
    overrides = {"learner.average_decay": 0.9, "evaluation.epsilon": 0.0, "run.threads": 1}
    config = resolve("smoke", overrides).config
    spec = build.env_spec(config, "toy_memory")
    agent = build.make_agent(config, spec, seed=0, device=torch.device("cpu"))
    assert agent.average is not None
    for network, action in ((agent.average["online"], averaged), (agent.online, newest)):
        with torch.no_grad():
            network.head.advantage[-1].bias[action] += 100.0
    trained = TrainedAgent(agent, config, spec, env_frames=0, tracker_id=None)
    return evaluate_agent(trained, seed=0, episodes=12, stop=StopRequest())


def test_the_averaged_parameters_are_what_is_judged() -> None:
    first, second = scores_of(averaged=0, newest=0), scores_of(averaged=1, newest=1)

    assert first == [-score for score in second]  # the cue's action or the other
    assert scores_of(averaged=0, newest=1) == first
    assert scores_of(averaged=1, newest=0) == second
