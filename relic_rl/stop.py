"""Signals: SIGINT, SIGTERM and SIGUSR1 ask a run to stop in order; a second one leaves at once.

While a run is still being built or rebuilt there is nothing to put in order, and that may take
minutes: then the first signal ends it, by `StoppedEarly` in the main thread.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StoppedEarly(KeyboardInterrupt):
    """A signal came while the run had not begun."""


class StopRequest:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._nothing_to_lose = False

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Takes the signals over for the block."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def nothing_to_lose(self) -> Iterator[None]:
        """In the block, which must be safe to leave anywhere, a signal raises `StoppedEarly`."""
        self._nothing_to_lose = True
        try:
            if self.requested:
                raise StoppedEarly
            yield
        finally:
            self._nothing_to_lose = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True
        if self._nothing_to_lose:
            raise StoppedEarly
