"""The actor against its own witnesses: an environment and a policy that write down all they do."""

import copy
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.interface import EnvShape, PolicyInput, RecurrentState
from agents.networks import RecurrentQNetwork
from agents.options import LearnerOptions, NetworkOptions
from agents.policy import Policy
from agents.sequences import SequenceOptions
from envs.atari import AtariLanes
from envs.games import ATARI57
from envs.interface import Frames, StepResult, VectorEnv
from envs.protocol import PROTOCOLS
from envs.toy import MemoryLanes
from relic_rl.errors import UserError
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.options import ReplayOptions
from relic_rl.replay.segment import Segment
from relic_rl.runtime.actor import Actor, Collected
from relic_rl.runtime.player import Player
from relic_rl.runtime.recorder import Recorder
from relic_rl.runtime.stopwatch import Stopwatch

STACK, SEGMENT_STEPS, N_STEPS = 4, 5, 3
DISCOUNT, RESCALING = 0.97, 1e-3


class WitnessEnv:
    """An environment that keeps every result, and the actions it was given."""

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self.first: Frames | None = None
        self.actions: list[NDArray[np.int64]] = []
        self.results: list[StepResult] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self) -> Frames:
        self.first = self.env.reset()
        return self.first.copy()

    def step(self, actions: NDArray[np.int64]) -> StepResult:
        result = self.env.step(actions)
        self.actions.append(actions.copy())
        self.results.append(copy.deepcopy(result))
        return result


class NumberedFrames:
    """The toy task with a number on each frame, so that no two are the same."""

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self._number = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self) -> Frames:
        return self._numbered(self.env.reset())

    def step(self, actions: NDArray[np.int64]) -> StepResult:
        result = self.env.step(actions)
        final_frames = self._numbered(result.final_frames)
        ended = result.terminated | result.truncated
        frames = np.where(ended[:, None, None], self._numbered(result.frames), final_frames)
        return result._replace(frames=frames, final_frames=final_frames)

    def _numbered(self, frames: Frames) -> Frames:
        self._number += 1
        numbered = frames.copy()
        numbered[:, 0, 0], numbered[:, 0, 1] = divmod(self._number, 256)
        return numbered


