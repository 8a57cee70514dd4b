"""A film: a run's agent plays the real game, pictured at its native resolution.

The agent acts in an ordinary lane, as in evaluation: `--episodes 1 --seed S` is the very episode
that `relic-rl evaluate --episodes 1 --seed S` scores. Beside it the environment's screen goes
through the same states, frame by frame, and gives the pictures (`envs.emulator`).

An .mp4 shows every frame, 60 a second. A .gif, whose format is slower, shows one picture a step,
15 a second: the maximum of the last two frames, as the agent sees it, so that nothing flickers.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import imageio
import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image

from agents.value_rescaling import unrescale
from envs.interface import Flavour, Picture
from relic_rl.errors import UserError
from relic_rl.evaluation.evaluate import Tell, judging_env, make_player, nobody
from relic_rl.evaluation.overlay import Thought, draw, saliency
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.stop import ORDERS, StopRequest

FRAMES_PER_SECOND = 60
SUFFIXES = (".mp4", ".gif")
GIF_FRAMES = 3_600
"""A minute, which a .gif is kept to unless more are asked for: its pictures are all held in memory,
2 MB each where they have an overlay."""


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
    flavour: Flavour | None = None,
    tell: Tell = nobody,
) -> Film:
    """Films an agent at play; a signal ends the film early, and it is still written.

    Args:
      trained: who plays.
      video: a path that ends with one of `SUFFIXES`; replaced when the film is complete.
      overlay: draw action, value, score and saliency, three times as large.
      episodes: 1 or more, full ones.
      seed: of the episodes, as in `relic-rl evaluate`.
      max_frames: of the whole film, for a short one; None: no limit.
      flavour: mode and difficulty of the game; None for what it was trained in.
      tell: how far it is.

    Raises:
      UserError: the film cannot be written; there is no file then, or the one from before.
    """
    scores: list[float] = []
    frames = 0
    with StopRequest().listening() as stop, _writer(video, trained.spec.frames_per_step) as write:
        for steps, step in enumerate(_play(trained, seed, flavour, overlay=overlay)):
            tell(len(scores), episodes, steps)
            shot = step.pictures[: None if max_frames is None else max_frames - frames]
            frames += len(shot)
            if is_gif(video):
                shot = [np.maximum.reduce(shot[-2:])]
            for picture in shot:
                write(draw(picture, step.thought) if step.thought else picture)
            if step.ended:
                scores.append(step.score)
            if len(scores) == episodes or frames == max_frames or stop.requested:
                break
    return Film(frames, scores, step.score)


def is_gif(video: Path) -> bool:
    """Whether it is a .gif, by its name."""
    return video.suffix.lower() == ".gif"


def _play(
    trained: TrainedAgent, seed: int, flavour: Flavour | None, *, overlay: bool
) -> Iterator[_Step]:
    """Plays for ever, step by step."""
    env = judging_env(trained, lanes=1, seed=seed, flavour=flavour)
    with closing(env):
        screen = env.screen()
        player = make_player(trained, env.reset(), seed=seed)
        ended = True
        while True:
            if ended:
                screen.begin()
                score = filmed_score = 0.0
            seen, q, actions, _ = player.act()
            thought = None
            if overlay:
                value = unrescale(
                    torch.tensor(q.max()), trained.config.learner.rescaling_epsilon
                ).item()
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


class _Gif:
    """A .gif as imageio has its writers; Pillow writes all pictures at the end."""

    def __init__(self, file: Path, frames_per_step: int) -> None:
        self._file = file
        self._frames_per_step = frames_per_step
        self._pictures: list[Image.Image] = []

    def append_data(self, picture: Picture) -> None:
        self._pictures.append(Image.fromarray(picture))

    def close(self) -> None:
        # The format counts in 1/100 s: pictures of 4 frames take 7, 6 and 7 of them.
        steps = range(len(self._pictures) + 1)
        ends = [round(100 * step * self._frames_per_step / FRAMES_PER_SECOND) for step in steps]
        milliseconds = [10 * (end - begin) for begin, end in pairwise(ends)]
        first, *rest = self._pictures
        first.save(
            self._file, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0
        )


@contextmanager
def _writer(video: Path, frames_per_step: int) -> Iterator[Callable[[Picture], None]]:
    """Takes pictures; the file has its name only when it is whole.

    Raises:
      UserError: it cannot be written.
    """
    partial = video.with_name(f".partial-{video.name}")
    # Without the block size imageio would stretch the picture to multiples of 16.
    options: dict[str, Any] = {"fps": FRAMES_PER_SECOND, "quality": 8, "macro_block_size": 1}
    options["ffmpeg_log_level"] = "quiet"
    with ExitStack() as stack:
        with _failure_named(video):
            if video.is_dir():
                raise IsADirectoryError("it is a folder")
            video.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(partial.unlink, missing_ok=True)
            partial.touch()  # ffmpeg would say in its own words why it cannot
            writer: Any
            if is_gif(video):
                writer = _Gif(partial, frames_per_step)
            else:
                writer = imageio.get_writer(partial, mode="I", **options)
        pictures = 0

        def write(picture: Picture) -> None:
            nonlocal pictures
            with _failure_named(video):
                writer.append_data(picture)
            pictures += 1

        try:
            yield write
        except BaseException:
            with suppress(Exception):  # the first failure is the one to tell
                writer.close()
            raise
        with _failure_named(video):
            writer.close()
            if not is_gif(video):
                _expect_whole(partial, pictures)
            partial.replace(video)


def _expect_whole(video: Path, pictures: int) -> None:
    """Raises OSError unless so many can be read: imageio does not look at how ffmpeg ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)  # a terminal tells this ffmpeg, too
    try:
        found, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    except (RuntimeError, LookupError):
        found = 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if found != pictures:
        raise OSError(f"ffmpeg wrote {found} of {pictures} pictures")


@contextmanager
def _failure_named(video: Path) -> Iterator[None]:
    """A failure to write is a user's to mend: a full disk, an ffmpeg that does not work."""
    try:
        yield
    except Exception as error:  # of many kinds, where imageio reads what a broken ffmpeg says
        # It quotes all that ffmpeg said; the last line is its reason.
        lines = (getattr(error, "strerror", None) or str(error)).split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), "unknown reason")
        raise UserError(
            f"cannot write the film {video}: {reason}; make room on its disk, or try a .gif, which "
            "needs no ffmpeg"
        ) from error
