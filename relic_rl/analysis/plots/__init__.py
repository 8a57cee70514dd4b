"""Figures of runs, for files: never on a screen, and the same whatever the user's matplotlib does.

Importing this package imports matplotlib whatever the user's set-up is: it neither fails at an
`MPLBACKEND`, as a notebook sets one, nor complains about a `matplotlibrc`. What these say, and what
is set later or by code that imported matplotlib before, `style.styled` puts aside.
"""

import logging
import os

_log = logging.getLogger("matplotlib")
_level, _backend = _log.level, os.environ.pop("MPLBACKEND", None)
_log.setLevel(logging.ERROR)
try:
    import matplotlib.figure  # noqa: F401
finally:
    _log.setLevel(_level)
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
