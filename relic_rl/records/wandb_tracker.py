"""A mirror of a run in Weights & Biases.

Online falls back to offline, offline to off, with one warning. The user's own WANDB_PROJECT,
WANDB_ENTITY and other variables hold.
"""

import logging
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from relic_rl.records.background_tracker import BackgroundTracker, first_line
from relic_rl.records.tracking import TrackedRun

PROJECT = "relic-rl"
"""Where WANDB_PROJECT says nothing."""
INIT_SECONDS = 15.0
_FINISH_SECONDS = 3.0
"""Of `close_seconds`, how many remain after wandb has stopped uploading; the rest stays here."""

_log = logging.getLogger(__name__)

Mode = Literal["offline", "online"]


class WandbTracker(BackgroundTracker):
    """The run's mirror at wandb.

    Args:
      mode: whether to upload at once.
      run: what is mirrored.
    """

    def __init__(self, mode: Mode, run: TrackedRun) -> None:
        self.id = run.run_id or secrets.token_hex(8)
        self._asked = mode
        self._run_dir = run.folder
        self._arguments = {
            "project": os.environ.get("WANDB_PROJECT") or PROJECT,
            "entity": os.environ.get("WANDB_ENTITY"),
            "id": self.id,
            "resume": "allow" if mode == "online" else None,
            "name": run.name,
            "group": run.group,
            "job_type": run.job_type,
            "tags": list(run.tags),
            "dir": str(run.folder),
            "config": dict(run.config),
            "reinit": "create_new",
        }
        super().__init__("wandb", run)

    def log(self, row: Mapping[str, object]) -> None:
        """See `Tracker.log`; queued, or dropped if the queue is full."""
        values = {name: value for name, value in row.items() if value is not None}
        self._put(lambda run: run.log(values))

    def file(self, path: Path) -> None:
        """See `Tracker.file`; queued, or dropped if the queue is full."""
        base = self._run_dir if path.is_relative_to(self._run_dir) else path.parent
        self._put(lambda run: _save(run, path, base))

    @property
    def left_to_do(self) -> str | None:
        """See `Tracker.left_to_do`."""
        folder = shlex.quote(str(self._run_dir / "wandb"))
        if self._thread.is_alive():
            return f"wandb: `wandb sync {folder}/*run-*` sends what is left"
        if self.mode == "offline":
            return f"wandb: `wandb sync {folder}/offline-run-*` uploads the run"
        return None

    def _open(self) -> Any:
        """A wandb run, online if that is asked for and possible, else offline; else None."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        problems = []
        attempts: tuple[Mode, ...] = (self._asked, "offline")
        for attempt in dict.fromkeys(attempts):
            try:
                run = _init_wandb(attempt, self._arguments, self._close_seconds - _FINISH_SECONDS)
                run.define_metric("env_frames", hidden=True)
                run.define_metric("*", step_metric="env_frames")
            except Exception as error:
                problems.append(f"{attempt}: {first_line(error)}")
                continue
            if problems:
                _log.warning("wandb runs offline (%s)", "; ".join(problems))
            self.mode = attempt
            return run
        _log.warning("wandb is off (%s)", "; ".join(problems))
        return None

    def _finish(self, mirror: Any) -> None:
        mirror.finish()


def _save(run: Any, path: Path, base: Path) -> None:
    # Not as a pattern: a name may hold brackets.
    if not run.save(str(path), base_path=str(base), policy="now", glob=False):
        raise OSError(f"{path.name} was not taken")


def _init_wandb(attempt: Mode, arguments: dict[str, Any], upload_seconds: float) -> Any:
    import wandb

    # wandb.init would ask for a key on the terminal, and the thread would wait for an answer.
    if attempt == "online" and not wandb.login(prompt=False):
        raise RuntimeError("no API key; `wandb login` stores one")
    wanted: dict[str, Any] = {
        "init_timeout": INIT_SECONDS,
        "finish_timeout": upload_seconds,
        "console": "off",  # it would wrap stdout, which the status line owns
        "silent": True,
        "save_code": False,
        "disable_git": True,
        "disable_job_creation": True,
    }
    known = wandb.Settings.model_fields
    settings = wandb.Settings(**{name: value for name, value in wanted.items() if name in known})
    return wandb.init(mode=attempt, settings=settings, **arguments)
