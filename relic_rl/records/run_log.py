"""A run's log: everything goes into its file, and our own warnings to the screen too."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relic_rl.console import Console


@contextmanager
def log_to(path: Path, console: Console) -> Iterator[None]:
    """All that is logged in the block goes into the run's log; what is ours is seen as well."""
    handler = _RunLog(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    shown = _Shown(console)
    logging.getLogger("relic_rl").addHandler(shown)
    try:
        yield
    finally:
        logging.getLogger("relic_rl").removeHandler(shown)
        logging.getLogger().removeHandler(handler)
        with suppress(OSError):
            handler.close()


class _RunLog(logging.FileHandler):
    """A log that a full disk silences, without a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        pass


class _Shown(logging.Handler):
    """What the user must see: the run is not what was asked for."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.say(f"warning: {record.getMessage()}")
