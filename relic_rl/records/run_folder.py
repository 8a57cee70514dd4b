"""A run folder: its names, its one owner, and what is recorded of where the run came from.

RUN/config.toml  metadata.json  metrics.jsonl  episodes.csv  evaluations.csv  log.txt
    checkpoints/  segments/  lock
"""

import fcntl
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import relic_rl
from envs.protocol import Protocol
from relic_rl.errors import UserError
from relic_rl.records.metrics import FILES as TABLES

CONFIG_FILE = "config.toml"
METADATA_FILE = "metadata.json"
LOG_FILE = "log.txt"
LOCK_FILE = "lock"
SWEEP_FILE = "sweep.toml"
"""In the folder of a sweep, whose runs are two folders below."""
NO_GRID = "runs"
"""The folder of a sweep's runs, where they differ in game and seed alone."""
_ASKING_SECONDS = 0.2  # far longer than `is_in_use` holds a lock
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class RunFolderError(UserError):
    """The run folder is not what the command needs."""


class FolderLock:
    """A folder that this process owns: until `close`, or until it ends, however it does.

    Args:
      path: of the folder, which is there.
      kind: of folder, in words.
      otherwise: what else a user can do where another process has it.

    Raises:
      RunFolderError: another process has it, or its file system has no locks.
    """

    def __init__(self, path: Path, kind: str, otherwise: str | None = None) -> None:
        or_else = f", or {otherwise}" if otherwise else ""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._handle = os.open(path / LOCK_FILE, flags, 0o644)
        try:
            _take(self._handle)
        except BlockingIOError as error:
            owner = os.read(self._handle, 32).decode(errors="replace").strip()
            self.close()
            raise RunFolderError(
                f"{kind} {path} is in use by process {owner or '(unknown)'}: stop it first{or_else}"
            ) from error
        except OSError as error:
            self.close()
            raise RunFolderError(
                f"cannot lock {kind} {path}: {error.strerror}: use a file system that has locks"
                f"{or_else}"
            ) from error
        os.ftruncate(self._handle, 0)
        os.write(self._handle, str(os.getpid()).encode())

    def close(self) -> None:
        """Gives the folder back."""
        os.close(self._handle)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_run(path: Path) -> FolderLock:
    """Makes a new run folder and takes it.

    Raises:
      RunFolderError: the name is unfit, a run or its tables are there already, or it cannot be
        written.
    """
    check_path(path, "run folder")
    if holds_run(path):
        raise RunFolderError(
            f"{path} holds a run already: `relic-rl resume {path}` goes on with it, or give "
            "another --run-dir"
        )
    if lost := [name for name in TABLES if (path / name).exists()]:
        raise RunFolderError(f"{path} holds {' and '.join(lost)}: give another --run-dir")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make run folder {path}: {error.strerror}") from error
    return FolderLock(path, "run folder", "give another --run-dir")


def existing_run(path: Path) -> FolderLock:
    """Takes an existing run folder.

    Raises:
      RunFolderError: there is no run, or another process owns it.
    """
    expect_run(path)
    return FolderLock(path, "run folder")


def check_path(path: Path, kind: str) -> None:
    """Refuses what a folder of ours is not called, and what would lead elsewhere.

    Raises:
      RunFolderError: the name is unfit, `..` is on the way, or the folder is a symbolic link.
    """
    if ".." in path.parts:
        raise RunFolderError(f"{kind} {str(path)[:200]!r} is unfit: give a path without '..'")
    if not _NAME.fullmatch(path.name) or len(str(path)) > 1000:
        raise RunFolderError(
            f"{kind} name {path.name[:60]!r} is unfit: use up to 100 letters, digits, '.', '_' and "
            "'-', not beginning with '.' or '-'"
        )
    _expect_no_link(path, kind)


def holds_run(path: Path) -> bool:
    """Whether a run was begun there, also one that has lost its configuration since."""
    return (path / CONFIG_FILE).exists() or (path / "checkpoints").exists()


def expect_run(path: Path) -> None:
    """Raises RunFolderError unless the folder holds a run, and nothing that leads elsewhere."""
    try:
        if not path.is_dir():
            raise RunFolderError(f"run folder {path} does not exist")
        if not (path / CONFIG_FILE).is_file():
            raise RunFolderError(f"{path} is no run folder: it has no {CONFIG_FILE}")
        for entry in (path, *path.iterdir()):
            _expect_no_link(entry, "run folder" if entry == path else "file of a run")
    except OSError as error:
        raise RunFolderError(f"cannot open run folder {path}: {error.strerror}") from error


