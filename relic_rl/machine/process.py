"""The process itself: settings that decide CPU speed, made before torch is imported; its end."""

import ctypes
import os
from contextlib import suppress
from typing import NoReturn

SPIN_COUNT = "10000"
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def prepare() -> None:
    """Makes torch fast, and harmless to its neighbours, on a CPU.

    OpenMP's threads spin while they wait, for milliseconds by default. On cores that are shared
    with anything else they then wait for each other for whole time slices: a run beside another
    fell to a tenth of its speed. Sleeping at once costs as much on an idle machine, because the
    small operations of an update end before a sleeper is awake. Some microseconds of spinning
    serve both: docs/decisions/0004-process-settings.md has the figures.

    glibc gives large freed blocks back to the kernel at once and faults them in again, page by
    page, at the next update: a tenth of an update's time and more. Here freed memory is kept.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc: nothing to set
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)


def leave(status: int) -> NoReturn:
    """Ends the process at once, whatever its threads do; gives back a terminal's cursor."""
    for stream in (1, 2):
        with suppress(OSError):
            if os.isatty(stream):
                os.write(stream, b"\x1b[?25h")  # a status line hides it
    os._exit(status)
