"""A bounded queue between threads that make items and the one that takes them.

A producer that is ahead of its consumer blocks. An exception that ends a producer is raised in the
consumer.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_POLL_SECONDS = 0.2
T = TypeVar("T")


class Handoff(Generic[T]):
    """A bounded queue that ends its threads.

    Args:
      waiting_items: how many items may wait in the queue, at least 1.
    """

    def __init__(self, waiting_items: int) -> None:
        self._queue: queue.Queue[T | BaseException] = queue.Queue(waiting_items)
        self._closed = threading.Event()

    def thread(self, name: str, make: Callable[[], T | None]) -> threading.Thread:
        """Returns a thread, not started, that makes items until `close` (None: not this time)."""
        return threading.Thread(target=self._run, args=(make,), name=name, daemon=True)

    def take(self) -> T:
        """Returns the oldest item; blocks until there is one.

        Raises:
          BaseException: what ended a thread.
        """
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Ends the threads; items that were not taken are dropped."""
        self._closed.set()

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
