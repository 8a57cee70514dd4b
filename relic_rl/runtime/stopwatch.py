"""Where the time goes: seconds by name."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds under names; one for each thread that is timed."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._started = time.perf_counter()

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Adds the block's duration to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def totals(self) -> dict[str, float]:
        """Seconds by name since the last lap; may be asked by another thread."""
        return dict(self._seconds)

    def lap(self) -> dict[str, float]:
        """Returns seconds by name since the last call, and "window": all of that time."""
        now = time.perf_counter()
        lap = {**dict(sorted(self._seconds.items())), "window": now - self._started}
        self._seconds.clear()
        self._started = now
        return lap
