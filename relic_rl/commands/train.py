"""Train an agent on one game."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.games import slug_of
from envs.interface import EnvSpec
from relic_rl import config as configuration
from relic_rl.commands import arguments
from relic_rl.commands.printing import under_rules
from relic_rl.console import count, end_in_words, size
from relic_rl.errors import UsageError
from relic_rl.records import metadata, run_folder
from relic_rl.records.folders import write_whole
from relic_rl.records.identity import RunIdentity, check_seed, environment_of
from relic_rl.runtime.engines import ENGINES

USAGE = "GAME [flags] [--SECTION.FIELD VALUE ...]"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_game(parser)
    arguments.add_preset(parser)
    arguments.add_number(parser, "--seed", least=0, help="Seed of all random numbers")
    arguments.add_path(
        parser,
        "--run-dir",
        metavar="DIR",
        help="Where to write; by default runs/GAME-PRESET-sSEED-TIME",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="Name of the run, in place of PRESET in the folder's name"
    )
    arguments.add_number(
        parser,
        "--lanes-per-actor",
        help="With --actors: environments of each actor; --actor.lanes is their product",
    )
    arguments.add_settings(parser, short=arguments.SHORT)


def run(
    game: str,
    *,
    settings: Mapping[str, Any],
    preset: str | None = None,
    seed: int = 0,
    run_dir: Path | None = None,
    name: str | None = None,
    lanes_per_actor: int | None = None,
) -> Path:
    """Trains an agent from the start, in a new run folder, which is returned."""
    game = environment_of(game).name
    if name is not None and (run_dir is not None or not name or "/" in name):
        raise UsageError(f"--name is {name!r}: give a word without '/', and without --run-dir")
    settings = _with_lanes(settings, lanes_per_actor)
    configuration.expect_fields(settings)
    check_seed(seed)

    from relic_rl import build  # after what needs no torch: that takes seconds to load
    from relic_rl.commands import foreground
    from relic_rl.machine import devices
    from relic_rl.machine.resources import check_resources

    resolved = devices.resolve(preset, settings)
    spec = build.env_spec(resolved.config, game)
    path = run_dir or run_folder.default_path(slug_of(game), resolved.preset, seed, name)
    check_resources(resolved.config, path)
    device = devices.learner_device(resolved.config)  # refused here, before the folder is taken
    with run_folder.new_run(path):
        identity = RunIdentity(resolved.config, game, seed, resolved.preset)
        metadata.write_metadata(
            path,
            spec=spec,
            seed=seed,
            preset=resolved.preset,
            learner_device=devices.device_name(device),
            learner_threads=devices.learner_threads(resolved.config),
        )
        # Comes last and whole: a folder that has it can be resumed.
        write_whole(path / run_folder.CONFIG_FILE, identity.dump())
        with foreground.console_of(identity.config, path) as console:
            foreground.train(path, identity, _plan(path, identity, spec, device.type), console)
    return path


def _with_lanes(settings: Mapping[str, str], lanes_per_actor: int | None) -> Mapping[str, str]:
    """The settings, and the lanes that `--actors N --lanes-per-actor M` stand for.

    Raises:
      UsageError: M without N, or beside another word on the lanes.
    """
    if lanes_per_actor is None:
        return settings
    if "actor.actors" not in settings or "actor.lanes" in settings:
        raise UsageError("--lanes-per-actor goes with --actors, and without --actor.lanes")
    actors = settings["actor.actors"]
    if not actors.isdecimal():
        return settings  # which will be refused
    return {**settings, "actor.lanes": str(int(actors) * lanes_per_actor)}


def _plan(path: Path, run: RunIdentity, spec: EnvSpec, device: str) -> str:
    """What a run is about to do, before it does it."""
    from relic_rl.machine import devices
    from relic_rl.machine.capacity import available_bytes
    from relic_rl.machine.resources import replay_bytes

    config = run.config
    waits = device == "cuda" and not ENGINES[config.run.engine].samples_ahead
    return devices.gpu_warning(config) + "\n".join(
        [
            *(["warning: acting waits for each update: give --engine threads"] if waits else []),
            f"training {run.game}, seed {run.seed}, preset {run.preset}, arm "
            f"{config.representation.arm} ({config.representation.encoder} encoder)",
            f"  engine {config.run.engine}, learner on {device}, {config.actor.lanes} lanes"
            f"{under_rules(spec)}",
            f"  replay of {count(config.replay.capacity_steps)} steps, about "
            f"{size(replay_bytes(config))} when full, at most {size(config.replay.max_bytes)} "
            f"({size(available_bytes())} are free)",
            f"  until {end_in_words(config.run.budget)}; writes to {path}; Ctrl-C "
            "stops with a checkpoint",
        ]
    )
