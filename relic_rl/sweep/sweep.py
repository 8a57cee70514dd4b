"""`relic-rl sweep`: games x seeds x settings, each an ordinary `train` in a process of its own.

The processes are this machine's, or those of a Ray cluster whose nodes share the sweep's folder.

The run folders are the truth: a run is done when its folder says so, resumes if it holds a run, and
starts if it does not. So a sweep can be stopped or killed at any time,
and the same command continues with it.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from envs.games import GAME_SETS
from relic_rl import config as configuration
from relic_rl.console import Console, end_in_words, print_line
from relic_rl.errors import UsageError, UserError, command
from relic_rl.machine import devices
from relic_rl.machine.resources import check_disk
from relic_rl.records.folders import FolderLock, check_path, make_writable
from relic_rl.records.identity import check_seed, environment_of
from relic_rl.records.run_folder import holds_run
from relic_rl.records.run_status import read_status
from relic_rl.records.sweep_folder import SWEEP_FILE
from relic_rl.stop import StopRequest
from relic_rl.sweep import plan
from relic_rl.sweep.backends import BACKENDS, BackendKind, Order
from relic_rl.sweep.request import Placement, PlannedRun, SweepRequest
from relic_rl.sweep.run_process import command_line
from relic_rl.sweep.runs import SweepRuns


def sweep(
    path: Path,
    *,
    settings: Mapping[str, str],
    games: Sequence[str] = (),
    seeds: Sequence[int] = (),
    preset: str | None = None,
    retry_failed: bool = False,
    backend: str | None = None,
    ray_address: str | None = None,
    max_parallel: int | None = None,
    dry_run: bool = False,
    commands: bool = False,
) -> None:
    """Runs a sweep, or resumes it; returns when every run has ended or a signal came.

    Args:
      path: the sweep's folder. If it holds a sweep and nothing else is asked for, that resumes.
      settings: `section.field` to a value, or several with commas.
      games: names, and those of `envs.games.GAME_SETS`; none: all 57.
      seeds: none: 0.
      preset: None: the machine's.
      retry_failed: also start the runs that failed before.
      backend: where the runs are; None, like the next two: as the sweep began.
      ray_address: of the cluster to run on.
      max_parallel: runs at once.
      dry_run: say what it will take, and start nothing but a trial.
      commands: print the runs' command lines, and start nothing.

    Raises:
      UsageError: something asked for is not possible, or is not what the folder's sweep is.
      UserError: the folder is in use, or is something else; or runs failed, and all others are
        done.
    """
    if dry_run and commands:
        raise UsageError("sweep: give --dry-run or --commands")
    kept = SweepRequest.read(path) if (path / SWEEP_FILE).exists() else None
    asks = games or seeds or preset or settings
    request = kept if kept and not asks else _request(games, seeds, preset, settings)
    runs = request.runs()
    config_of = {run.folder: devices.resolve(request.preset, run.settings).config for run in runs}
    _expect_fit(path, kept, request, runs)
    begun = kept.placement if kept else Placement()
    placement = begun.changed(backend=backend, ray_address=ray_address, max_parallel=max_parallel)
    kind, configs = BACKENDS[placement.backend], list(dict.fromkeys(config_of.values()))
    if not (kind.joins_cluster or commands):
        for config in configs:
            devices.learner_device(config)  # refused here, before the folder is taken
    check_path(path.absolute(), "sweep folder")
    works = [plan.Work(run, config_of[run.folder], read_status(path / run.folder)) for run in runs]
    works = [work for work in works if not work.done.finished]
    if dry_run:
        if kind.joins_cluster:
            raise UsageError("--dry-run tries this machine: give --backend local")
        _try(Order(path, request.preset, configs, placement, len(works)), works, kind)
        return
    order = Order(path, request.kept_preset(path), configs, placement, len(runs))
    make_writable(path, "sweep folder")
    with FolderLock(path, "sweep folder", "give another folder"):
        if commands:
            _record(path, request, placement)
            for work in works:
                print(command_line(work.run, order.preset, path / work.run.folder))
            return
        console = Console()
        ends = sorted({end_in_words(config.run.budget) for config in configs})
        console.say(f"each run ends after {', or '.join(ends)}")
        with closing(kind.make(order)) as where:
            needed = plan.needed_disk_bytes([work.config for work in works], where.slots())
            check_disk(needed, path, [path / work.run.folder for work in works])
            _record(path, request, placement)  # only now: what was refused binds nobody
            left = SweepRuns(path, order.preset, runs, where, console, retry_failed=retry_failed)
            with StopRequest().listening() as stop:
                left.run(stop)
        left.say_end(stop)


def _try(order: Order, works: Sequence[plan.Work], kind: BackendKind) -> None:
    """Says what the runs will take; its trials are in folders of their own."""
    with StopRequest().listening() as stop, closing(Console(stream=sys.stderr)) as console:
        lines = plan.plan(
            order.path,
            works,
            lambda folder: kind.make(order._replace(path=folder)),
            stop,
            console.say,
        )
        for line in lines:
            print_line(line)


def _record(path: Path, request: SweepRequest, placement: Placement) -> None:
    """Writes what was asked, unless the sweep has begun before."""
    if not (path / SWEEP_FILE).exists():
        request.write(path, placement)


def _request(
    games: Sequence[str], seeds: Sequence[int], preset: str | None, settings: Mapping[str, str]
) -> SweepRequest:
    """What was asked, in a normal form."""
    for seed in seeds:
        check_seed(seed)
    chosen = {name for game in games or ("all",) for name in _named(game)}
    return SweepRequest(
        games=tuple(sorted(chosen)),
        seeds=tuple(sorted(set(seeds))) or (0,),
        preset=devices.chosen_preset(preset, settings),
        settings={name: _values(name, text) for name, text in sorted(settings.items())},
    )


def _named(game: str) -> tuple[str, ...]:
    """The games of a set, or the one that is called so."""
    found = GAME_SETS.get(game.lower())
    return found.games if found else (environment_of(game).name,)


def _values(name: str, text: str) -> tuple[str, ...]:
    parts = [text] if configuration.is_list(name) else text.split(",")
    values = tuple(part.strip() for part in parts)
    if not all(values):
        raise UsageError(f"--{name} is {text!r}: give values with a comma between them")
    return values


def _expect_fit(
    path: Path, kept: SweepRequest | None, request: SweepRequest, runs: Sequence[PlannedRun]
) -> None:
    """Refuses to begin a sweep in a folder that is something else, or to continue another one.

    Raises:
      UsageError: the folder is another sweep.
      UserError: it is a run, or holds runs of another origin.
    """
    if kept is not None:
        if difference := kept.difference(request):
            raise UsageError(
                f"{path} is another sweep: {difference}; {command('sweep', path)} continues it, or "
                "give another folder"
            )
        return
    for folder in (path, *(path / run.folder for run in runs)):
        if holds_run(folder):
            raise UserError(f"{folder} holds a run of another origin: give another sweep folder")
