"""`relic-rl status`: how the runs of a sweep stand, read from its manifest and its run folders."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from relic_rl.console import count, counted, duration
from relic_rl.records.folders import is_in_use
from relic_rl.records.run_status import RunStatus, read_status
from relic_rl.sweep.manifest import Entry, Manifest
from relic_rl.sweep.request import SweepRequest, short_names

_REFRESH_SECONDS = 2.0
_PLAIN_WIDTH = 160
_LIVE_ORDER = ("running", "failed", "queued", "done")
_SUMMARY_ORDER = ("done", "running", "interrupted", "queued", "failed")
_STYLES = {"done": "green", "failed": "red", "running": "bold", "interrupted": "yellow"}


def show(path: Path, *, live: bool) -> None:
    """Prints the table of a sweep.

    Args:
      path: the sweep's folder; it may be running.
      live: go on showing it until the sweep's process has ended, or Ctrl-C.

    Raises:
      UserError: the folder holds no sweep.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    runs = SweepRequest.read(path).runs()
    if not live:
        table, *notes = _page(path, Manifest(path, runs).entries)
        console.print(table, *notes, sep="\n")
        return
    try:
        with Live(console=console, auto_refresh=False) as screen:
            while True:
                is_active = is_in_use(path)
                entries = Manifest(path, runs).entries
                # What does not fit on the screen is cut off below: the settled ones.
                entries.sort(key=lambda entry: _LIVE_ORDER.index(entry.state))
                table, *notes = _page(path, entries)
                screen.update(Group(*notes, table), refresh=True)
                if not is_active:
                    return
                time.sleep(_REFRESH_SECONDS)
    except KeyboardInterrupt:
        return


def _page(path: Path, entries: list[Entry]) -> tuple[Table, Text, Text]:
    """The table, its summary, and a note on it."""
    is_active = is_in_use(path)
    progresses = [read_status(path / entry.run.folder) for entry in entries]
    states = [
        _state(path, entry, progress, is_active=is_active)
        for entry, progress in zip(entries, progresses, strict=True)
    ]
    settings = list(entries[0].run.varied) if entries else []
    table = Table(box=None)
    for name in ("game", "seed", *short_names(settings)):
        table.add_column(name)
    for name in ("frames", "minutes", "score", "HNS"):
        table.add_column(name, justify="right")
    for name in ("state", "time left", "why"):
        table.add_column(name, overflow="fold")
    for entry, state, progress in zip(entries, states, progresses, strict=True):
        table.add_row(
            *(entry.run.game, str(entry.run.seed), *entry.run.varied.values()),
            *_numbers(progress),
            Text(state, style=_STYLES.get(state, "")),
            _left(progress) if state == "running" else "",
            Text("" if state in ("running", "done") else entry.why),
        )
    of_state = Counter(states)
    summary = ", ".join(f"{of_state[state]} {state}" for state in _SUMMARY_ORDER if of_state[state])
    seconds = _sweep_seconds_left(states, progresses)
    if seconds is not None:
        summary += f"; about {duration(seconds)} left"
    note = "~ before the first evaluation: mean of the latest training episodes"
    return table, Text(f"{counted(len(entries), 'run')}: {summary}"), Text(note, style="dim")


def _state(path: Path, entry: Entry, progress: RunStatus, *, is_active: bool) -> str:
    """What the run's folder says, which somebody else may have gone on with; else the manifest."""
    if is_in_use(path / entry.run.folder):
        return "running"
    if progress.finished:
        return "done"
    if entry.state == "done" or (entry.state == "running" and not is_active):
        return "interrupted"
    return entry.state


def _sweep_seconds_left(states: list[str], progresses: list[RunStatus]) -> float | None:
    """Until the last run ends, if the waiting ones take as long as those that are known.

    None while nothing runs, or before any run has told how long it takes.
    """
    done = [
        60.0 * one.minutes for state, one in zip(states, progresses, strict=True) if state == "done"
    ]
    running = [one for state, one in zip(states, progresses, strict=True) if state == "running"]
    left = [one.seconds_left for one in running if one.seconds_left is not None]
    whole = done or [
        60.0 * one.minutes + one.seconds_left for one in running if one.seconds_left is not None
    ]
    if not running or not whole:
        return None
    a_run = sum(whole) / len(whole)
    waiting = sum(state in ("queued", "interrupted") for state in states)
    unknown = len(running) - len(left)
    return (sum(left) + a_run * (waiting + unknown)) / len(running)


def _numbers(progress: RunStatus) -> tuple[str, str, str, str]:
    if progress.env_frames == 0:
        return "", "", "", ""
    score = "" if progress.score is None else f"{progress.score:,.1f}"
    normalized = progress.human_normalized_score
    return (
        count(progress.env_frames),
        f"{progress.minutes:.1f}",
        score if progress.is_evaluated or not score else f"~{score}",
        "" if normalized is None else f"{100 * normalized:.1f} %",
    )


def _left(progress: RunStatus) -> str:
    return "" if progress.seconds_left is None else duration(progress.seconds_left)
