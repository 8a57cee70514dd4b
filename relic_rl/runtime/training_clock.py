"""The clock of a run's minutes, which stands while the process is suspended.

Ctrl-Z, a batch system that suspends jobs, a frozen container and a sleeping machine stop a process
without a word, and the system's clocks go on. So a thread looks at the clock many times a second:
it is stopped with the process, and what passed between two looks counts up to a bound.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.25
MAX_COUNTED_SECONDS = 2.0
"""Of what passes between two looks. On a busy machine they come late, but not by this much."""


class TrainingClock:
    """Counts the minutes of a run.

    Args:
      minutes: of the run's earlier sessions.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60.0 * minutes
        self._looked_at: float | None = None
        self._lock = threading.Lock()

    def minutes(self) -> float:
        """Minutes that the run has trained so far."""
        with self._lock:
            if self._looked_at is not None:
                now = time.monotonic()
                self._seconds += min(now - self._looked_at, MAX_COUNTED_SECONDS)
                self._looked_at = now
            return self._seconds / 60.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The clock goes for the duration of the block, and stands before and after it."""
        stopped = threading.Event()
        self._looked_at = time.monotonic()
        thread = threading.Thread(target=self._look, args=(stopped,), name="clock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            self.minutes()
            self._looked_at = None

    def _look(self, stopped: threading.Event) -> None:
        while not stopped.wait(LOOK_SECONDS):
            self.minutes()