def _expect_no_link(path: Path, kind: str) -> None:
    if path.is_symlink():
        raise RunFolderError(
            f"{kind} {path} is a symbolic link: what is written must stay inside, so give the "
            "folder itself"
        )


def default_path(game_slug: str, preset: str, seed: int) -> Path:
    """`runs/pong-laptop-s0-20261123-004500`."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    own = re.sub(r"[^A-Za-z0-9._-]", "-", Path(preset).stem)[:40]  # a file may be called anything
    return Path("runs") / f"{game_slug}-{own}-s{seed}-{stamp}"


def names_of(run_dir: Path) -> tuple[str, str | None]:
    """A run's name and its sweep's: `pong-s0`, or `arm=relic/pong-s0`; None outside of a sweep."""
    run = run_dir.resolve()
    sweep, label = run.parent.parent, run.parent.name
    if not (sweep / SWEEP_FILE).is_file():
        return run.name, None
    return (run.name if label == NO_GRID else f"{label}/{run.name}"), sweep.name


def write_metadata(
    path: Path,
    *,
    game: str,
    rom_md5: str | None,
    seed: int,
    protocol: Protocol,
    action_set: str,
    preset: str,
    learner_device: str,
) -> None:
    """Records versions, ROM, protocol, commit and machine beside the configuration."""
    metadata: dict[str, Any] = {
        "game": game,
        "seed": seed,
        "preset": preset,
        "protocol": protocol.name,
        **{f"protocol_{name}": value for name, value in asdict(protocol).items() if name != "name"},
        "action_set": action_set,
        "rom_md5": rom_md5,
        **_session(learner_device),
    }
    write_whole(path / METADATA_FILE, json.dumps(metadata, indent=1) + "\n")


def record_resume(path: Path, learner_device: str) -> None:
    """Adds what a run goes on with: versions, commit, machine. Damaged metadata stays as it is."""
    try:
        metadata = json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))
        metadata["resumed"] = [*metadata.get("resumed", ()), _session(learner_device)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    write_whole(path / METADATA_FILE, json.dumps(metadata, indent=1) + "\n")


def _session(learner_device: str) -> dict[str, Any]:
    """What may differ between a run's start and each resume."""
    return {
        **{
            name.replace("-", "_"): importlib.metadata.version(name)
            for name in ("relic-rl", "torch", "numpy", "gymnasium", "ale-py")
        },
        "python": platform.python_version(),
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "learner_device": learner_device,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def expect_emulator(path: Path, rom_md5: str | None) -> None:
    """Refuses a run that was begun on another emulator: its scores would be of neither.

    Args:
      path: the run folder; if its metadata.json is missing or damaged, nothing is refused.
      rom_md5: of the game here; None for a toy.

    Raises:
      RunFolderError: ale-py's version or the ROM is another one.
    """
    try:
        found = json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))
        version, rom = found["ale_py"], found["rom_md5"]
    except (OSError, ValueError, LookupError, TypeError):
        return
    here = importlib.metadata.version("ale-py")
    if version != here:
        raise RunFolderError(
            f"{path} was begun with ale-py {version}, here is {here}: install that version, or "
            "start a new run"
        )
    if rom != rom_md5:
        raise RunFolderError(
            f"{path} was begun with another ROM (MD5 {rom}, here {rom_md5}): bring that one back, "
            "or start a new run"
        )


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that it is whole, old or new, whenever the process dies."""
    staged = file.with_name(f".{file.name}")
    with staged.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(file)


def _take(handle: int) -> None:
    """Locks it, and waits an instant before giving up: `is_in_use` holds it for as long."""
    until = time.monotonic() + _ASKING_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(_ASKING_SECONDS / 20)


def is_in_use(path: Path) -> bool:
    """Whether a process holds the folder's lock."""
    try:
        handle = os.open(path / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here, so nobody holds one
        return False
    finally:
        os.close(handle)
    return False


def _commit() -> str | None:
    """The checkout's commit, if the package runs from one."""
    here = Path(relic_rl.__file__).parent.parent
    if not (here / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # a checkout copied to where there is no git
        return None
    return result.stdout.strip() or None