class WitnessPolicy:
    """A policy that keeps what it was shown and what it answered."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.stacks: list[NDArray[np.uint8]] = []
        self.previous_actions: list[NDArray[np.int64]] = []
        self.previous_rewards: list[NDArray[np.float32]] = []
        self.states: list[NDArray[np.float32]] = []  # [N, 2, D], before the step
        self.after: list[NDArray[np.float32]] = []
        self.q: list[NDArray[np.float32]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def q_values(self, seen: PolicyInput) -> tuple[Tensor, RecurrentState]:
        self.stacks.append(seen.stacks.numpy().copy())
        self.previous_actions.append(seen.previous_actions.numpy().copy())
        self.previous_rewards.append(seen.previous_rewards.numpy().copy())
        self.states.append(torch.stack([*seen.state], dim=1).numpy().copy())
        q, after = self.policy.q_values(seen)
        self.after.append(torch.stack([after.hidden, after.cell], dim=1).numpy().copy())
        self.q.append(q.numpy().copy())
        return q, after


@dataclass
class Told:
    """One episode of one lane as the witnesses have it, or a life of one; T steps."""

    history: NDArray[np.uint8]  # the STACK - 1 frames before its first
    goes_on: bool = False  # an earlier life of the same episode was before it
    frames: list[NDArray[np.uint8]] = field(default_factory=list)  # T, or T + 1 once it ended
    stacks: list[NDArray[np.uint8]] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    previous: list[tuple[int, float]] = field(default_factory=list)
    states: list[NDArray[np.float32]] = field(default_factory=list)
    q: list[NDArray[np.float32]] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    def td_errors(self) -> NDArray[np.float64]:
        """|δ| of every step by the n-step formula over the whole episode, in float64.

        The value after a truncated episode is taken to be its last step's, as `Actor` says.
        """
        T = len(self.actions)
        errors = np.zeros(T)
        for t in range(T):
            end = min(t + N_STEPS, T)
            total = sum(DISCOUNT ** (k - t) * self.rewards[k] for k in range(t, end))
            if not (self.terminated and end == T):
                best = float(self.q[min(end, T - 1)].max())
                total += DISCOUNT ** (end - t) * h_inverse(best)
            errors[t] = abs(h(total) - float(self.q[t][self.actions[t]]))
        return errors


def h(x: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + RESCALING * x


def h_inverse(y: float) -> float:
    e = RESCALING
    return math.copysign(
        ((math.sqrt(1 + 4 * e * (abs(y) + 1 + e)) - 1) / (2 * e)) ** 2 - 1,
        y,
    )


class Scene:
    """An actor between its witnesses."""

    def __init__(
        self,
        env: VectorEnv,
        *,
        seed: int = 0,
        epsilons: tuple[float, ...] | None = None,
        segment_steps: int = SEGMENT_STEPS,
        lstm: int = 6,
        lives: bool = False,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(11)
            options = NetworkOptions(
                frame_stack=STACK, channels=(2, 2, 2), features=4, lstm=lstm, hidden=4
            )
            shape = EnvShape(env.spec.actions, env.spec.frame_height, env.spec.frame_width)
            network = RecurrentQNetwork(shape, options)
        self.env = WitnessEnv(env)
        self.policy = WitnessPolicy(Policy(nn.ModuleDict({"online": network})))
        self.segments: list[Segment] = []
        self.lives = lives
        frames = self.env.reset()
        player = Player(
            self.policy,  # type: ignore[arg-type]
            frames,
            frame_stack=STACK,
            epsilons=torch.tensor(epsilons or (0.5,) * env.lanes),
            device=torch.device("cpu"),
            seed=seed,
        )
        learner = LearnerOptions(
            segment_steps=segment_steps,
            burn_in_steps=0,
            unroll_steps=segment_steps,
            n_steps=N_STEPS,
            discount=DISCOUNT,
            rescaling_epsilon=RESCALING,
            life_loss_ends_return=lives,
        )
        recorder = Recorder(frames, options, learner, actor=2, incarnation=1)
        self.actor = Actor(
            self.env, player, recorder, first_lane=0, run_lanes=env.lanes, stopwatch=Stopwatch()
        )

    def act(self, steps: int) -> list[Collected]:
        collected = [self.actor.step() for _ in range(steps)]
        self.segments += [segment for item in collected for segment in item.segments]
        return collected

    def told(self) -> dict[tuple[int, int], Told]:
        """Episodes by (lane, number): the environment's and the policy's word, not the actor's.

        With `lives`, each of an episode's lives is told as a terminated one.
        """
        told: dict[tuple[int, int], Told] = {}
        assert self.env.first is not None
        for lane in range(self.env.env.lanes):
            number, frame = 0, self.env.first[lane]
            nothing = np.zeros((STACK - 1, *frame.shape), np.uint8)
            episode = told[(lane, number)] = Told(nothing)
            for step, result in enumerate(self.env.results):
                episode.frames.append(frame)
                episode.stacks.append(self.policy.stacks[step][lane])
                episode.actions.append(int(self.env.actions[step][lane]))
                episode.rewards.append(float(result.rewards[lane]))
                episode.previous.append(
                    (
                        int(self.policy.previous_actions[step][lane]),
                        float(self.policy.previous_rewards[step][lane]),
                    )
                )
                episode.states.append(self.policy.states[step][lane])
                episode.q.append(self.policy.q[step][lane])
                frame = result.frames[lane]
                life_lost = self.lives and bool(result.life_lost[lane])
                episode.terminated = bool(result.terminated[lane]) or life_lost
                episode.truncated = bool(result.truncated[lane])
                if episode.terminated or episode.truncated:
                    episode.frames.append(result.final_frames[lane])
                    number += 1
                    seen = np.concatenate([episode.history, episode.frames])
                    history = seen[-STACK:-1] if life_lost else nothing
                    episode = told[(lane, number)] = Told(history, goes_on=life_lost)
        return {key: episode for key, episode in told.items() if episode.actions}

    def by_episode(self) -> dict[tuple[int, int], list[Segment]]:
        episodes: dict[tuple[int, int], list[Segment]] = {}
        for segment in self.segments:
            assert segment.name[:2] == (2, 1)
            key = (segment.name.lane, segment.name.episode)
            episodes.setdefault(key, []).append(segment)
        return {key: sorted(s, key=lambda s: s.name.index) for key, s in episodes.items()}


def toy(lanes: int = 3, *, blanks: int = 6, cap: int | None = None, seed: int = 5) -> VectorEnv:
    """Episodes of `blanks` + 2 steps, or truncated after `cap`."""
    return MemoryLanes(lanes, seed, blank_frames=blanks, max_episode_steps=cap)


def numbered(**options: Any) -> VectorEnv:
    return NumberedFrames(toy(**options))  # type: ignore[return-value]


def atari(game: str) -> VectorEnv:
    return AtariLanes(ATARI57[game].name, 2, 3, PROTOCOLS["noop"], action_set="minimal", threads=1)


def played(env: VectorEnv, steps: int, **options: Any) -> Scene:
    scene = Scene(env, **options)
    scene.act(steps)
    env.close()
    return scene


SCENES: dict[str, Callable[[], Scene]] = {
    "shorter than a segment": lambda: played(numbered(blanks=1), 40),
    "exactly a segment": lambda: played(numbered(blanks=3), 60),
    "exactly two segments": lambda: played(numbered(blanks=8), 80),
    "over by fewer than n steps": lambda: played(numbered(blanks=5), 80),
    "over by more than n steps": lambda: played(numbered(blanks=7), 80),
    "truncated": lambda: played(numbered(blanks=20, cap=8), 80),
    "truncated at a segment's end": lambda: played(numbered(blanks=20, cap=10), 80),
    "truncated at n steps": lambda: played(numbered(blanks=20, cap=3), 40),
    "n fills a segment": lambda: played(numbered(blanks=6), 60, segment_steps=N_STEPS),
    "Pong": lambda: played(atari("Pong"), 1_100, segment_steps=40),
    "Breakout": lambda: played(atari("Breakout"), 500, segment_steps=40),
    "Breakout by lives": lambda: played(atari("Breakout"), 500, segment_steps=40, lives=True),
}


@cache
def scene_called(name: str) -> Scene:
    """Played once; tests must not change it."""
    return SCENES[name]()


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest) -> Scene:
    return scene_called(request.param)


def test_segments_decode_to_exactly_what_the_environment_gave(scene: Scene) -> None:
    told = scene.told()

    assert scene.segments
    for key, segments in scene.by_episode().items():
        episode, start = told[key], 0
        padded = [*episode.history, *episode.frames]
        for segment in segments:
            end = start + segment.steps
            frames = segment.decode_frames()
            assert segment.actions.tolist() == episode.actions[start:end]
            assert segment.rewards.tolist() == episode.rewards[start:end]
            assert len(frames) == STACK - 1 + segment.steps + segment.ended
            assert np.array_equal(frames, padded[start : start + len(frames)])
            before = (segment.previous_action, segment.previous_reward)
            assert before == episode.previous[start]
            if start:
                assert before == (episode.actions[start - 1], episode.rewards[start - 1])
            else:
                assert episode.goes_on or before == (-1, 0)
            start = end


def test_every_step_of_every_finished_episode_is_in_exactly_one_segment(scene: Scene) -> None:
    told, episodes = scene.told(), scene.by_episode()
    lane_steps = Counter[int]()
    finished = set()
    for (lane, number), episode in sorted(told.items(), reverse=True):
        # A segment waits for others to be encoded with, but never beyond its lane's next one.
        if (episode.terminated or episode.truncated) and lane_steps[lane] >= SEGMENT_STEPS:
            finished.add((lane, number))
        lane_steps[lane] += len(episode.actions)

    assert finished
    assert finished <= episodes.keys()
    assert max(Counter(segment.name for segment in scene.segments).values()) == 1
    for key, segments in episodes.items():
        steps = [segment.steps for segment in segments]
        assert [segment.name.index for segment in segments] == list(range(len(segments)))
        assert len(set(steps[:-1])) <= 1
        if key in finished:
            assert sum(steps) == len(told[key].actions)
        else:  # what is missing is still being played, or waits
            assert sum(steps) <= len(told[key].actions)


def test_only_the_last_segment_of_an_episode_says_how_it_ended(scene: Scene) -> None:
    told = scene.told()

    for key, segments in scene.by_episode().items():
        assert not any(segment.ended for segment in segments[:-1])
        if segments[-1].ended:
            assert segments[-1].terminated == told[key].terminated
            assert segments[-1].truncated == told[key].truncated


def test_the_stored_state_is_the_policys_before_the_segments_first_step(scene: Scene) -> None:
    told = scene.told()

    for key, segments in scene.by_episode().items():
        start = 0
        for segment in segments:
            assert np.array_equal(segment.recurrent_state, told[key].states[start])
            assert (start > 0 or told[key].goes_on) == bool(segment.recurrent_state.any())
            start += segment.steps


def test_a_lane_forgets_when_its_own_episode_ends_and_never_else(scene: Scene) -> None:
    policy = scene.policy
    for step, result in enumerate(scene.env.results[:-1]):
        ended = result.terminated | result.truncated
        assert not policy.states[step + 1][ended].any()
        assert np.array_equal(policy.states[step + 1][~ended], policy.after[step][~ended])


def test_first_priorities_rest_on_the_n_step_errors_of_the_whole_episode(scene: Scene) -> None:
    told, compared = scene.told(), 0

    for key, segments in scene.by_episode().items():
        start, episode = 0, told[key]
        errors = episode.td_errors()
        for segment in segments:
            end = start + segment.steps
            # What follows by more than n steps later, and is still unplayed, does not matter.
            if end + N_STEPS <= len(errors) or episode.terminated or episode.truncated:
                assert segment.td_max == pytest.approx(errors[start:end].max(), rel=2e-5, abs=2e-6)
                assert segment.td_sum == pytest.approx(errors[start:end].sum(), rel=2e-5, abs=2e-5)
                compared += 1
            start = end
    assert compared >= len(scene.segments) - scene.env.env.lanes


def test_the_learner_sees_the_stacks_states_and_rewards_that_the_actor_saw(scene: Scene) -> None:
    told = scene.told()
    segment_steps = max(segment.steps for segment in scene.segments)
    burn_in, rows = segment_steps, 2 * segment_steps + min(N_STEPS, segment_steps)
    replay = ReplayBuffer(
        ReplayOptions(),
        SequenceOptions(segment_steps, burn_in, segment_steps, min(N_STEPS, segment_steps)),
        frame_stack=STACK,
        rng=np.random.default_rng(0),
    )
    for segment in scene.segments:
        replay.insert(segment)

    draw = replay.draw(64)
    batch = replay.decode(draw)

    for b in range(64):
        segments = draw.segments[b]
        assert len({segment.name[:4] for segment in segments}) == 1  # of one episode
        first = segments[0].name
        episode = told[(first.lane, first.episode)]
        moment = first.index * segment_steps
        seen = 0
        for row in range(0 if draw.has_burn_in[b] else burn_in, rows):
            if not batch.is_step[row, b]:
                break
            stack = batch.frames[row : row + STACK, b]
            assert np.array_equal(stack, episode.stacks[moment])
            assert batch.actions[row, b] == episode.actions[moment]
            assert batch.rewards[row, b] == np.float32(episode.rewards[moment])
            assert moment or episode.goes_on or episode.previous[moment] == (-1, 0.0)
            assert batch.previous_actions[row, b] == episode.previous[moment][0]
            assert batch.previous_rewards[row, b] == np.float32(episode.previous[moment][1])
            is_last = moment == len(episode.actions) - 1
            assert batch.terminated[row, b] == (is_last and episode.terminated)
            moment, seen = moment + 1, seen + 1
        assert seen >= 1
        assert not batch.is_step[row + 1 :, b].any()  # nothing of another episode behind its end
        unroll_at = (first.index + bool(draw.has_burn_in[b])) * segment_steps
        assert np.array_equal(batch.unroll_state[:, b], episode.states[unroll_at])
        assert np.array_equal(batch.state[:, b], episode.states[first.index * segment_steps])


def test_a_lost_life_ends_a_return_and_nothing_else() -> None:
    by_episodes, by_lives = map(scene_called, ("Breakout", "Breakout by lives"))
    lost = sum(int(result.life_lost.sum()) for result in by_lives.env.results)
    over = sum(len(result.episodes) for result in by_lives.env.results)
    assert lost >= 4 * over > 0  # of five lives, the last one ends the game

    for one, other in zip(by_episodes.policy.q, by_lives.policy.q, strict=True):
        assert np.array_equal(one, other)  # the same is acted on, and the same is done
    told = by_lives.told().values()
    assert sum(episode.terminated for episode in told) == lost + over
    assert sum(episode.goes_on for episode in told) >= lost - by_lives.env.env.lanes


# --- resume ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_env", [toy, lambda: atari("Pong")], ids=["toy", "Pong"])
def test_an_actor_restored_from_its_state_goes_on_bit_for_bit(
    make_env: Callable[[], VectorEnv],
) -> None:
    straight = Scene(make_env())
    straight.act(37)
    state = copy.deepcopy(straight.actor.state())
    straight.segments.clear()
    resumed = Scene(make_env(), seed=99)  # its own generator is replaced by the state's
    resumed.actor.load_state(state)
    after, after_resume = straight.act(60), resumed.act(60)

    assert straight.segments
    assert [s.data for s in resumed.segments] == [s.data for s in straight.segments]
    assert [c.episodes for c in after_resume] == [c.episodes for c in after]
    assert resumed.actor.env_steps == straight.actor.env_steps


def test_a_state_does_not_change_while_the_actor_goes_on() -> None:
    scene = Scene(toy())
    scene.act(13)
    state = scene.actor.state()
    kept = copy.deepcopy(state)
    scene.act(20)

    for part in ("player", "recorder"):
        for name, array in state[part].items():
            assert np.array_equal(array, kept[part][name]), (part, name)


def test_a_state_of_another_segment_length_is_refused() -> None:
    scene = Scene(toy())
    scene.act(3)

    with pytest.raises(ValueError, match="current steps of actor state are of another shape"):
        Scene(toy(), segment_steps=7).actor.load_state(scene.actor.state())


def test_a_state_of_an_earlier_version_is_refused_in_one_line_that_says_why() -> None:
    scene = Scene(toy())
    state = scene.actor.state()
    runs = state["recorder"]["current"]
    by_field = {name: runs[name] for name in runs.dtype.names}

    for earlier in ({"recorder": {"current": by_field, "waiting": by_field}}, {"frames": runs}):
        with pytest.raises(UserError, match=r"of an earlier version, .* start a new run$"):
            scene.actor.load_state(earlier)


# --- exploration ----------------------------------------------------------------------------------


def test_the_same_seed_acts_the_same_and_another_seed_does_not() -> None:
    one, same, other = (played(toy(), 50, seed=seed) for seed in (1, 1, 2))

    assert [s.data for s in one.segments] == [s.data for s in same.segments]
    assert not np.array_equal(one.env.actions, other.env.actions)


def test_each_lane_explores_at_its_own_rate() -> None:
    scene = played(toy(3), 600, epsilons=(0.0, 1.0, 0.3))
    actions = np.stack(scene.env.actions)
    greedy = np.stack(scene.policy.q).argmax(axis=-1)
    is_greedy = (actions == greedy).mean(axis=0)

    # Of two actions a random one is greedy half the time; 600 steps deviate by 0.02.
    assert is_greedy[0] == 1.0
    assert is_greedy[1] == pytest.approx(0.5, abs=0.08)
    assert is_greedy[2] == pytest.approx(0.85, abs=0.06)
    assert actions[:, 1].mean() == pytest.approx(0.5, abs=0.08)


# --- all games ------------------------------------------------------------------------------------


UNLIKE_THE_OTHERS = {
    "Skiing": "offers nine actions",
    "NameThisGame": "plays some frames by itself at first",
    "VideoPinball": "rewards by the thousand",
}


@pytest.mark.parametrize(
    "game",
    [
        # That every game starts and steps is in tests/envs/test_registry.py.
        pytest.param(name, marks=() if name in UNLIKE_THE_OTHERS else pytest.mark.slow)
        for name in ATARI57
    ],
)
def test_every_game_produces_segments(game: str) -> None:
    env = AtariLanes(game, 1, 0, PROTOCOLS["noop"], action_set="full", threads=1)
    scene = played(env, SEGMENT_STEPS + N_STEPS)
    episode = scene.told()[(0, 0)]
    segment = scene.segments[0]

    assert env.spec.actions == (9 if game == "Skiing" else 18)
    assert segment.steps == SEGMENT_STEPS
    assert segment.actions.tolist() == episode.actions[:SEGMENT_STEPS]
    assert segment.rewards.tolist() == episode.rewards[:SEGMENT_STEPS]
    frames = segment.decode_frames()[STACK - 1 :]
    assert np.array_equal(frames, episode.frames[:SEGMENT_STEPS])
    assert frames.any()
