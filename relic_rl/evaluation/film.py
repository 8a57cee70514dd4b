"""A film: a run's agent plays the real game, pictured at its native resolution.

The agent acts in an ordinary lane, as in evaluation: `--episodes 1 --seed S` is the very episode
that `relic-rl evaluate --episodes 1 --seed S` scores. Beside it the environment's screen goes
through the same states, frame by frame, and gives the pictures (`envs.emulator`).

An .mp4 shows every frame, 60 a second. A .gif, whose format is slower, shows one picture a step,
15 a second: the maximum of the last two frames, as the agent sees it, so that nothing flickers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import imageio
import numpy as np

from agents.value_rescaling import unrescale
from envs.interface import Picture, Screen, VectorEnv
from relic_rl import build
from relic_rl.errors import UserError
from relic_rl.evaluation.evaluate import make_player
from relic_rl.evaluation.overlay import Thought, draw, saliency
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.runtime.player import Player
from relic_rl.stop import StopRequest

FRAMES_PER_SECOND = 60
SUFFIXES = (".mp4", ".gif")


class Film(NamedTuple):
    """What a film shows."""

    frames: int
    scores: list[float]
    """Of the whole episodes."""
    score_so_far: float
    """Of the last episode, which may have been cut off."""


class _Step(NamedTuple):
    pictures: list[Picture]
    """Of every frame that the action was held for."""
    thought: Thought | None
    score: float
    """Of the episode, this step included."""
    ended: bool


def film(
    trained: TrainedAgent,
    video: Path,
    *,
    overlay: bool,
    episodes: int,
    seed: int,
    max_frames: int | None,
) -> Film:
    """Films an agent at play; a signal ends the film early, and it is still written.

    Args:
      trained: who plays.
      video: a path that ends with one of `SUFFIXES`; replaced when the film is complete.
      overlay: draw action, value, score and saliency, three times as large.
      episodes: 1 or more, full ones.
      seed: of the episodes, as in `relic-rl evaluate`.
      max_frames: of the whole film, for a short one; None for no limit.
    """
    scores: list[float] = []
    frames = 0
    with StopRequest().listening() as stop, _writer(video, trained.spec.frames_per_step) as write:
        for step in _play(trained, seed, overlay=overlay):
            shot = step.pictures[: None if max_frames is None else max_frames - frames]
            frames += len(shot)
            if video.suffix.lower() == ".gif":
                shot = [np.maximum.reduce(shot[-2:])]
            for picture in shot:
                write(draw(picture, step.thought) if step.thought else picture)
            if step.ended:
                scores.append(step.score)
            if len(scores) == episodes or frames == max_frames or stop.requested:
                break
    return Film(frames, scores, step.score)


def _play(trained: TrainedAgent, seed: int, *, overlay: bool) -> Iterator[_Step]:
    """Plays for ever, step by step."""
    agent, config, game = trained.agent, trained.config, trained.spec.name
    env = build.make_evaluation_env(config, game, lanes=1, seed=seed, updates=agent.updates)
    screen = env.screen()
    player = make_player(agent, config, env.reset(), seed=seed)
    try:
        while True:
            yield from _play_episode(trained, env, screen, player, overlay=overlay)
    finally:
        screen.close()
        env.close()


def _play_episode(
    trained: TrainedAgent, env: VectorEnv, screen: Screen, player: Player, *, overlay: bool
) -> Iterator[_Step]:
    screen.begin()
    score, filmed_score, ended = 0.0, 0.0, False
    while not ended:
        seen, q, actions = player.act()
        thought = None
        if overlay:
            value = unrescale(q.max(), trained.config.learner.rescaling_epsilon).item()
            heat = saliency(player.policy, seen)
            thought = Thought(env.spec.action_meanings[actions[0]], value, score, heat)
        pictures, points = screen.step(int(actions[0]))
        result = env.step(actions)
        player.observe(actions, result)
        filmed_score += points
        score += float(result.rewards[0])
        ended = bool(result.terminated[0] | result.truncated[0])
        if filmed_score != score:
            raise UserError(
                f"the film's game differs from the agent's (score {filmed_score:.0f} "
                f"against {score:.0f}): please report the game, the seed and ale-py's version"
            )
        yield _Step(pictures, thought, score, ended)


@contextmanager
def _writer(video: Path, frames_per_step: int) -> Iterator[Any]:
    """Takes pictures; the file has its name only when it is whole."""
    video.parent.mkdir(parents=True, exist_ok=True)
    partial = video.with_name(f".partial-{video.name}")
    if video.suffix.lower() == ".gif":
        milliseconds = 1000 * frames_per_step / FRAMES_PER_SECOND
        options: dict[str, Any] = {"duration": milliseconds, "loop": 0}
    else:
        # Without the last one imageio would stretch the picture to multiples of 16.
        options = {"fps": FRAMES_PER_SECOND, "quality": 8, "macro_block_size": 1}
    writer = imageio.get_writer(partial, mode="I", **options)
    try:
        try:
            yield writer.append_data
        finally:
            writer.close()
        partial.replace(video)
    finally:
        partial.unlink(missing_ok=True)
