"""relic-rl from Python: train, load an agent and let it act, evaluate, probe, read tables, report.

    from relic_rl import api

    run = api.train("pong", preset="smoke", run_dir="runs/first")
    agent = api.load(run)
    action = agent.act(frame)              # uint8[84, 84] -> an action's index
    action = agent.act(frame, reward=1.0)  # it remembers what it saw and did
    agent.reset()                          # a new episode
    scores = api.evaluate(agent, episodes=5)
    scores = api.evaluate(agent, episodes=5, corruption="shift")  # of what it sees
    known = api.probe(agent).representations["encoder"].f1
    api.read_run(run).episodes["score"]    # float64[N]

Errors that a user can mend are `relic_rl.errors.UserError`, with one line of text.
"""

# ruff: noqa: E402
from relic_rl.machine import process

process.prepare()  # before torch is imported; whoever has done that keeps what they have

import csv
import json
import operator
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.atari import RomError
from envs.interface import StepResult
from relic_rl import build
from relic_rl.analysis.published import DEFAULT_AGAINST
from relic_rl.analysis.report import Written, write_report
from relic_rl.commands import train as train_command
from relic_rl.config import values
from relic_rl.errors import UsageError, UserError
from relic_rl.evaluation.evaluate import evaluate_agent, make_player
from relic_rl.evaluation.probe import probe_agent
from relic_rl.evaluation.robustness import one_condition
from relic_rl.evaluation.trained import load_trained
from relic_rl.records import run_folder
from relic_rl.records.identity import check_seed, read_identity
from relic_rl.records.metrics import EPISODES_FILE, EVALUATIONS_FILE, METRICS_FILE
from relic_rl.records.probes import Probing, read_probings
from relic_rl.records.robustness import Judgement, read_judgements
from relic_rl.runtime.player import Player
from relic_rl.stop import StopRequest

PathLike = str | os.PathLike[str]
_LISTS = ("scores",)
"""Columns of tables that hold several numbers a row, and of one episode look like one."""


@contextmanager
def _mendable() -> Iterator[None]:
    """What the command line says of a cartridge in a line, as an error that a user can mend."""
    try:
        yield
    except RomError as error:
        raise UserError(str(error)) from error


class Agent:
    """A trained agent at play in one environment, with a memory of its episode.

    It is what `relic-rl evaluate` judges: the averaged parameters where a run keeps them, nearly
    greedy. Two that were loaded from one run with one seed choose alike on the same frames.

    Args:
      run_dir: a run's folder, or a policy file that `relic-rl export` wrote.
      epsilon: probability of a random action; None: that of the run's evaluations.
      seed: of the random actions.

    Attributes:
      game: that it was trained on.
      env_frames: that it was trained for.
      actions: how many there are.
      action_set: "full", all of the game's in ale-py's order, or "minimal", those that it uses.
      frame_shape: height and width of the frames it takes.

    Raises:
      UserError: the folder holds no run, or no sound checkpoint.
    """

    @_mendable()
    def __init__(self, run_dir: PathLike, *, epsilon: float | None = None, seed: int = 0) -> None:
        check_seed(seed, name="seed")
        if epsilon is not None and not 0.0 <= epsilon <= 1.0:
            raise UsageError(f"epsilon is {epsilon}: use a number from 0 to 1")
        self._trained = load_trained(Path(run_dir))
        self._epsilon, self._seed = epsilon, seed
        self.game = self._trained.spec.name
        self.env_frames = self._trained.env_frames
        self.action_set = self._trained.config.env.action_set
        shape = self._trained.agent.env
        self.actions = shape.actions
        self.frame_shape = (shape.frame_height, shape.frame_width)
        self._player: Player | None = None
        self._episode = 0
        self._last_action = -1

    def reset(self) -> None:
        """Forgets the episode; the next frame is a new one's first."""
        self._episode += self._player is not None
        self._player = None

    def act(self, frame: ArrayLike, reward: float = 0.0) -> int:
        """The next action's index.

        Args:
          frame: uint8[H, W] of `frame_shape`, gray: a maximum over the last two of four emulator
            frames, resized, as `gymnasium.wrappers.AtariPreprocessing` makes it.
          reward: that the previous action brought, unclipped; ignored after `reset`.

        Raises:
          ValueError: a frame of another shape or type.
        """
        picture = np.asarray(frame)
        if picture.shape != self.frame_shape or picture.dtype != np.uint8:
            needed = f"uint8{list(self.frame_shape)}"
            raise ValueError(f"frame is {picture.dtype}{list(picture.shape)}, needs {needed}")
        if self._player is None:
            seed = self._seed
            if self._episode:  # else each episode would have the random actions of the first
                seed = build.named_seed(seed, f"episode {self._episode}")
            self._player = make_player(
                self._trained, picture[None], seed=seed, epsilon=self._epsilon
            )
        else:
            self._player.observe(
                np.array([self._last_action]), _one_lane(picture[None], float(reward))
            )
        self._last_action = int(self._player.act().actions[0])
        return self._last_action


