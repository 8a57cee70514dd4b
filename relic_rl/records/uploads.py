"""Films and reports as files at the tracker, beside the runs that they are of.

A film goes to the run that it shows; a report is a run of its own, in the group of its sweep.
"""

from collections.abc import Sequence
from pathlib import Path

from relic_rl.console import print_line
from relic_rl.errors import UserError
from relic_rl.records.sweep_folder import SWEEP_FILE, names_of
from relic_rl.records.tracking import TrackedRun, TrackerName, make_tracker

_CLOSE_SECONDS = 120.0


def upload_film(run_dir: Path, video: Path, mode: TrackerName, tracker_id: str) -> None:
    """Uploads a film to its run's place at the tracker, and says so."""
    name, sweep = names_of(run_dir)
    _upload([video], mode, TrackedRun(run_dir, name, group=sweep, run_id=tracker_id))


def upload_report(folders: Sequence[Path], files: Sequence[Path], mode: TrackerName) -> None:
    """Uploads a report's files as a run of their own, and says so.

    Args:
      folders: what the report is of; the first that is a sweep, or of one, names the group.
      files: what `write_report` wrote, into one folder.
      mode: "offline" or "online"; "off" does nothing.
    """
    if mode == "off":
        return
    sweeps = [
        folder.resolve().name if (folder / SWEEP_FILE).is_file() else names_of(folder)[1]
        for folder in folders
    ]
    group = next(filter(None, sweeps), None)
    name = f"report of {group or folders[0].resolve().name}"
    _upload(files, mode, TrackedRun(files[0].parent, name, group=group, job_type="report"))


def _upload(files: Sequence[Path], mode: TrackerName, run: TrackedRun) -> None:
    tracker = make_tracker([mode], run._replace(close_seconds=_CLOSE_SECONDS))
    for path in files:
        tracker.file(path)
    tracker.close()
    taken = 0 if tracker.mode == "off" else len(files) - tracker.dropped_items
    if not taken:
        raise UserError(f"no tracker took any of {len(files)} files: the warning above says why")
    print_line(
        f"given to the tracker, {tracker.mode}: {taken} files of {run.name!r}, run {tracker.id}"
    )
    if tracker.left_to_do:
        print_line(tracker.left_to_do)
