"""What a node of a cluster does for a sweep: runs one of its runs to the end, in a process."""

import time
from pathlib import Path

from relic_rl.machine.capacity import core_ids
from relic_rl.machine.versions import difference, fingerprint
from relic_rl.records.folders import is_in_use
from relic_rl.sweep.local_backend import ending_with_parent
from relic_rl.sweep.request import PlannedRun
from relic_rl.sweep.run_process import RunProcess

_POLL_SECONDS = 0.2
OWNER_SECONDS = 60.0
"""How long a process that lost its worker may take to write its last checkpoint."""


def run_to_its_end(
    path: Path,
    run: PlannedRun,
    preset: str,
    expected: dict[str, str],
) -> tuple[int, str]:
    """Trains, or resumes; an interrupt stops it with a checkpoint.

    Args:
      path: the sweep's folder.
      run: which of its runs.
      preset: a shipped one's name, or the sweep's copy of a file.
      expected: the sweep's `relic_rl.machine.versions.fingerprint`.

    Returns:
      Exit status, and why it failed if it did.
    """
    problem = difference(expected, fingerprint(run.game))
    if problem:
        return 1, f"a node of the cluster does not fit this sweep: {problem}"
    if not path.is_dir():
        return 1, f"a node of the cluster does not see {path}: sweeps need a shared folder"
    _wait_for_owner(path / run.folder)
    process = RunProcess(
        path,
        run,
        preset,
        prepare=ending_with_parent(core_ids()),
    )
    try:
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:  # the sweep was stopped
        process.stop()
    status = process.wait()
    return status, process.why() if status else ""


def _wait_for_owner(folder: Path) -> None:
    """Waits while the run's process of a dead worker still writes its last checkpoint."""
    until = time.monotonic() + OWNER_SECONDS
    while is_in_use(folder) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