@dataclass(frozen=True)
class RunTables:
    """What a run wrote down.

    Tables are arrays: a column is float64[rows], NaN where a row lacks it. The rest is records.
    """

    game: str
    seed: int
    settings: dict[str, Any]
    """By `section.field`."""
    metrics: dict[str, NDArray[np.float64]]
    """A row per `run.metrics_every_updates`."""
    episodes: dict[str, NDArray[np.float64]]
    """A row per training episode."""
    evaluations: dict[str, NDArray[np.float64]]
    """A row per evaluation."""
    probes: tuple[Probing, ...]
    """What `relic-rl probe` and `run.probe_every_frames` found, by frames."""
    robustness: tuple[Judgement, ...]
    """What `relic-rl evaluate --save` wrote, a record for each checkpoint and condition."""


@_mendable()
def train(
    game: str,
    *,
    preset: PathLike | None = None,
    seed: int = 0,
    run_dir: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Trains an agent from the start, as `relic-rl train` does; returns the run's folder.

    Ctrl-C, or a notebook's stop button, ends it in order, with a checkpoint; before it has begun,
    by a KeyboardInterrupt.

    Args:
      game: any of the 57: "pong", "Pong", "ms_pacman", "ALE/Pong-v5".
      preset: a shipped preset's name or a TOML file; None: the one that fits the machine.
      seed: of everything random.
      run_dir: where to write; None: a new folder in `runs/`.
      settings: values by `section.field`, such as {"run.frames": 1_000_000}.

    Raises:
      UserError: a wrong name or value, a folder that is taken, too little memory or disk, another
        thread than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("training answers to signals: call train in the main thread")
    return train_command.run(
        game,
        settings=settings or {},
        preset=None if preset is None else os.fspath(preset),
        seed=operator.index(seed),  # numpy's, too: it is written as TOML
        run_dir=None if run_dir is None else Path(run_dir),
    )


def load(run_dir: PathLike, *, epsilon: float | None = None, seed: int = 0) -> Agent:
    """A run's agent, from its last sound checkpoint: see `Agent`."""
    return Agent(run_dir, epsilon=epsilon, seed=seed)


@_mendable()
def evaluate(
    agent: Agent | PathLike,
    *,
    episodes: int = 10,
    seed: int = 0,
    corruption: str | None = None,
    severity: int | None = None,
    mode: int | None = None,
    difficulty: int | None = None,
) -> list[float]:
    """Scores of full episodes, unclipped, as `relic-rl evaluate` plays them.

    A loaded agent keeps its memory of its own episode.

    Args:
      agent: loaded, or a run's folder or policy file.
      episodes: how many.
      seed: of the episodes: the same seed gives the same ones, corrupted or not.
      corruption: of what it sees, a name in `envs.corruptions.CORRUPTIONS`; None: nothing.
      severity: 1 to 5, of the corruption; None: `envs.corruptions.DEFAULT_LEVEL`.
      mode: of the game, by ale-py's number; None: the one it was trained in.
      difficulty: the same.

    Raises:
      UserError: the folder holds no run, or no sound checkpoint; a number out of range, an unknown
        corruption, a mode or difficulty that the game lacks.
    """
    if episodes < 1:
        raise UsageError(f"episodes is {episodes}: use 1 or more")
    check_seed(seed, name="seed")
    player = _loaded(agent)
    condition = one_condition(
        player.game, mode=mode, difficulty=difficulty, corruption=corruption, severity=severity
    )
    return evaluate_agent(
        player._trained,
        condition=condition,
        episodes=episodes,
        seed=seed,
        stop=StopRequest(),
        epsilon=player._epsilon,
    )


@_mendable()
def probe(agent: Agent | PathLike, *, steps: int | None = None, seed: int = 0) -> Probing:
    """What an agent's representation knows of the game's state, beside two controls.

    As `relic-rl probe` finds it; nothing is added to a run's folder.

    Args:
      agent: loaded, or a run's folder or policy file.
      steps: to play, over all episodes; None: `evaluation.probe_steps`, minutes on a laptop.
      seed: of the episodes and of the untrained encoder.

    Raises:
      UserError: as `evaluate`; of a game whose memory nobody has annotated; too few steps.
    """
    check_seed(seed, name="seed")
    found = probe_agent(
        _loaded(agent)._trained,
        seed=seed,
        stop=StopRequest(),
        tell=lambda what, done, of, noun: None,
        steps=steps,
    )
    assert found is not None  # nothing asks it to stop
    return found


def read_run(run_dir: PathLike) -> RunTables:
    """A run's tables and records, also while it trains.

    Columns of text are left out.

    Raises:
      UserError: the folder holds no run, or a table is damaged.
    """
    folder = Path(run_dir)
    run_folder.expect_run(folder)
    config, game, seed, _ = read_identity(folder)
    return RunTables(
        game=game,
        seed=seed,
        settings=values(config),
        metrics=_columns(folder / METRICS_FILE, partial(map, json.loads)),
        episodes=_columns(folder / EPISODES_FILE, partial(csv.DictReader, strict=True)),
        evaluations=_columns(folder / EVALUATIONS_FILE, partial(csv.DictReader, strict=True)),
        probes=tuple(read_probings(folder)),
        robustness=tuple(read_judgements(folder)),
    )


def report(
    dirs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    against: str | Sequence[str] = DEFAULT_AGAINST,
) -> Written:
    """Writes tables, pictures and one HTML page over runs and sweeps: `relic-rl report`.

    Args:
      dirs: folders of runs and sweeps, or one.
      out: folder for what is written.
      against: published methods and .csv files of scores, or one.

    Raises:
      UserError: nothing to report on, or an unknown published method.
    """
    folders = [dirs] if isinstance(dirs, str | os.PathLike) else dirs
    methods = (against,) if isinstance(against, str) else tuple(against)
    try:
        return write_report([Path(folder) for folder in folders], Path(out), methods)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _loaded(agent: Agent | PathLike) -> Agent:
    return agent if isinstance(agent, Agent) else Agent(agent)


def _one_lane(frames: NDArray[np.uint8], reward: float) -> StepResult:
    """What an environment of one lane, in mid-episode, gives."""
    no = np.zeros(1, np.bool_)
    return StepResult(
        frames=frames,
        rewards=np.array([reward], np.float32),
        terminated=no,
        truncated=no,
        life_lost=no,
        final_frames=frames,
        episodes=[],
    )


def _columns(
    path: Path, read: Callable[[list[str]], Iterable[Mapping[str, Any]]]
) -> dict[str, NDArray[np.float64]]:
    """Those of a table that are numbers; none if the run has not written it yet."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        listed = list(read(text.rpartition("\n")[0].splitlines()))  # without a line cut short
        if not all(isinstance(row, Mapping) for row in listed):
            raise ValueError("a line is no object")
        names = dict.fromkeys(name for row in listed for name in row if name not in _LISTS)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    columns = {name: np.array([_number(row.get(name)) for row in listed]) for name in names}
    return {name: column for name, column in columns.items() if not np.isnan(column).all()}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan
