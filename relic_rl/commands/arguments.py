"""What verbs share: a parser whose errors are one line, and common arguments.

Defaults stand in a verb's function: an argument that is not given is not passed.
"""

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NoReturn, get_args, get_origin

import shtab

from envs.games import ATARI57
from relic_rl import config as configuration
from relic_rl.errors import UsageError, nearest

_FLAG = re.compile(r"\A--[A-Za-z][\w.-]*")
SHORT = {
    "--frames": "run.frames",
    "--minutes": "run.minutes",
    "--engine": "run.engine",
    "--actors": "actor.actors",
    "--ray-address": "run.ray_address",
    "--track": "run.track",
    "--keep": "run.keep",
}
"""Flags that stand for a setting, in the verbs that have them."""
_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9}
_LONGEST_NUMBER_DIGITS = 20
_LEAST_COLUMNS = 24
"""Of help, however narrow the terminal says it is."""


class Parser(argparse.ArgumentParser):
    """The parser of the command line, or of one verb."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=_HelpFormatter,
            **options,
        )
        self.register("action", None, _StoreOnce)

    def error(self, message: str) -> NoReturn:
        """Raises UsageError, with the verb's name."""
        verb = self.prog.partition(" ")[2]
        message = re.sub(r"^argument (\S+): ", r"\1 ", message)
        raise UsageError(f"{verb}: {message}" if verb else message)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Raises OSError where help cannot be written; argparse itself would be silent."""
        file.write(message)
        file.flush()

    def refuse(self, strange: Sequence[str]) -> NoReturn:
        """Raises UsageError about arguments that the verb does not take."""
        word = next((word for word in strange if word.startswith("-")), strange[0])
        flag = word.partition("=")[0]
        if not flag.startswith("-"):
            self.error(f"{word!r} is one argument too many")
        if "." in flag and self.get_default("settings") is None:
            self.error(f"it takes no settings, but {flag} is given")
        if "." in flag:
            configuration.expect_fields([flag.removeprefix("--")])
        known = [name for action in self._actions for name in action.option_strings]
        fields = {name: _spelled("--" + name.partition(".")[2]) for name in known}
        of_field = [name for name, field in fields.items() if field == flag]
        if not of_field:
            of_field = [name for name, field in fields.items() if field.startswith(flag)]
        few = 0 < len(of_field) <= 3
        hint = f", use {' or '.join(of_field)}" if few else nearest(flag, known)
        self.error(f"unknown flag {flag}{hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Choices that are only suggested are checked where the value is read."""
        choices = action.choices
        if choices is None or isinstance(choices, Suggestions) or value in choices:
            return
        names = [str(choice) for choice in choices]
        message = f"is {value!r}, use {' or '.join(names)}{nearest(str(value), names)}"
        raise argparse.ArgumentError(action, message)


class Suggestions(tuple[str, ...]):
    """Choices for help and completion, of an argument that also takes others."""


def add_verb(verbs: Any, verb: ModuleType) -> None:
    """Adds a verb to the command line.

    Args:
      verbs: what `add_subparsers` returned.
      verb: its module. The docstring describes it, with its first line in the list of all; `USAGE`
        is its arguments in short; `run` is called with those that are given, by name.
    """
    name = verb.__name__.rpartition(".")[2]
    summary, _, rest = (verb.__doc__ or "").partition("\n")
    parser = verbs.add_parser(
        name, usage=f"relic-rl {name} {verb.USAGE}", help=summary, description=f"{summary} {rest}"
    )
    parser.set_defaults(run=verb.run, parser=parser)
    verb.add_arguments(parser)


def add_settings(parser: Parser, *, short: Iterable[str] = (), several: bool = False) -> None:
    """Adds every setting as `--SECTION.FIELD VALUE`; `run` gets those given, `settings`, as text.

    Args:
      parser: of the verb.
      short: those of `SHORT` that the verb has.
      several: whether a setting takes several values, which commas then join.
    """
    parser.set_defaults(settings={})
    flags = {SHORT[flag]: flag for flag in short}
    docs, defaults = configuration.field_docs(), configuration.values(configuration.Config())
    groups = {section: parser.add_argument_group(section) for section in configuration.SECTIONS}
    for name, kind in configuration.field_types().items():
        meaning, source = docs[name]
        target: Any = parser if name in flags else groups[name.partition(".")[0]]
        target.add_argument(
            *([flags[name]] if name in flags else []),
            f"--{name}",
            dest=name,
            action=_StoreSetting,
            nargs="+" if several else None,
            help=f"{meaning} [{shown(defaults[name])}; {source}]".replace("%", "%%"),
            **_form(kind),
        )


def add_path(parser: Parser, name: str, *, metavar: str, **options: Any) -> None:
    """Adds an argument that is a path."""
    argument = parser.add_argument(name, metavar=metavar, type=path, **options)
    is_file = "FILE" in metavar
    argument.complete = shtab.FILE if is_file else shtab.DIRECTORY  # type: ignore[attr-defined]


def add_run_dir(parser: Parser) -> None:
    """Adds RUN_DIR, the folder of an existing run."""
    add_path(parser, "run_dir", metavar="RUN_DIR", help="The run's folder")


def add_agent(parser: Parser, *, or_else: str = "") -> None:
    """Adds who plays: a run's folder, a policy file or, with --trained, a game; or what is said."""
    others = f", {or_else}" if or_else else ""
    add_path(
        parser,
        "run_dir",
        metavar="RUN_DIR",
        help=f"The run's folder{others}, or a policy FILE that `relic-rl export` wrote",
    )
    parser.add_argument(
        "--trained",
        action="store_true",
        help="RUN_DIR is a game's name: its agent that ships with relic-rl plays",
    )


