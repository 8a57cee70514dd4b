"""What each verb does around the work itself: folders, locks, signals, and what the user reads."""

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from envs.games import find_game
from envs.protocol import PROTOCOLS
from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.console import Console, count, counted, end_in_words, size
from relic_rl.counters import FRAMES_PER_STEP
from relic_rl.errors import UsageError, UserError
from relic_rl.evaluation.evaluate import evaluate_agent
from relic_rl.evaluation.trained import load_trained
from relic_rl.machine import devices
from relic_rl.machine.capacity import available_bytes
from relic_rl.machine.resources import check_resources, is_out_of_memory, replay_bytes
from relic_rl.records import run_folder
from relic_rl.records.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from relic_rl.records.identity import RunIdentity, check_seed, read_identity
from relic_rl.records.metrics import Evaluation
from relic_rl.records.progress import is_finished, last_evaluation
from relic_rl.records.run_log import log_to
from relic_rl.run_game import game_name, game_rom_md5, game_slug, normalized_score
from relic_rl.stop import StoppedEarly, StopRequest
from relic_rl.train import Training

CHANGEABLE = ("run.frames", "run.minutes", "run.ray_address")
"""Settings that a resume changes without asking: they only say when to end, and where to act."""


def train(
    game: str, preset: str | None, seed: int, run_dir: Path | None, overrides: dict[str, Any]
) -> None:
    """Trains an agent from the start, in a new run folder."""
    name = game_name(game)
    resolved = configuration.resolve(devices.chosen_preset(preset), overrides)
    check_seed(seed)
    path = run_dir or run_folder.default_path(game_slug(name), resolved.preset, seed)
    check_resources(resolved.config, path)
    device = devices.learner_device(resolved.config)  # refused here, before the folder is taken
    with run_folder.new_run(path):
        run = RunIdentity(resolved.config, name, seed, resolved.preset)
        run_folder.write_metadata(
            path,
            game=name,
            rom_md5=game_rom_md5(name),
            seed=seed,
            protocol=PROTOCOLS[run.config.env.protocol],
            action_set=run.config.env.action_set,
            preset=resolved.preset,
            learner_device=devices.device_name(device),
        )
        # Comes last and whole: a folder that has it can be resumed.
        run_folder.write_whole(path / run_folder.CONFIG_FILE, run.dump())
        console = _console(run.config)
        with log_to(path / run_folder.LOG_FILE, console):
            _run(path, run, _plan(path, run), console)


def resume(run_dir: Path, overrides: dict[str, Any], allow_change: Sequence[str]) -> None:
    """Goes on with a run from its last sound checkpoint.

    A run that ended before its first checkpoint starts again.

    Args:
      run_dir: the run's folder.
      overrides: settings by `section.field`; the budget and the Ray address may always change.
      allow_change: other fields that may differ from what the checkpoint was trained with.

    Raises:
      UsageError: another setting differs, by a flag or by an edit of config.toml; or the run is
        finished, and its budget is not raised.
      UserError: the folder is not fit, or holds no sound checkpoint; or the run is finished, and
        its checkpoints were removed.
    """
    configuration.expect_fields((*overrides, *allow_change))
    with run_folder.existing_run(run_dir):
        recorded = read_identity(run_dir)
        run = recorded._replace(config=configuration.changed(recorded.config, overrides))
        check_resources(run.config, run_dir)
        console = _console(run.config)
        with log_to(run_dir / run_folder.LOG_FILE, console):
            store = CheckpointStore(run_dir)
            checkpoint = None if store.is_empty else store.load()
            plan = f"resuming {run.game}, seed {run.seed}, in {run_dir}: {_done(checkpoint)}"
            plan += f"\n  until {end_in_words(run.config.run.budget)}"
            if checkpoint is None:
                _expect_nothing_earned(run_dir, recorded.config)
            else:
                _expect_unfinished(run_dir, checkpoint, run.config)
                plan += _changes(checkpoint, run, allow_change)
            run_folder.expect_emulator(run_dir, game_rom_md5(run.game))
            _run(run_dir, run, plan, console, checkpoint, resumed=True)


