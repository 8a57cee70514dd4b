"""Ends the process when a call does not come back: an emulator that hangs cannot be waited out.

The thread that hangs is inside C++ code, where neither an exception nor a signal handler reaches
it. So a second thread says what hangs, and leaves at once. The last checkpoint is whole at any
moment, so that nothing more is lost than by a power cut.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STALL_SECONDS = 120.0
"""A step takes milliseconds; minutes mean that it never ends."""

_log = logging.getLogger(__name__)


class Watchdog:
    """Watches one thread's calls; to be closed.

    Args:
      seconds: how long a watched call may take.
    """

    def __init__(self, seconds: float = STALL_SECONDS) -> None:
        self._seconds = seconds
        self._watched: tuple[float, str] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Ends the process, with exit status 1, if the block does not end in time."""
        self._watched = (time.monotonic(), what)
        try:
            yield
        finally:
            self._watched = None

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(self._seconds / 10):
            watched = self._watched
            if watched is not None and time.monotonic() - watched[0] > self._seconds:
                self._leave(watched[1])

    def _leave(self, what: str) -> None:
        problem = (
            f"{what} did not answer for {self._seconds:g} s: it hangs, so the run ends; "
            "`relic-rl resume` goes on from its last checkpoint"
        )
        _log.critical(problem)
        print(f"relic-rl: {problem}", file=sys.stderr, flush=True)
        os._exit(1)
