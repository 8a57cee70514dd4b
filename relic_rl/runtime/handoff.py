"""Threads that make items, and a bounded queue between them and the one that takes them.

A producer that is ahead of its consumer blocks. An exception that ends a producer is raised in the
consumer.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

CLOSE_SECONDS = 10.0
"""How long the end waits for what the threads are at."""
_POLL_SECONDS = 0.2
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Handoff(Generic[T]):
    """A bounded queue and the threads that fill it; they start when the first item is taken.

    Args:
      makers: of each thread, by its name, what makes an item (None: not this time).
      waiting_items: how many items may wait in the queue, at least 1.
    """

    def __init__(self, makers: Mapping[str, Callable[[], T | None]], waiting_items: int) -> None:
        self._queue: queue.Queue[T | BaseException] = queue.Queue(waiting_items)
        self._closed = threading.Event()
        self._started = False
        self._threads = [
            threading.Thread(target=self._run, args=(make,), name=name, daemon=True)
            for name, make in makers.items()
        ]

    def take(self) -> T:
        """Returns the oldest item; blocks until there is one.

        Raises:
          BaseException: what ended a thread.
        """
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> set[str]:
        """Ends the threads; items that were not taken are dropped.

        Returns:
          The names of those that hang, which the log has too: daemons, they end with the process.
        """
        self._closed.set()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads if self._started else []:
            thread.join(max(until - time.monotonic(), 0.0))
        hanging = {thread.name for thread in self._threads if thread.is_alive()}
        for name in sorted(hanging):
            _log.warning("%s did not end within %.0f s", name, CLOSE_SECONDS)
        return hanging

    def _run(self, make: Callable[[], T | None]) -> None:
        try:
            while not self._closed.is_set():
                item = make()
                if item is not None:
                    self._put(item)
        except BaseException as error:
            self._put(error)

    def _put(self, item: T | BaseException) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
        return None