def add_game(parser: Parser, **options: Any) -> None:
    """Adds GAME."""
    parser.add_argument(
        "game",
        choices=Suggestions(game.slug for game in ATARI57.values()),
        help="`pong`, `Pong`, `ms_pacman`, `MsPacman` or `ALE/Pong-v5`",
        **{"metavar": "GAME", **options},
    )


def add_number(
    parser: Parser, flag: str, *, help: str, least: int = 1, nargs: str | None = None
) -> None:
    """Adds a flag for a whole number; if the verb's function has a default, the help says which."""
    known = inspect.signature(parser.get_default("run")).parameters
    name = flag.removeprefix("--").replace("-", "_")
    default = known[name].default if name in known else None
    parser.add_argument(
        flag,
        metavar="N",
        nargs=nargs,
        type=positive_number if least else whole_number,
        help=f"{help}; by default {default}" if isinstance(default, int) else help,
    )


def add_preset(parser: Parser, *, otherwise: str = "the one that fits the machine") -> None:
    """Adds --preset."""
    parser.add_argument(
        "--preset",
        metavar="NAME|FILE.toml",
        type=name_or_path,
        choices=Suggestions(configuration.preset_paths()),
        help=f"A shipped preset or a .toml file; by default {otherwise}",
    )


def add_json(parser: Parser) -> None:
    """Adds --json, for programs that read the output."""
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="Print one JSON object instead"
    )


def path(text: str) -> Path:
    """A path; `~` is the home folder, also after `=`, where a shell leaves it as it is."""
    if not text:  # which would be the folder that one is in
        raise argparse.ArgumentTypeError("is '', use a path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"is {text!r}, and there is no such user") from None


def name_or_path(text: str) -> str:
    """What is a name or a path, with its `~` as `path` has it."""
    return str(path(text)) if text.startswith("~") else text


def whole_number(text: str) -> int:
    """A whole number: `10000`, `10_000`, `10k`, `1.5M`, `1e6`."""
    scale = _SCALES.get(text[-1:].lower(), 1)
    try:
        number = Decimal(text if scale == 1 else text[:-1]) * scale
        if number.adjusted() < _LONGEST_NUMBER_DIGITS and number == int(number):
            return int(number)
    except (ArithmeticError, ValueError):
        pass
    raise argparse.ArgumentTypeError(f"is {text!r}, use a whole number such as 200, 10k or 1e6")


def positive_number(text: str) -> int:
    """A whole number of 1 or more."""
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"is {text}, must be at least 1")
    return number


def shown(value: Any) -> str:
    """A setting's value, as the command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def spelled(arguments: Iterable[str]) -> list[str]:
    """Flags as they are known, whether they were typed with `-` or with `_`."""
    return [_FLAG.sub(lambda flag: _spelled(flag[0]), word) for word in arguments]


def _spelled(flag: str) -> str:
    """Of a setting with `_`, of any other flag with `-`."""
    name = flag.removeprefix("--")
    return "--" + (name.replace("-", "_") if "." in name else name.replace("_", "-"))


def _form(kind: Any) -> dict[str, Any]:
    """How a setting of a type is described, suggested and brought into its usual form."""
    if get_origin(kind) is Literal:
        return {"choices": Suggestions(get_args(kind))}
    of_list = get_args(kind)[0] if get_origin(kind) is tuple else None
    if get_origin(of_list) is Literal:
        return {"choices": Suggestions(get_args(of_list)), "metavar": "NAME,NAME"}
    kind = next(iter(get_args(kind)), kind) if get_origin(kind) is not tuple else tuple
    if kind is bool:
        return {"choices": Suggestions(("true", "false")), "metavar": "true|false"}
    if kind is int:
        return {"metavar": "N", "type": _whole_numbers}
    return {"metavar": {float: "X", tuple: "N,N,N"}.get(kind, "TEXT")}


def _whole_numbers(text: str) -> str:
    """Whole numbers without `k`, `M` and exponents; anything else is left to the check."""
    return ",".join(map(_without_unit, text.split(",")))


def _without_unit(text: str) -> str:
    try:
        return str(whole_number(text))
    except argparse.ArgumentTypeError:
        return text


class _HelpFormatter(argparse.HelpFormatter):
    """Nothing is wider than the terminal: choices stand in the text, and heads are wrapped."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)
        self._width = max(self._width, _LEAST_COLUMNS)

    def _format_usage(self, *given: Any) -> str:
        return _wrapped(super()._format_usage(*given), self._width) + "\n\n"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        head = super()._format_action_invocation(action)
        return _wrapped(head, self._width - self._current_indent, self._current_indent)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        name = action.metavar or ("NAME" if action.choices else default_metavar)
        return f"{name} ..." if action.nargs == argparse.ONE_OR_MORE else str(name)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.metavar or not action.choices:
            return action.help
        *names, last = map(str, action.choices)
        stop = "." if (action.help or "")[-1:].isalnum() else ""
        known = f"{', '.join(names)} or {last}" if names else last
        return f"{action.help}{stop} NAME is {known}.".lstrip()


def _wrapped(text: str, width: int, indent: int = 0) -> str:
    return textwrap.fill(
        text,
        width,
        subsequent_indent=" " * (indent + 4),
        break_long_words=False,
        break_on_hyphens=False,
    )


class _StoreOnce(argparse.Action):
    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            raise argparse.ArgumentError(self, "is given twice")
        setattr(namespace, self.dest, values)


class _StoreSetting(argparse.Action):
    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        if self.dest in namespace.settings:
            raise argparse.ArgumentError(self, "is given twice")
        value = values if isinstance(values, str) else ",".join(values)
        namespace.settings = {**namespace.settings, self.dest: value}
