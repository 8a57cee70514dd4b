"""Training in the foreground, for `train` and `resume`: signals, out of memory, the last line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relic_rl.commands.printing import against_human
from relic_rl.config import Config
from relic_rl.console import Console, counted
from relic_rl.errors import UserError, command, is_out_of_memory
from relic_rl.machine import devices
from relic_rl.records import metadata, run_folder
from relic_rl.records.checkpoint import Checkpoint, CheckpointError
from relic_rl.records.folders import write_whole
from relic_rl.records.identity import RunIdentity, environment_of
from relic_rl.records.metrics import Evaluation
from relic_rl.records.run_log import log_to
from relic_rl.stop import StoppedEarly, StopRequest, may_end_process
from relic_rl.train import Training


@contextmanager
def console_of(config: Config, path: Path) -> Iterator[Console]:
    """A console for the run; in the block warnings go to it, and all that is logged to the log."""
    console = Console(budget=config.run.budget, plain_seconds=config.run.log_every_seconds)
    with log_to(path / run_folder.LOG_FILE, console):
        yield console


def train(
    path: Path,
    run: RunIdentity,
    plan: str,
    console: Console,
    checkpoint: Checkpoint | None = None,
    *,
    resumed: bool = False,
) -> None:
    """Trains until the run is over or a signal comes.

    Args:
      path: the run's folder, which this process owns.
      run: what to train.
      plan: what is said first.
      console: where to say it; it is closed at the end.
      checkpoint: to train on from.
      resumed: whether the run has started before, with or without a checkpoint.

    Raises:
      UserError: out of memory.
      CheckpointError: the checkpoint is sound but of other shapes than the configuration's.
    """
    try:
        with StopRequest().listening() as stop:
            console.say(plan)
            with stop.nothing_to_lose():
                training = _built(path, run, console, checkpoint)
                if resumed:  # only now: one that was refused leaves the folder as it was
                    write_whole(path / run_folder.CONFIG_FILE, run.dump())
                    metadata.record_resume(
                        path,
                        learner_device=devices.device_name(training.device),
                        learner_threads=devices.learner_threads(run.config),
                    )
            try:
                evaluation = training.run(stop)
            finally:
                training.close()
        console.say(_farewell(path, run.game, evaluation))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "out of memory: start a run with a lower --learner.batch_sequences, --actor.lanes or "
            f"--replay.max_bytes; or free memory, and {command('resume', path)} continues from the "
            "last checkpoint"
        ) from error
    except StoppedEarly:
        console.say(f"stopped before it began; {command('resume', path)} continues it")
        if not may_end_process():  # a notebook's next cell must not believe that it was trained
            raise
    finally:
        console.close()


def _built(
    path: Path, run: RunIdentity, console: Console, checkpoint: Checkpoint | None
) -> Training:
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


def _farewell(path: Path, game: str, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return f"stopped with a checkpoint; {command('resume', path)} continues it"
    if not evaluation.updates:
        return (
            "finished, but nothing was learned: updates begin after replay.min_steps, there was "
            f"none in {evaluation.env_frames:,} frames; {command('resume', path)} with more "
            "--frames or --minutes continues it"
        )
    score, reference = evaluation.mean_score, environment_of(game).reference
    curves = path / "curves.png"
    return (
        f"finished: mean score {score:.1f} over {counted(evaluation.episodes, 'episode')}"
        f"{against_human(reference, score)}{f'; curves in {curves}' if curves.exists() else ''}"
    )
