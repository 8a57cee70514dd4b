"""A run folder: which folders may become or are one. ARCHITECTURE.md lists its files."""

import re
import time
from pathlib import Path

from relic_rl.errors import command
from relic_rl.records.folders import (
    FolderError,
    FolderLock,
    check_path,
    expect_no_link,
    make_writable,
    refusing,
)
from relic_rl.records.metrics import FILES as TABLES

CONFIG_FILE = "config.toml"
LOG_FILE = "log.txt"
POLICY_SUFFIX = ".safetensors"
"""Of a file that holds an agent's policy alone."""
POLICY_FILE = f"policy{POLICY_SUFFIX}"
"""What is left of a finished run's agent with `run.keep = "policy"`."""


def new_run(path: Path) -> FolderLock:
    """Makes a new run folder and takes it.

    Raises:
      FolderError: the name is unfit, a run or its tables are there already, or it cannot be
        written.
    """
    check_path(path, "run folder")
    if holds_run(path):
        raise FolderError(
            f"{path} holds a run already: {command('resume', path)} continues it, or give another "
            "--run-dir"
        )
    if lost := [name for name in TABLES if (path / name).exists()]:
        raise FolderError(f"{path} holds {' and '.join(lost)}: give another --run-dir")
    make_writable(path, "run folder")
    return FolderLock(path, "run folder", "give another --run-dir")


def existing_run(path: Path) -> FolderLock:
    """Takes an existing run folder.

    Raises:
      FolderError: there is no run, or another process owns it.
    """
    expect_run(path)
    return FolderLock(path, "run folder")


def holds_run(path: Path) -> bool:
    """Whether a run began there, also one that has lost its configuration since."""
    return (path / CONFIG_FILE).exists() or (path / "checkpoints").exists()


def expect_run(path: Path) -> None:
    """Raises FolderError unless the folder holds a run, and nothing that leads elsewhere."""
    with refusing(f"open run folder {path}"):
        if not path.is_dir():
            problem = "is a file, no run folder" if path.exists() else "does not exist"
            raise FolderError(f"{path} {problem}")
        if not (path / CONFIG_FILE).is_file():
            raise FolderError(f"{path} is no run folder: it has no {CONFIG_FILE}")
        for entry in (path, *path.iterdir()):
            expect_no_link(entry, "run folder" if entry == path else "file of a run")


def default_path(game_slug: str, preset: str, seed: int, name: str | None = None) -> Path:
    """`runs/pong-laptop-s0-20261123-004500`, or a name instead of the preset's."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    own = re.sub(r"[^A-Za-z0-9._-]", "-", Path(preset).stem)[:40]  # a file may be called anything
    return Path("runs") / f"{game_slug}-{name or own}-s{seed}-{stamp}"
