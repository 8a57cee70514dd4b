"""Figures of runs, for files: never on a screen, and the same whatever the user's matplotlib does.

Importing this package imports matplotlib under nobody's set-up: not a notebook's `MPLBACKEND`, nor
a `matplotlibrc`. What is set later, or by code that imported it before, `style.styled` puts aside.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_set_up() -> Iterator[None]:
    """Hides the user's variables and silences complaints about a `matplotlibrc` lying here."""
    names = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    before = {name: os.environ.get(name) for name in names}
    log = logging.getLogger("matplotlib")
    level = log.level
    os.environ.update(names)
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


with _no_set_up():
    import matplotlib.figure  # noqa: F401
