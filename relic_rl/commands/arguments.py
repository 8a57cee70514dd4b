"""The command line as text: settings apart from the verb's arguments, complaints in one line."""

import itertools
import re
from collections import deque
from collections.abc import Mapping

from relic_rl.errors import UsageError, nearest

_CHOICE = re.compile(r"invalid choice '(.*)' for argument '(--\S+)'\. Expected one of \((.*)\)\.")
_OVERRIDE = re.compile(r"--([a-z_]+\.[A-Za-z0-9_.-]+)(?:=(.*))?", re.DOTALL)


def split_overrides(
    arguments: list[str], *, several: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Separates `--SECTION.FIELD VALUE` from the verb's own arguments.

    With `several`, a setting takes all values up to the next flag, and commas join them.

    Raises:
      UsageError: a setting without a value, or a flag given twice.
    """
    overrides: dict[str, str] = {}
    rest: list[str] = []
    flags = set()
    waiting = deque(arguments)
    while waiting:
        argument = waiting.popleft()
        match = _OVERRIDE.fullmatch(argument)
        if match is None:
            rest.append(argument)
            flag = argument.partition("=")[0].replace("_", "-")
            if flag.startswith("--") and flag in flags:
                raise UsageError(f"{flag} is given twice")
            flags.add(flag)
            continue
        name = match[1].replace("-", "_")
        value = match[2]
        if value is None:
            if not waiting:
                raise UsageError(f"--{name} needs a value")
            value = waiting.popleft()
            if value.startswith("--"):
                raise UsageError(f"--{name} needs a value, before {value}")
        while several and waiting and not waiting[0].startswith("--"):
            value += f",{waiting.popleft()}"
        if name in overrides:
            raise UsageError(f"--{name} is given twice")
        overrides[name] = value
    return overrides, rest


def with_flags(overrides: Mapping[str, str], flags: Mapping[str, str]) -> dict[str, str]:
    """The settings, and those that the verb's own arguments stand for: `--frames`, `run.frames`.

    Raises:
      UsageError: one of them is given under both names.
    """
    for name in flags:
        if name in overrides:
            short = name.partition(".")[2].replace("_", "-")
            raise UsageError(f"--{name} is given twice, once as --{short}")
    return {**overrides, **flags}


def lanes_of_actors(
    actors: int | None, lanes_per_actor: int | None, overrides: dict[str, str]
) -> dict[str, str]:
    """The settings that `--actors N --lanes-per-actor M` stand for.

    Raises:
      UsageError: M without N, or beside another word on the lanes.
    """
    flags = {} if actors is None else {"actor.actors": str(actors)}
    if lanes_per_actor is None:
        return flags
    if actors is None or "actor.lanes" in overrides:
        raise UsageError("--lanes-per-actor goes with --actors, and without --actor.lanes")
    return {**flags, "actor.lanes": str(actors * lanes_per_actor)}


def one_line(complaint: str) -> str:
    """Tyro's framed complaint as one line: its words, without its frame, title and help."""
    lines = [re.sub(r"[│╭╮╰╯─]|-{3,}", " ", line).strip() for line in complaint.splitlines()]
    words = [line for line in lines if line][1:]
    wanted = itertools.takewhile(lambda line: not line.startswith(("For full", "Argument")), words)
    text = re.sub(r" ?\((default|required)[^)]*\)", "", " ".join(wanted))
    text = _CHOICE.sub(_choices, text)
    return text[:1].lower() + text[1:]


def _choices(complaint: re.Match[str]) -> str:
    """Which there are, in an order that does not change, without the one for "not given"."""
    given, flag, listed = complaint.groups()
    known = sorted({*re.findall(r"'([^']*)'", listed)} - {"None"})
    return f"{flag} is {given!r}: use {' or '.join(known)}{nearest(given, known)}"
