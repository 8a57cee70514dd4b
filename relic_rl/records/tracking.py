"""A mirror of a run in Weights & Biases that can neither stop nor slow the run.

The run folder is the truth (`records.metrics`); a tracker only repeats it elsewhere. Every wandb
call happens in one daemon thread, fed by a bounded queue that drops, and counts, what does not
fit. wandb is imported in that thread and only when asked for. Whatever fails there (no package,
no key, no network, a full disk) costs one warning: online falls back to offline, offline to off.
"""

import logging
import os
import queue
import re
import secrets
import string
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from relic_rl.runtime.options import TrackingMode

QUEUE_ITEMS = 4096
INIT_SECONDS = 15.0
CLOSE_SECONDS = 8.0
"""How long the end of a run may wait for wandb."""
_FINISH_SECONDS = 3.0
"""Of those, how many remain after wandb has stopped uploading; what is left over stays here."""

_SECRET = re.compile("key|token|secret|password", re.IGNORECASE)
_ID_LETTERS = string.ascii_lowercase + string.digits

_log = logging.getLogger(__name__)


class Tracker:
    """What a run tells its mirror; this one, for mode "off", listens to nothing.

    Attributes:
      id: names the run at the tracker; store it, and give it back on resume. None for "off".
      mode: what it came to, final once it is closed: "online" may end as "offline" or "off".
      dropped_items: how many rows or files did not fit into the queue.
    """

    id: str | None = None
    mode: TrackingMode = "off"
    dropped_items: int = 0

    def log(self, row: Mapping[str, object]) -> None:
        """Mirrors one row of `metrics.jsonl`; it must hold `env_frames`, the x-axis."""

    def file(self, path: Path) -> None:
        """Uploads a file as it is when the thread comes to it.

        It keeps its path in the run folder; from elsewhere, its bare name.
        """

    def close(self) -> None:
        """Ends the mirror; waits `close_seconds` at most."""


def make_tracker(
    mode: TrackingMode,
    run_dir: Path,
    config: Mapping[str, object],
    *,
    name: str,
    group: str | None = None,
    job_type: str = "train",
    tags: tuple[str, ...] = (),
    run_id: str | None = None,
    close_seconds: float = CLOSE_SECONDS,
) -> Tracker:
    """Returns the run's tracker; never fails, never waits.

    Args:
      mode: "off"; "offline" writes below `run_dir/wandb` for a later `wandb sync`; "online".
      run_dir: the run folder.
      config: the resolved configuration; entries named like secrets are left out.
      name: the run's name at the tracker.
      group: what it is shown together with: its sweep.
      job_type: what kind of run of its group it is.
      tags: such as the game and the preset.
      run_id: the id of an earlier session of the same run, which is then continued.
      close_seconds: how long `close` may wait.

    Raises:
      ValueError: if mode is none of the three.
    """
    if mode == "off":
        return Tracker()
    if mode not in ("offline", "online"):
        raise ValueError(f"track is {mode!r}: it must be off, offline or online")
    run_id = run_id or "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    arguments = {
        "project": "relic-rl",
        "id": run_id,
        "resume": "allow" if mode == "online" else None,
        "name": name,
        "group": group,
        "job_type": job_type,
        "tags": list(tags),
        "dir": str(run_dir),
        "config": without_secrets(config),
        "reinit": "create_new",
    }
    return _WandbTracker(mode, run_dir, run_id, arguments, close_seconds)


def without_secrets(config: Mapping[str, object]) -> dict[str, object]:
    """Returns the config without entries, at any depth, whose names speak of key or token."""
    return {
        name: without_secrets(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if not _SECRET.search(name)
    }


class _WandbTracker(Tracker):
    def __init__(
        self,
        mode: TrackingMode,
        run_dir: Path,
        run_id: str,
        arguments: Mapping[str, Any],
        close_seconds: float,
    ) -> None:
        self.id = run_id
        self._close_seconds = close_seconds
        self._run_dir = run_dir
        self._calls: queue.Queue[Callable[[Any], None]] = queue.Queue(QUEUE_ITEMS)
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(mode, dict(arguments)), name="wandb", daemon=True
        )
        self._thread.start()

    def log(self, row: Mapping[str, object]) -> None:
        values = {name: value for name, value in row.items() if value is not None}
        self._put(lambda run: run.log(values))

    def file(self, path: Path) -> None:
        base = self._run_dir if path.is_relative_to(self._run_dir) else path.parent
        self._put(lambda run: run.save(str(path), base_path=str(base), policy="now"))

    def close(self) -> None:
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

    def _work(self, mode: TrackingMode, arguments: dict[str, Any]) -> None:
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
                    _log.warning("wandb: %s; the run goes on", _first_line(error))
                failed = True
        try:
            if run is not None:
                run.finish()
        except Exception as error:
            _log.warning("wandb did not finish: %s", _first_line(error))


def _start_run(
    mode: TrackingMode, arguments: dict[str, Any], upload_seconds: float
) -> tuple[Any, TrackingMode]:
    """A wandb run, online if that is asked for and possible, else offline; else None and "off"."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    problems = []
    attempts: dict[str, tuple[Literal["online", "offline"], ...]] = {
        "online": ("online", "offline"),
        "offline": ("offline",),
    }
    for attempt in attempts[mode]:
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


def _init_wandb(
    attempt: Literal["online", "offline"], arguments: dict[str, Any], upload_seconds: float
) -> Any:
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
