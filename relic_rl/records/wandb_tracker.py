"""A mirror of a run in Weights & Biases that can neither stop nor slow the run.

Every wandb call happens in one daemon thread, fed by a bounded queue that drops, and counts, what
does not fit. wandb is imported in that thread. Whatever fails there (no package, no key, no
network, a full disk) costs one warning: online falls back to offline, offline to off.
"""

import logging
import os
import queue
import secrets
import string
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from relic_rl.records.tracking import TrackedRun, Tracker

QUEUE_ITEMS = 4096
INIT_SECONDS = 15.0
_FINISH_SECONDS = 3.0
"""Of `close_seconds`, how many remain after wandb has stopped uploading; the rest stays here."""

_ID_LETTERS = string.ascii_lowercase + string.digits

_log = logging.getLogger(__name__)

Mode = Literal["offline", "online"]


class WandbTracker(Tracker):
    """The run's mirror at wandb.

    Args:
      mode: whether to upload at once.
      run: what is mirrored.
    """

    def __init__(self, mode: Mode, run: TrackedRun) -> None:
        self.id = run.run_id or "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
        self._close_seconds = run.close_seconds
        self._run_dir = run.folder
        self._calls: queue.Queue[Callable[[Any], None]] = queue.Queue(QUEUE_ITEMS)
        self._closing = threading.Event()
        arguments = {
            "project": "relic-rl",
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
        self._thread = threading.Thread(
            target=self._work, args=(mode, arguments), name="wandb", daemon=True
        )
        self._thread.start()

    def log(self, row: Mapping[str, object]) -> None:
        """See `Tracker.log`; queued, or dropped if the queue is full."""
        values = {name: value for name, value in row.items() if value is not None}
        self._put(lambda run: run.log(values))

    def file(self, path: Path) -> None:
        """See `Tracker.file`; queued, or dropped if the queue is full."""
        base = self._run_dir if path.is_relative_to(self._run_dir) else path.parent
        self._put(lambda run: run.save(str(path), base_path=str(base), policy="now"))

    def close(self) -> None:
        """See `Tracker.close`."""
        self._closing.set()
        self._thread.join(self._close_seconds)
        if self._thread.is_alive():
            _log.warning(
                "wandb did not finish within %g s; `wandb sync %s` sends the rest",
                self._close_seconds,
                self._run_dir / "wandb",
            )
        if self.dropped_items:
            _log.warning(
                "wandb was too slow: %d rows or files were not mirrored", self.dropped_items
            )

    def _put(self, call: Callable[[Any], None]) -> None:
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self.dropped_items += 1

    def _work(self, mode: Mode, arguments: dict[str, Any]) -> None:
        run, self.mode = _start_run(mode, arguments, self._close_seconds - _FINISH_SECONDS)
        failed = False
        while True:
            try:
                call = self._calls.get(timeout=0.1)
            except queue.Empty:
                if self._closing.is_set():
                    break
                continue
            try:
                if run is not None:
                    call(run)
            except Exception as error:
                if not failed:
                    _log.warning("wandb: %s; the run continues", _first_line(error))
                failed = True
        try:
            if run is not None:
                run.finish()
        except Exception as error:
            _log.warning("wandb did not finish: %s", _first_line(error))


def _start_run(mode: Mode, arguments: dict[str, Any], upload_seconds: float) -> tuple[Any, str]:
    """A wandb run, online if that is asked for and possible, else offline; else None and "off"."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    problems = []
    attempts: tuple[Mode, ...] = ("online", "offline") if mode == "online" else ("offline",)
    for attempt in attempts:
        try:
            run = _init_wandb(attempt, arguments, upload_seconds)
            run.define_metric("env_frames", hidden=True)
            run.define_metric("*", step_metric="env_frames")
        except Exception as error:
            problems.append(f"{attempt}: {_first_line(error)}")
            continue
        if problems:
            _log.warning("wandb runs offline (%s)", "; ".join(problems))
        return run, attempt
    _log.warning("wandb is off (%s)", "; ".join(problems))
    return None, "off"


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


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
