"""The command line: which verb runs, and one clear line for everything that goes wrong."""

import contextlib
import io
import sys
from typing import Any

import tyro

from relic_rl.commands.arguments import one_line, split_overrides
from relic_rl.commands.verbs import COMMANDS
from relic_rl.errors import UsageError, UserError, nearest
from relic_rl.machine import process

DESCRIPTION = "R2D2 agents with a ReLIC representation loss on the 57 Atari games."


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    process.prepare()
    try:
        overrides, rest = split_overrides(arguments, several=arguments[:1] == ["sweep"])
        _parsed(rest).run(overrides)
    except UserError as error:
        print(f"relic-rl: {_in_one_line(error)}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:  # before or after the work, which stops in order
        print("relic-rl: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"relic-rl: {_in_one_line(error)}", file=sys.stderr)
        return 1
    except MemoryError:
        print("relic-rl: out of memory: lower --replay.max_bytes or --actor.lanes", file=sys.stderr)
        return 1
    return 0


def _in_one_line(error: Exception) -> str:
    """Whatever names a message quotes."""
    return " ".join(str(error).splitlines())


def _parsed(arguments: list[str]) -> Any:
    """The command that the arguments spell; help goes out as tyro prints it."""
    verb = arguments[0] if arguments else "--help"
    options: dict[str, Any] = {
        "config": (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    }
    if verb in ("-h", "--help"):
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS, args=["--help"], prog="relic-rl", description=DESCRIPTION, **options
        )
    if verb not in COMMANDS:
        raise UsageError(
            f"unknown command {verb!r}{nearest(verb, COMMANDS)}; there are {', '.join(COMMANDS)}"
        )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(COMMANDS[verb], args=arguments[1:], prog=f"relic-rl {verb}", **options)
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise UsageError(f"{verb}: {one_line(complaint.getvalue())}") from None


if __name__ == "__main__":
    sys.exit(main())