def _done(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "it ended before its first checkpoint and starts again"
    progress = checkpoint.state["progress"]
    return (
        f"{FRAMES_PER_STEP * progress['env_steps']:,} frames, {progress['updates']:,} updates and "
        f"{progress['minutes']:.1f} minutes are done"
    )


def _expect_unfinished(run_dir: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Refuses a run whose budget is spent and whose last evaluation is done: nothing is left."""
    done = checkpoint.state["progress"]
    frames, minutes = FRAMES_PER_STEP * done["env_steps"], done["minutes"]
    is_evaluated = done["evaluated_minutes"] >= minutes  # perhaps by an interim evaluation
    settings = configuration.values(config)
    if not is_evaluated or not is_finished(settings, last_evaluation(run_dir)):
        return
    if 0.0 < config.run.minutes <= minutes:
        raise UsageError(
            f"the run is finished: run.minutes is {config.run.minutes:g}, and {minutes:.1f} are "
            "done: give more --minutes, or 0 for no limit"
        )
    if config.run.frames <= frames:
        raise UsageError(
            f"the run is finished: run.frames is {config.run.frames:,}, and {frames:,} are done: "
            "give more --frames"
        )


def _expect_nothing_earned(run_dir: Path, recorded: Config) -> None:
    """Refuses a finished run without checkpoints: to start it again would erase its tables."""
    if is_finished(configuration.values(recorded), last_evaluation(run_dir)):
        raise UserError(
            f"{run_dir} is finished and its checkpoints are gone: its tables stay as they are; to "
            "train on, start a new run"
        )


def _changes(checkpoint: Checkpoint, run: RunIdentity, allowed: Sequence[str]) -> str:
    """What differs from what the checkpoint was trained with, a line each, if it may."""
    # Through JSON, because the checkpoint's settings were.
    now = json.loads(json.dumps(configuration.identity(run.config, run.game, run.seed)))
    found = configuration.differences(checkpoint.state["settings"], now)
    changes = {name: pair for name, pair in found.items() if name not in CHANGEABLE}
    refused = [name for name in changes if name not in allowed]
    if refused:
        shown = ", ".join(f"{name} ({changes[name][0]} to {changes[name][1]})" for name in refused)
        if fixed := [name for name in refused if "." not in name]:
            raise UsageError(f"resume would change {shown}: a run keeps its {' and '.join(fixed)}")
        raise UsageError(
            f"resume would change {shown}: give --allow-change {' '.join(refused)} if you mean it"
        )
    return "".join(f"\n  changed: {n} from {old} to {new}" for n, (old, new) in changes.items())


def evaluate(run_dir: Path, episodes: int | None, seed: int, *, as_json: bool) -> None:
    """Plays full episodes with a run's last sound checkpoint; changes nothing in the folder."""
    check_seed(seed)
    # ale-py greets on stdout, which belongs to the result.
    with redirect_stdout(sys.stderr), StopRequest().listening() as stop:
        agent, config, game, env_frames, _ = load_trained(run_dir)
        episodes = episodes or config.evaluation.episodes
        scores = evaluate_agent(agent, config, game, seed=seed, episodes=episodes, stop=stop)
    if not scores:
        raise UserError("stopped before all episodes were played")
    mean = sum(scores) / len(scores)
    result = {
        "game": game,
        "env_frames": env_frames,
        "episodes": episodes,
        "scores": scores,
        "mean_score": mean,
        "human_normalized_score": normalized_score(game, mean),
        "protocol": config.env.protocol,
    }
    if as_json:
        print(json.dumps(result))
        return
    print(f"{game} after {env_frames:,} frames, protocol {config.env.protocol}")
    shown = ", ".join(f"{score:.0f}" for score in scores)
    print(f"scores of {counted(episodes, 'episode')}: {shown}")
    print(f"mean score {mean:.1f}{_against_human(game, mean)}")


def _console(config: Config) -> Console:
    return Console(budget=config.run.budget, plain_seconds=config.run.log_every_seconds)


def _run(
    path: Path,
    run: RunIdentity,
    plan: str,
    console: Console,
    checkpoint: Checkpoint | None = None,
    *,
    resumed: bool = False,
) -> None:
    try:
        with StopRequest().listening() as stop:
            console.say(plan)
            with stop.nothing_to_lose():
                training = _built(path, run, console, checkpoint)
                if resumed:  # only now: one that was refused leaves the folder as it was
                    run_folder.write_whole(path / run_folder.CONFIG_FILE, run.dump())
                    run_folder.record_resume(path, devices.device_name(training.device))
            try:
                evaluation = training.run(stop)
            finally:
                training.close()
        console.say(_farewell(path, run.game, evaluation))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "out of memory: begin a run with a lower --learner.batch_sequences, --actor.lanes or "
            f"--replay.max_bytes; or free memory, and `relic-rl resume {path}` goes on from the "
            "last checkpoint"
        ) from error
    except StoppedEarly:
        console.say(f"stopped before it began; `relic-rl resume {path}` goes on")
    finally:
        console.close()


def _built(
    path: Path, run: RunIdentity, console: Console, checkpoint: Checkpoint | None
) -> Training:
    """The run, ready to go on.

    Raises:
      CheckpointError: the checkpoint is sound but of other shapes than the configuration's.
    """
    try:
        return Training(path, run.config, run.game, run.seed, console, checkpoint)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        if checkpoint is None or is_out_of_memory(error):
            raise
        problem = " ".join(str(error).split())
        raise CheckpointError(
            f"checkpoint {checkpoint.path} does not fit the configuration ({problem}): undo what "
            "was changed, or start a new run"
        ) from error


def _plan(path: Path, run: RunIdentity) -> str:
    """What a run is about to do, before it does it."""
    config = run.config
    device = devices.learner_device(config)
    return "\n".join(
        [
            f"training {run.game}, seed {run.seed}, preset {run.preset}, arm "
            f"{config.representation.arm} ({config.representation.encoder} encoder)",
            f"  engine {config.run.engine}, learner on {device.type}, {config.actor.lanes} lanes, "
            f"protocol {config.env.protocol}, {config.env.action_set} action set",
            f"  replay of {count(config.replay.capacity_steps)} steps, about "
            f"{size(replay_bytes(config))} when full, at most {size(config.replay.max_bytes)} "
            f"({size(available_bytes())} are free)",
            f"  until {end_in_words(config.run.budget)}; writes to {path}; Ctrl-C "
            "stops with a checkpoint",
        ]
    )


def _farewell(path: Path, game: str, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return f"stopped with a checkpoint; `relic-rl resume {path}` goes on"
    if not evaluation.updates:
        return (
            "finished, but nothing was learned: updates begin after replay.min_steps, there was "
            f"none in {evaluation.env_frames:,} frames; `relic-rl resume {path}` with more "
            "--frames or --minutes goes on"
        )
    score, curves = evaluation.mean_score, path / "curves.png"
    return (
        f"finished: mean score {score:.1f} over {counted(evaluation.episodes, 'episode')}"
        f"{_against_human(game, score)}{f'; curves in {curves}' if curves.exists() else ''}"
    )


def _against_human(game: str, score: float) -> str:
    normalized = normalized_score(game, score)
    if normalized is None:
        return ""
    known = find_game(game)
    return (
        f" (random play {known.random:,.1f}, human {known.human:,.1f}: "
        f"{100 * normalized:.1f} % human-normalized)"
    )
