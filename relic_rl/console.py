"""What a person sees of a run while it runs.

On a terminal: two status lines that stay at the bottom, messages scrolling above them. Into a
file or a pipe: plain lines, one status line per `plain_seconds` at most. The same call serves
both; nothing a reader does to the terminal (close it, fill the disk behind it) stops a run.
"""

import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

import rich.console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from relic_rl.counters import Budget

PLAIN_SECONDS = 30.0
_LIVE_SECONDS = 0.25
_BAR_COLUMNS = (8, 24)
"""Of the bar, the least and the most; with less room there is none."""
# From which value on, divided by what, with how many digits; 999,960 is 1.00M, not 1000.0k.
_COUNT_UNITS = ((999.995e6, 1e9, "B", 2), (999.95e3, 1e6, "M", 2), (9999.5, 1e3, "k", 1))


class Console:
    """The run's voice.

    Args:
      budget: where the run ends, for the bar and the time left; None if nothing says.
      stream: where to write; stdout unless told.
      plain_seconds: the shortest time between two status lines where there is no terminal.
    """

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        stream: TextIO | None = None,
        plain_seconds: float = PLAIN_SECONDS,
    ) -> None:
        self._budget = budget
        self._out = _Terminal(file=stream or sys.stdout, highlight=False)
        self._is_terminal = can_redraw(self._out)
        self._interval_seconds = _LIVE_SECONDS if self._is_terminal else plain_seconds
        self._subject = "status"
        self._next_status = 0.0
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """Prints one message, at once."""
        with suppress(OSError, ValueError):
            self._out.say(text)

    def status(self, row: Mapping[str, Any]) -> None:
        """Shows how the run stands; called often, it writes rarely, as do those below.

        Args:
          row: `env_frames`, `minutes`, and any of the keys of `_FIELDS`: of these what is absent
            or None is not shown.
        """
        if self._is_due("status"):
            head, fraction = self._progress(row)
            self._show(head, _parts(row), fraction)

    def playing(self, what: str, finished: int, episodes: int, steps: int) -> None:
        """Shows how far an evaluation or a film is, in the place of the status.

        Args:
          what: is done with the episodes, as in `evaluating`.
          finished: episodes.
          episodes: how many there will be.
          steps: of the agent so far, over all episodes.
        """
        self.working(what, finished, episodes, "episode", f"{count(steps)} steps")

    def working(self, what: str, done: int, of: int, noun: str, *more: str) -> None:
        """Shows how far a piece of work is: so many of so many, in the place of the status."""
        if self._is_due(what):
            self._show([f"{what}: {done:,} of {counted(of, noun)}"], [*more], done / of)

    def close(self) -> None:
        """Leaves the last status on the screen and restores the terminal."""
        with suppress(OSError, ValueError):
            if self._live is not None:
                self._live.stop()
        self._live = None

    def _is_due(self, what: str) -> bool:
        """Whether to show it now. What is new a terminal gets at once, a file if it lasts."""
        now, is_new = time.monotonic(), what != self._subject
        if not is_new and now < self._next_status:
            return False
        self._subject, self._next_status = what, now + self._interval_seconds
        return self._is_terminal or not is_new

    def _show(self, head: list[str], parts: list[str], fraction: float | None) -> None:
        with suppress(OSError, ValueError):
            if not self._is_terminal:
                self._out.print(Text("  ".join([*head, *parts])), soft_wrap=True)
                return
            if self._live is None:
                self._live = Live(console=self._out, auto_refresh=False)
                self._live.start()
            columns = self._out.width
            self._live.update(_panel(head, parts, fraction, columns), refresh=True)

    def _progress(self, row: Mapping[str, Any]) -> tuple[list[str], float | None]:
        """The counters, the one that the bar shows beside its limit; and how far that is."""
        frames, minutes, budget = row["env_frames"], row["minutes"], self._budget
        by_frames, by_minutes = f"{count(frames)} frames", duration(60 * minutes)
        if budget is None:
            return [by_frames, by_minutes], None
        of_frames, of_minutes = budget.fractions(frames, minutes)
        if budget.minutes and of_minutes >= of_frames:
            by_minutes += f" of {duration(60 * budget.minutes)}"
        else:
            by_frames = f"{count(frames)} of {count(budget.frames)} frames"
        left = budget.seconds_left(frames, minutes, row.get("frames_per_second") or 0.0)
        estimate = [] if left is None else [f"{duration(left)} left"]
        return [by_frames, by_minutes, *estimate], min(1.0, max(of_frames, of_minutes))


