"""Signals ask a run to stop in order, `ORDERS` and `WARNINGS`; a second order leaves at once.

Second means later than `SAME_REQUEST_SECONDS`: a service manager, a batch system or a closing
terminal signals every process of a group, and a sweep or `make` among them passes its own on.

A warning is no order: batch systems send it some time before the job's end, some of them more than
once (the kernel SIGXCPU every second), and the SIGTERM that follows must not cut a checkpoint off.

While a run is still being built or rebuilt there is nothing to put in order, and that may take
minutes: then the first signal ends it, by `StoppedEarly` in the main thread; or, in a long call of
native code, which no handler can interrupt, by what the system does with a signal.

Only the command line ends the process (`whole_process`). In a notebook, where a user's variables
would go with it, a signal in native code waits until that is done, and a second order is a
`KeyboardInterrupt`.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from relic_rl.machine import process

ORDERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
SAME_REQUEST_SECONDS = 1.0
"""Two orders that are closer count as one."""


class StoppedEarly(KeyboardInterrupt):
    """A signal came while the run had not begun."""


class StopRequest:
    """Whether the run was asked to stop."""

    _early: "ClassVar[StopRequest | None]" = None
    """The one in whose block `nothing_to_lose` this process is."""
    _may_end_process: ClassVar[bool] = False

    def __init__(self) -> None:
        self.requested = False
        self._ordered_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Takes the signals over for the block; not SIGHUP where it is ignored (`nohup`)."""
        hangs_on = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        for number in (*ORDERS, *WARNINGS):
            if not (hangs_on and number == signal.SIGHUP):
                self._before[number] = signal.signal(number, self._handle)
        try:
            yield self
        finally:
            while self._before:
                signal.signal(*self._before.popitem())

    @contextmanager
    def nothing_to_lose(self) -> Iterator[None]:
        """In the block, which must be safe to leave anywhere, a signal raises `StoppedEarly`."""
        StopRequest._early = self
        try:
            if self.requested:
                raise StoppedEarly
            yield
        finally:
            StopRequest._early = None

    def _set_all(self, handler: Any) -> None:
        for number in self._before:
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in ORDERS:
            now = time.monotonic()
            if self._ordered_at is None:
                self._ordered_at = now
            elif now - self._ordered_at > SAME_REQUEST_SECONDS:
                if not StopRequest._may_end_process:
                    raise KeyboardInterrupt
                process.leave(128 + number)
        if self.requested:
            return
        self.requested = True
        if StopRequest._early is self:
            raise StoppedEarly


def may_end_process() -> bool:
    """Whether this is in the block of `whole_process`."""
    return StopRequest._may_end_process


@contextmanager
def whole_process() -> Iterator[None]:
    """In the block, the command line's, a signal may end the process: nothing else is in it."""
    before, StopRequest._may_end_process = StopRequest._may_end_process, True
    try:
        yield
    finally:
        StopRequest._may_end_process = before


@contextmanager
def native_code() -> Iterator[None]:
    """Around a long call of native code: a signal ends the process at once, where nothing is lost.

    Changes nothing outside of `StopRequest.nothing_to_lose` and `whole_process`.
    """
    early = StopRequest._early if StopRequest._may_end_process else None
    if early is not None:
        early._set_all(signal.SIG_DFL)
    try:
        yield
    finally:
        if early is not None:
            early._set_all(early._handle)
