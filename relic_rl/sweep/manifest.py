"""How each run of a sweep stands, as its `manifest.jsonl` has it: a line per run, and why.

The manifest is for people and for `relic-rl status`; the run folders are the truth. It is rewritten
as a whole and renamed into place at every change.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from relic_rl.records.folders import is_in_use, write_whole
from relic_rl.sweep.request import PlannedRun

MANIFEST_FILE = "manifest.jsonl"

State = Literal["queued", "running", "done", "failed"]


@dataclass
class Entry:
    """A run and how it stands."""

    run: PlannedRun
    state: State = "queued"
    why: str = ""
    """Why it failed, or is queued again."""


class Manifest:
    """The entries of a sweep; change them, then `write`.

    Args:
      path: the sweep's folder.
      runs: in their order; their states are those on disk, if there are any.
    """

    def __init__(self, path: Path, runs: list[PlannedRun]) -> None:
        self._file = path / MANIFEST_FILE
        states = read_states(path)
        self.entries = [Entry(run, *states.get(run.folder, ("queued", ""))) for run in runs]

    def write(self) -> None:
        """Writes all of them.

        Raises:
          OSError: could not be written.
        """
        lines = [
            json.dumps(
                {
                    "run": entry.run.folder,
                    "game": entry.run.game,
                    "seed": entry.run.seed,
                    "settings": entry.run.varied,
                    "state": entry.state,
                    "why": entry.why,
                }
            )
            for entry in self.entries
        ]
        write_whole(self._file, "\n".join(lines) + "\n")

    def count(self, state: State) -> int:
        """How many entries are in a state."""
        return sum(entry.state == state for entry in self.entries)


def read_states(path: Path) -> dict[str, tuple[Any, str]]:
    """Run folder → its state and why, as the sweep's manifest has them; damaged lines left out."""
    try:
        lines = (path / MANIFEST_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    states = {}
    for line in lines:
        try:
            row = json.loads(line)
            if row["state"] in get_args(State):
                states[str(row["run"])] = (row["state"], str(row["why"]))
        except (ValueError, KeyError, TypeError):
            continue  # the run's folder knows
    return states


def why_unfinished(run_dir: Path, states: Mapping[str, tuple[Any, str]] | None = None) -> str:
    """How a run that has not finished stands: `running`, `stopped`, or what its sweep says and why.

    The manifest of a sweep that was killed, or whose run was resumed by hand, is out of date.

    Args:
      run_dir: the run's folder.
      states: what `read_states` gave of its sweep; None: to be read.
    """
    folder = run_dir.resolve()
    sweep = folder.parent.parent
    states = read_states(sweep) if states is None else states
    state, why = states.get(f"{folder.parent.name}/{folder.name}", ("stopped", ""))
    if is_in_use(folder) or (state == "running" and is_in_use(sweep)):
        return "running"
    if state in ("running", "done"):
        return "stopped"
    return f"{state}, {why}" if why else str(state)