@contextmanager
def beside_results() -> Iterator[Console]:
    """A console on stderr, for how far it is: stdout belongs to the result.

    In the block what others print, as ale-py its greeting, goes to stderr, too.
    """
    with redirect_stdout(sys.stderr), closing(Console(stream=sys.stderr)) as console:
        yield console


def print_line(text: str) -> None:
    """Prints a result on stdout; a terminal gets it folded between words, a file as it is."""
    _Terminal(highlight=False).say(text)


def can_redraw(console: rich.console.Console) -> bool:
    """Whether it writes to a screen; FORCE_COLOR makes a file no screen."""
    return console.is_terminal and console.file.isatty() and not console.is_dumb_terminal


def count(value: float) -> str:
    """Returns a count a person can read at a glance: 950, 12.3k, 4.00M, 1.20B."""
    for limit, scale, unit, digits in _COUNT_UNITS:
        if value >= limit:
            return f"{value / scale:.{digits}f}{unit}"
    return f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """Returns `1 episode`, `10 episodes`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def end_in_words(budget: Budget) -> str:
    """Where a run ends: `60 minutes or 200.00M frames`; no minutes, no limit of them."""
    minutes = budget.minutes
    return f"{minutes:g} minutes or " * (minutes > 0) + f"{count(budget.frames)} frames"


def duration(seconds: float) -> str:
    """Returns 45s, 12m, 3h 05m or 2d 04h."""
    whole = round(seconds)
    minutes = whole // 60
    if minutes < 1:
        return f"{whole}s"
    if minutes < 60:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 48:
        return f"{hours}h {minutes % 60:02d}m"
    return f"{hours // 24}d {hours % 24:02d}h"


def size(size_bytes: float) -> str:
    """Returns 12 MiB or 1.50 GiB."""
    if size_bytes >= 2**30:
        return f"{size_bytes / 2**30:.2f} GiB"
    return f"{size_bytes / 2**20:.0f} MiB"


class _Terminal(rich.console.Console):
    def say(self, text: str) -> None:
        """Prints a line; a screen gets it folded, as a file must not be at some screen's width."""
        # What the encoding lacks is an escape by now: its letters count.
        shown = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self.print(Text(shown), soft_wrap=not can_redraw(self))

    def on_broken_pipe(self) -> None:
        """Stops printing: rich itself would end the process."""
        self.quiet = True


_FIELDS: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("mean_score", lambda value: f"score {value:,.1f}"),
    ("evaluation_score", lambda value: f"evaluated {value:,.1f}"),
    ("best_evaluation_score", lambda value: f"best {value:,.1f}"),
    ("frames_per_second", lambda value: f"{value:,.0f} frames/s"),
    ("steps_per_second", lambda value: f"{value:,.0f} steps/s"),
    ("updates_per_second", lambda value: f"{value:,.2f} updates/s"),
    ("replay_fill", lambda value: f"replay {value:.0%}"),
    ("replay_bytes", size),
    ("gpu_busy_fraction", lambda value: f"GPU {value:.0%} busy"),
    ("gpu_bytes", lambda value: f"GPU memory {size(value)}"),
    ("rl_loss", lambda value: f"rl {value:.4g}"),
    ("representation_loss", lambda value: f"representation {value:.4g}"),
)


def _panel(head: list[str], parts: list[str], fraction: float | None, columns: int) -> Table:
    """Head and parts, each part on one line; a bar before the head where there is room for one."""
    if fraction is not None:
        head = [f"{fraction:4.0%}", *head]
    first = Table.grid(padding=(0, 2))
    left = columns - len("  ".join(head)) - 2
    if fraction is None or left < _BAR_COLUMNS[0]:
        first.add_row(Text(_folded(head, columns), style="bold"))
    else:
        bar = ProgressBar(
            total=1.0,
            completed=fraction,
            width=min(left, _BAR_COLUMNS[1]),
            complete_style="cyan",
            finished_style="cyan",
        )
        first.add_row(bar, Text("  ".join(head), style="bold"))
    panel = Table.grid()
    panel.add_row(first)
    panel.add_row(Text(_folded(parts, columns), style="dim"))
    return panel


def _folded(parts: list[str], columns: int) -> str:
    """The parts on lines of so many columns, each on one."""
    line = "  ".join(part.replace(" ", "\xa0") for part in parts)
    return textwrap.fill(line, columns).replace("\xa0", " ")


def _parts(row: Mapping[str, Any]) -> list[str]:
    return [show(row[name]) for name, show in _FIELDS if row.get(name) is not None]
