"""Ends a command whose call does not come back: an emulator that hangs cannot be waited out.

The thread that hangs is inside C++ code, where neither an exception nor a signal handler reaches
it. So a second thread says what hangs, and leaves at once. The last checkpoint is whole at any
moment, so that nothing more is lost than by a power cut. In a notebook, where a user's variables
would go with it, nothing is ended.

Time is counted in checks, not by the clock, which also runs while the process is suspended.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from relic_rl.machine import process
from relic_rl.stop import may_end_process

STALL_SECONDS = 120.0
"""A step takes milliseconds; minutes mean that it never ends."""
_LOOKS = 10
"""Checks within that time; a suspension of any length counts as one of them."""

_log = logging.getLogger(__name__)


class Watchdog:
    """Watches one thread's calls; to be closed.

    Args:
      seconds: how long a watched call may take.
    """

    def __init__(self, seconds: float = STALL_SECONDS) -> None:
        self._seconds = seconds
        self._watched: tuple[str] | None = None  # another object for each call
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Ends a command, with exit status 1, if the block does not end in time."""
        self._watched = (what,)
        try:
            yield
        finally:
            self._watched = None

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        looks, last = 0, None
        while not self._closed.wait(self._seconds / _LOOKS):
            watched = self._watched
            looks = looks + 1 if watched is not None and watched is last else 0
            last = watched
            if watched is not None and looks == _LOOKS:
                self._leave(watched[0])

    def _leave(self, what: str) -> None:
        ends = may_end_process()
        problem = (
            f"{what} did not answer for {self._seconds:g} s: it hangs, so "
            f"{'this process ends' if ends else 'end this process'}; `relic-rl resume` continues a "
            "run from its last checkpoint"
        )
        try:
            _log.critical(problem)
            print(f"relic-rl: {problem}", file=sys.stderr, flush=True)
        finally:  # also where nothing can be said: a full disk, a terminal that is gone
            if ends:
                process.leave(1)
