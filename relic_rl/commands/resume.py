"""Resume a run from its last checkpoint.

Settings that differ from the run's own need --allow-change SECTION.FIELD too, but for run.frames,
run.minutes, run.ray_address, run.track and run.keep.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relic_rl import config as configuration
from relic_rl.commands import arguments
from relic_rl.config import Config
from relic_rl.console import end_in_words
from relic_rl.counters import Progress
from relic_rl.errors import UsageError, UserError
from relic_rl.records import metadata, run_folder
from relic_rl.records.identity import RunIdentity, environment_of, read_identity
from relic_rl.records.metrics import EVALUATIONS_FILE
from relic_rl.records.run_status import (
    has_evaluations,
    is_finished,
    last_evaluation,
    last_metrics,
)

if TYPE_CHECKING:
    from relic_rl.records.checkpoint import Checkpoint

USAGE = "RUN_DIR [flags] [--SECTION.FIELD VALUE ...]"
CHANGEABLE = ("run.frames", "run.minutes", "run.ray_address", "run.track", "run.keep")
"""Settings that a resume changes without asking: when to end, where to act, who is told,
what is left."""


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_run_dir(parser)
    parser.add_argument(
        "--allow-change",
        metavar="SECTION.FIELD",
        nargs="+",
        choices=arguments.Suggestions(configuration.field_types()),
        help="Settings that may differ from what the checkpoint was trained with",
    )
    arguments.add_settings(parser, short=("--frames", "--minutes"))


def run(run_dir: Path, *, settings: Mapping[str, str], allow_change: Sequence[str] = ()) -> None:
    """Resumes a run from its last sound checkpoint.

    A run that ended before its first checkpoint starts again.

    Args:
      run_dir: the run's folder.
      settings: by `section.field`; those in `CHANGEABLE` may always change.
      allow_change: other fields that may differ from what the checkpoint was trained with.

    Raises:
      UsageError: another setting differs, by a flag or by an edit of config.toml; or the run is
        finished, and its budget is not raised.
      UserError: the folder is not fit, or holds no sound checkpoint; or the run is finished, and
        its checkpoints were removed.
    """
    configuration.expect_fields((*settings, *allow_change))
    with run_folder.existing_run(run_dir):
        recorded = read_identity(run_dir)
        identity = recorded._replace(config=configuration.changed(recorded.config, settings))

        from relic_rl.commands import foreground  # loads torch, which takes seconds
        from relic_rl.machine.devices import gpu_warning
        from relic_rl.machine.resources import check_resources
        from relic_rl.records.checkpoint import CheckpointStore

        check_resources(identity.config, run_dir)
        with foreground.console_of(identity.config, run_dir) as console:
            store = CheckpointStore(run_dir)
            checkpoint = None if store.is_empty else store.load()
            plan = gpu_warning(identity.config)
            plan += f"resuming {identity.game}, seed {identity.seed}, in {run_dir}: "
            plan += f"{_done(checkpoint)}\n  until {end_in_words(identity.config.run.budget)}"
            if checkpoint is None:
                _expect_no_results(run_dir, recorded.config)
                begun = metadata.read_metadata(run_dir)  # config.toml may have been edited since
                fixed = {name: begun[name] for name in ("game", "seed") if name in begun}
                before = _settings(recorded) | fixed
            else:
                _expect_unfinished(run_dir, checkpoint, identity.config)
                before = checkpoint.state["settings"]
            plan += _changes(before, identity, allow_change)
            metadata.expect_emulator(run_dir, environment_of(identity.game).find_rom_md5())
            foreground.train(run_dir, identity, plan, console, checkpoint, resumed=True)


def _done(checkpoint: "Checkpoint | None") -> str:
    if checkpoint is None:
        return "it ended before its first checkpoint and starts again"
    progress = Progress(**checkpoint.state["progress"])
    return (
        f"{progress.env_frames:,} frames, {progress.updates:,} updates and "
        f"{progress.minutes:.1f} minutes are done"
    )


def _expect_unfinished(run_dir: Path, checkpoint: "Checkpoint", config: Config) -> None:
    """Refuses a run whose budget is spent and whose last evaluation is done."""
    done = Progress(**checkpoint.state["progress"])
    frames, minutes = done.env_frames, done.minutes
    is_evaluated = done.evaluated_minutes >= minutes  # perhaps by an interim evaluation
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


def _expect_no_results(run_dir: Path, recorded: Config) -> None:
    """Refuses a run without checkpoints that may be finished: a start would erase its tables."""
    evaluation = last_evaluation(run_dir)
    if not evaluation and has_evaluations(run_dir):
        raise UserError(
            f"{run_dir / EVALUATIONS_FILE} is damaged, and without a checkpoint nothing else says "
            "whether the run is finished: its tables stay as they are; mend it, or start a new run"
        )
    if is_finished(configuration.values(recorded), evaluation):
        raise UserError(
            f"{run_dir} is finished and its checkpoints are gone: its tables stay as they are; to "
            "train on, start a new run"
        )
    surely_minutes = max(1.0, 2 * recorded.run.checkpoint_every_minutes)
    if last_metrics(run_dir).get("minutes", 0.0) > surely_minutes:
        raise UserError(
            f"{run_dir} has trained for longer than to its first checkpoint, and none is there: "
            "its tables stay as they are; start a new run"
        )


def _settings(run: RunIdentity) -> dict[str, Any]:
    """As a checkpoint holds them: through JSON."""
    found: dict[str, Any] = json.loads(
        json.dumps(configuration.identity(run.config, run.game, run.seed))
    )
    return found


def _changes(before: Mapping[str, Any], run: RunIdentity, allowed: Sequence[str]) -> str:
    """A line for each setting that differs from those before, if it may."""
    found = configuration.differences(before, _settings(run))
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
