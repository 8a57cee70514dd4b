"""The command line: which verb runs, and one clear line for everything that goes wrong."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import shtab

import relic_rl
from relic_rl.commands import (
    bench,
    config,
    doctor,
    evaluate,
    export,
    games,
    probe,
    report,
    resume,
    status,
    sweep,
    train,
    watch,
)
from relic_rl.commands.arguments import Parser, add_verb, spelled
from relic_rl.errors import UserError, is_out_of_memory
from relic_rl.machine import process
from relic_rl.stop import whole_process

VERBS = (
    train,
    resume,
    evaluate,
    probe,
    watch,
    export,
    sweep,
    status,
    config,
    report,
    games,
    bench,
    doctor,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit status."""
    process.prepare()
    if os.environ.get("COLUMNS") == "0":  # for rich a screen on which nothing is shown
        del os.environ["COLUMNS"]
    sys.stdout, sys.stderr = _writable(sys.stdout), _writable(sys.stderr)
    try:
        with whole_process():
            _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()  # a result that cannot be written is no success
    except UserError as error:
        return _fail(str(error), error.exit_status)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:  # before or after the work, which stops in order
        return _fail("stopped", 130)
    except OSError as error:
        return _fail(_in_words(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail(
            "out of memory: free some of the machine's, or of the GPU's, or ask for less", 1
        )
    return 0


def _writable(stream: TextIO | None) -> TextIO:
    """A stream that takes all text; what its encoding lacks is written as an escape."""
    if stream is None:  # closed by the process that started this one
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _run(arguments: Sequence[str]) -> None:
    given, strange = _parser().parse_known_args(spelled(arguments or ["--help"]))
    named = vars(given)
    del named["print_completion"]  # which has ended the process
    run, parser = named.pop("run"), named.pop("parser")
    if strange:
        parser.refuse(strange)
    run(**named)


def _parser() -> Parser:
    parser = Parser(prog="relic-rl", usage="relic-rl COMMAND ...", description=relic_rl.__doc__)
    parser.add_argument("--version", action="version", version=f"relic-rl {relic_rl.__version__}")
    shtab.add_argument_to(parser, help="Print a shell's completion script and exit.")
    verbs = parser.add_subparsers(prog="relic-rl", metavar="COMMAND", required=True)
    for verb in VERBS:
        add_verb(verbs, verb)
    return parser


def _in_words(error: OSError) -> str:
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, FileNotFoundError):  # which only the current folder has no name for
        return "the folder that this was started in is gone: change to another"
    return error.strerror or str(error)


def _fail(message: str, status: int) -> int:
    """One line, whatever the names hold that it quotes."""
    line = " ".join(message.splitlines())
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(f"relic-rl: {safe}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
