"""Show how the runs of a sweep stand."""

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from relic_rl.commands import arguments
from relic_rl.commands.printing import leave_out, new_table, print_json, table_console
from relic_rl.console import can_redraw, count, counted, duration
from relic_rl.errors import UsageError
from relic_rl.records.run_status import RunStatus
from relic_rl.sweep.request import short_names
from relic_rl.sweep.status import RunInSweep, State, SweepStatus, read_sweep

USAGE = "SWEEP_DIR [flags]"
_REFRESH_SECONDS = 2.0
_LIVE_ORDER: tuple[State, ...] = ("running", "failed", "interrupted", "queued", "done")
_SUMMARY_ORDER: tuple[State, ...] = ("done", "running", "interrupted", "queued", "failed")
_SPARE = ("minutes", "time left", "HNS", "frames", "why")
"""Columns that a narrow screen does without, the first of them first."""
_STYLES = {"done": "green", "failed": "red", "running": "bold", "interrupted": "yellow"}


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_path(parser, "sweep_dir", metavar="SWEEP_DIR", help="The sweep's folder")
    parser.add_argument(
        "--watch", action="store_true", help="Keep showing it, until the sweep ends or Ctrl-C"
    )
    arguments.add_json(parser)


def run(sweep_dir: Path, *, watch: bool = False, as_json: bool = False) -> None:
    """Prints the table of a sweep, or keeps showing it.

    Raises:
      UsageError: `--watch` with `--json`.
      UserError: the folder holds no sweep.
    """
    if watch and as_json:
        raise UsageError("status: give --watch or --json")
    if as_json:
        print_json(_document(read_sweep(sweep_dir)))
    elif watch:
        _watch(sweep_dir)
    else:
        console = table_console()
        table, *notes = _page(read_sweep(sweep_dir), console)
        console.print(table, *notes, sep="\n")


def _watch(sweep_dir: Path) -> None:
    console = table_console()
    if not can_redraw(console):
        console = Console(
            file=console.file, force_terminal=False, markup=False, width=console.width
        )
    try:
        with Live(console=console, auto_refresh=False) as screen:
            while True:
                status = read_sweep(sweep_dir)
                # What does not fit on the screen is cut off below: the settled ones.
                status.runs.sort(key=lambda one: _LIVE_ORDER.index(one.state))
                table, *notes = _page(status, console)
                screen.update(Group(*notes, table), refresh=True)
                at_work = any(one.state == "running" for one in status.runs)  # of a job array
                if not (status.is_active or at_work):
                    return
                time.sleep(_REFRESH_SECONDS)
    except KeyboardInterrupt:
        return


def _page(status: SweepStatus, console: Console) -> tuple[Table, Text, Text]:
    """The table, its summary, and a note on it."""
    settings = list(status.runs[0].run.varied) if status.runs else []
    words = ("game", "seed", *short_names(settings))
    table = new_table(words, ("frames", "minutes", "score", "HNS"))
    for name in ("state", "time left"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in status.runs:
        table.add_row(
            *(one.run.game, str(one.run.seed), *one.run.varied.values()),
            *_numbers(one.status),
            Text(one.state, style=_STYLES.get(one.state, "")),
            _left(one),
            Text(one.why),
        )
    leave_out(table, _SPARE, console)
    of_state = Counter(one.state for one in status.runs)
    summary = ", ".join(f"{of_state[state]} {state}" for state in _SUMMARY_ORDER if of_state[state])
    if status.seconds_left is not None:
        summary += f"; about {duration(status.seconds_left)} left"
    note = "~ before the first evaluation: mean of the latest training episodes"
    return table, Text(f"{counted(len(status.runs), 'run')}: {summary}"), Text(note, style="dim")


def _numbers(status: RunStatus) -> tuple[str, str, str, str]:
    if status.env_frames == 0:
        return "", "", "", ""
    score = "" if status.score is None else f"{status.score:,.1f}"
    normalized = status.human_normalized_score
    return (
        count(status.env_frames),
        f"{status.minutes:.1f}",
        score if status.is_evaluated or not score else f"~{score}",
        "" if normalized is None else f"{100 * normalized:.1f} %",
    )


def _left(one: RunInSweep) -> str:
    seconds = one.status.seconds_left
    return duration(seconds) if one.state == "running" and seconds is not None else ""


def _document(status: SweepStatus) -> dict[str, Any]:
    return {
        "is_active": status.is_active,
        "seconds_left": status.seconds_left,
        "runs": [
            {**asdict(one.run), "state": one.state, "why": one.why, **one.status._asdict()}
            for one in status.runs
        ],
    }
