"""Evaluation: full episodes, unclipped, nearly greedy, under the run's protocol.

Each lane plays the same number of episodes: taking the first to finish of many would favour short
ones.
"""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import NamedTuple

import torch

from envs.corrupted import CorruptedEnv
from envs.corruptions import CORRUPTIONS
from envs.interface import FilmedLanes, Flavour, Frames, Lanes
from envs.registry import Wanted, find_environment
from relic_rl import build
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.records.robustness import NO_CORRUPTION
from relic_rl.runtime.player import Player
from relic_rl.runtime.watchdog import STALL_SECONDS, Watchdog
from relic_rl.stop import StopRequest

MAX_LANES = 16

Tell = Callable[[int, int, int], None]
"""Told before every step: the episodes that are finished, of how many, and all steps so far."""


def nobody(finished: int, episodes: int, steps: int) -> None:
    """Where nobody waits: see `Tell`."""


def evaluation_lanes(episodes: int) -> int:
    """The largest number of lanes, at most 16, that divides the episodes evenly."""
    return max(n for n in range(1, MAX_LANES + 1) if episodes % n == 0)


class Condition(NamedTuple):
    """What an agent is judged under."""

    flavour: Flavour
    corruption: str = NO_CORRUPTION
    severity: int = 0
    """1 to 5, of a corruption."""

    def __str__(self) -> str:
        """`mode 1, difficulty 0, shift 3`."""
        corrupted = f", {self.corruption} {self.severity}" * bool(self.severity)
        return f"mode {self.flavour.mode}, difficulty {self.flavour.difficulty}{corrupted}"

    def seen(self, env: Lanes, seed: int) -> Lanes:
        """The environment as the agent sees it; `seed` is the evaluation's."""
        if self.corruption == NO_CORRUPTION:
            return env
        drawn = build.named_seed(seed, f"corruption {self.corruption} {self.severity}")
        return CorruptedEnv(env, CORRUPTIONS[self.corruption], self.severity, seed=drawn)


def evaluate_agent(
    trained: TrainedAgent,
    *,
    condition: Condition | None = None,
    seed: int,
    episodes: int,
    stop: StopRequest,
    tell: Tell = nobody,
    epsilon: float | None = None,
) -> list[float]:
    """Scores of full episodes with an agent's `evaluation_policy`; none if stopped.

    The same `seed` gives the same games and corruptions. Without a `condition` they are what the
    agent was trained in. `epsilon` is as in `make_player`.
    """
    flavour = condition and condition.flavour
    env = judging_env(trained, lanes=evaluation_lanes(episodes), seed=seed, flavour=flavour)
    start = partial(make_player, trained, seed=seed, epsilon=epsilon)
    with closing(env):
        seen = condition.seen(env, seed) if condition else env
        return play_episodes(seen, start, episodes=episodes, stop=stop, tell=tell)


def judging_env(
    trained: TrainedAgent, *, lanes: int, seed: int, flavour: Flavour | None
) -> FilmedLanes:
    """Lanes of seeded episodes: scored or filmed, the same `seed` gives an agent the same ones.

    `flavour` is one of the game's; None, and the default, is what agents train in.
    """
    config, game = trained.config, trained.spec.name
    seed = build.named_seed(seed, f"evaluation {trained.agent.updates}")
    environment = find_environment(game)
    make_flavour = environment.make_flavour
    if flavour is None or make_flavour is None or flavour == environment.find_flavours().default:
        return build.make_env(config, game, lanes=lanes, seed=seed, reseed_steps=0)
    return make_flavour(config.env, Wanted(lanes, seed), flavour)


def make_player(
    trained: TrainedAgent, frames: Frames, *, seed: int, epsilon: float | None = None
) -> Player:
    """An agent at play as it is judged: scored or filmed, the same `seed` gives the same actions.

    Args:
      trained: plays with its `evaluation_policy`.
      frames: uint8[N, H, W], the first of every lane's episode.
      seed: of the evaluation.
      epsilon: probability of a random action; None: `evaluation.epsilon`.
    """
    agent, config = trained.agent, trained.config
    epsilon = config.evaluation.epsilon if epsilon is None else epsilon
    return Player(
        agent.evaluation_policy(),
        frames,
        frame_stack=config.network.frame_stack,
        epsilons=torch.full((len(frames),), epsilon),
        device=agent.device,
        seed=build.named_seed(seed, "evaluation actions"),
    )


def play_episodes(
    env: Lanes,
    start: Callable[[Frames], Player],
    *,
    episodes: int,
    stop: StopRequest,
    tell: Tell = nobody,
) -> list[float]:
    """Scores of full episodes, in order of lane and then of time; none if stopped before the end.

    Args:
      env: freshly made; its lanes divide the episodes.
      start: uint8[N, H, W], the first frames of every lane.
      episodes: how many.
      stop: looked at before each step.
      tell: how far they are.
    """
    wanted = episodes // env.lanes
    scores: list[list[float]] = [[] for _ in range(env.lanes)]
    steps, playing = 0, env.lanes
    with closing(Watchdog(5 * STALL_SECONDS)) as watchdog:  # a step may move lanes (`envs.atari`)
        with watchdog.watching("the start of the evaluation's emulators"):
            frames = env.reset()
        player = start(frames)
        while playing:
            if stop.requested:
                return []
            tell(sum(map(len, scores)), episodes, steps)
            actions = player.act().actions
            with watchdog.watching("a step of the evaluation's emulators"):
                result = env.step(actions)
            steps += playing
            for record in result.episodes:
                scores[record.lane].append(record.score)
                if len(scores[record.lane]) == wanted:
                    env.rest(record.lane)
                    playing -= 1
            player.observe(actions, result)
    return [score for lane in scores for score in lane]
