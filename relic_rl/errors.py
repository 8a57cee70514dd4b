"""Errors that a user sees as one line, with the exit status that goes with them."""

import difflib
import shlex
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: the message says what, where and what to do."""

    exit_status = 1


class UsageError(UserError):
    """A wrong command line or configuration."""

    exit_status = 2


class ResourceError(UserError):
    """The machine lacks what the configuration asks for."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name; empty if no name is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", nearest is {matches[0]!r}" if matches else ""


def command(*words: object) -> str:
    """A command line to copy: `relic-rl resume 'my runs/p0'`, in backquotes."""
    return f"`relic-rl {shlex.join(map(str, words))}`"


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine or a GPU ran out of memory; torch has a class for some cases only."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _NO_MEMORY)
    return isinstance(error, MemoryError)


_NO_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")
"""In torch's, CUDA's and cuBLAS's words."""
