"""Train games x seeds x settings, each in a process of its own; given again, resume them.

A setting with several values (--representation.arm relic none) makes a grid.
"""

from pathlib import Path
from typing import Any

from envs.games import ATARI57, GAME_SETS
from relic_rl.commands import arguments
from relic_rl.sweep.backends import BACKENDS

USAGE = "SWEEP_DIR [flags] [--SECTION.FIELD VALUE ...]"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_path(
        parser,
        "sweep_dir",
        metavar="SWEEP_DIR",
        help="The sweep's folder, given first; alone, what it holds is resumed",
    )
    parser.add_argument(
        "--games",
        metavar="GAME",
        nargs="+",
        choices=arguments.Suggestions([*GAME_SETS, *(game.slug for game in ATARI57.values())]),
        help="Any of the 57, or a set: `all` (by default), `atari100k` (that benchmark's 26), "
        "`atari5` (five that were chosen to stand for the 57)",
    )
    arguments.add_number(
        parser, "--seeds", nargs="+", least=0, help="Seeds for each game; by default 0"
    )
    arguments.add_preset(parser)
    parser.add_argument(
        "--backend",
        choices=list(BACKENDS),
        help="Processes here, or of a Ray cluster that shares the folder; by default as the sweep "
        "began, at first local",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="Address for --backend ray: auto, HOST:PORT or ray://HOST:PORT; by default as "
        "the sweep began, at first local",
    )
    arguments.add_number(
        parser,
        "--max-parallel",
        help="Runs at once; by default as the sweep began, at first as many as cores, memory and "
        "GPUs allow",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="Also start the runs that failed before"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Start no run: say what hours, memory and disk it will take, by a trial of about a "
        "minute for each combination of settings",
    )
    parser.add_argument(
        "--commands",
        action="store_true",
        help="Start nothing: print a command line for each run that is not done, for a batch "
        "system's job array",
    )
    short = ("--frames", "--minutes", "--engine", "--track", "--keep")
    arguments.add_settings(parser, short=short, several=True)


def run(sweep_dir: Path, **asked: Any) -> None:
    """Runs the sweep: see `relic_rl.sweep.sweep.sweep`."""
    from relic_rl.sweep import sweep

    sweep.sweep(sweep_dir, **asked)
