"""A tracker that does its work in a thread of its own, so that it can neither stop nor slow a run.

Every call of the tracker's library happens in one daemon thread, fed by a bounded queue that drops,
and counts, what does not fit. The library is imported in that thread. What fails there (no package,
no network, a full disk) costs one warning.
"""

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from relic_rl.records.tracking import TrackedRun, Tracker

QUEUE_ITEMS = 4096

_log = logging.getLogger(__name__)


class BackgroundTracker(Tracker, ABC):
    """A mirror whose library is called in the background; subclasses say how it opens and closes.

    Args:
      product: the library's name, for warnings.
      run: what is mirrored.
    """

    def __init__(self, product: str, run: TrackedRun) -> None:
        self._product = product
        self._close_seconds = run.close_seconds
        self._calls: queue.Queue[Callable[[Any], None]] = queue.Queue(QUEUE_ITEMS)
        self._closing = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._work, name=product, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """See `Tracker.close`."""
        self._closing.set()
        self._thread.join(self._close_seconds)
        if self._thread.is_alive():
            _log.warning("%s did not finish within %g s", self._product, self._close_seconds)
            self.dropped_items += self._calls.qsize()
        if self.dropped_items:
            _log.warning(
                "%s: %d rows or files were not mirrored", self._product, self.dropped_items
            )

    @abstractmethod
    def _open(self) -> Any:
        """Returns the library's run, and says in `mode` what it came to; None if that is "off"."""

    @abstractmethod
    def _finish(self, mirror: Any) -> None:
        """Ends the library's run."""

    def _put(self, call: Callable[[Any], None]) -> None:
        """Queues a call with the library's run."""
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self.dropped_items += 1

    def _work(self) -> None:
        mirror = self._attempt(self._open)
        if mirror is None:
            self.mode = "off"
        while not (self._closing.is_set() and self._calls.empty()):
            try:
                call = self._calls.get(timeout=0.1)
            except queue.Empty:
                continue
            if mirror is None:
                continue
            try:
                call(mirror)
            except Exception as error:
                self.dropped_items += 1
                self._warn(error)
        if mirror is not None:
            self._attempt(self._finish, mirror)

    def _attempt(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            self._warn(error)
            return None

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            _log.warning("%s: %s; the run continues", self._product, first_line(error))
        self._warned = True


def first_line(error: Exception) -> str:
    """An error in one line, with its kind."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
