"""What folders of runs and of sweeps share: fit names, one owner at a time, files written whole."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relic_rl.errors import UserError

LOCK_FILE = "lock"
_REWRITING_FILE = ".rewriting.lock"
_ASKING_SECONDS = 0.2  # far longer than `is_in_use` holds a lock
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class FolderError(UserError):
    """A folder, or a file of it, is not what the command needs."""


@contextmanager
def refusing(doing: str) -> Iterator[None]:
    """Raises FolderError, `cannot DOING: why`, for what the system refuses in the block."""
    try:
        yield
    except OSError as error:
        raise FolderError(f"cannot {doing}: {error.strerror or error}") from error


class FolderLock:
    """A folder that this process owns: until `close`, or until it ends, however it does.

    Args:
      path: of the folder, which is there.
      kind: of folder, in words.
      otherwise: what else a user can do where another process has it.

    Raises:
      FolderError: it cannot be written, another process has it, or its file system has no locks.
    """

    def __init__(self, path: Path, kind: str, otherwise: str | None = None) -> None:
        or_else = f", or {otherwise}" if otherwise else ""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with refusing(f"write in {kind} {path}"):
            self._handle = os.open(path / LOCK_FILE, flags, 0o644)
        try:
            _take(self._handle)
        except BlockingIOError as error:
            owner = os.read(self._handle, 32).decode(errors="replace").strip()
            self.close()
            raise FolderError(
                f"{kind} {path} is in use by process {owner or '(unknown)'}: stop it first{or_else}"
            ) from error
        except OSError as error:
            self.close()
            raise FolderError(
                f"cannot lock {kind} {path}: {error.strerror}: use a file system that has locks"
                f"{or_else}"
            ) from error
        with suppress(OSError):  # a full disk: a message will not name this process
            os.ftruncate(self._handle, 0)
            os.write(self._handle, str(os.getpid()).encode())

    def close(self) -> None:
        """Gives the folder back."""
        os.close(self._handle)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    except OSError:  # no locks here, so none is held
        return False
    finally:
        os.close(handle)
    return False


def check_path(path: Path, kind: str) -> None:
    """Refuses what a folder of ours is not called, and what would lead elsewhere.

    Raises:
      FolderError: the name is unfit, `..` is on the way, or the folder is a symbolic link.
    """
    if ".." in path.parts:
        raise FolderError(f"{kind} {str(path)[:200]!r} is unfit: give a path without '..'")
    if not _NAME.fullmatch(path.name) or len(str(path)) > 1000:
        raise FolderError(
            f"{kind} name {path.name[:60]!r} is unfit: use up to 100 letters, digits, '.', '_' and "
            "'-', not beginning with '.' or '-'"
        )
    expect_no_link(path, kind)


def expect_no_link(path: Path, kind: str) -> None:
    """Raises FolderError for a symbolic link: what is written must stay inside."""
    if path.is_symlink():
        raise FolderError(
            f"{kind} {path} is a symbolic link: what is written must stay inside, so give the "
            "folder itself"
        )


def make_writable(path: Path, kind: str) -> None:
    """Makes a folder, and those above it; raises FolderError unless files can be made in it."""
    with refusing(f"make {kind} {path}"):
        path.mkdir(parents=True, exist_ok=True)
    expect_writable(path, kind)


def expect_writable(path: Path, kind: str) -> None:
    """Raises FolderError unless files can be made in a folder: before the work, not after it."""
    with refusing(f"write in {kind} {path}"), tempfile.TemporaryFile(dir=path):
        pass


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other process rewrites a file there, which takes each an instant.

    Not by the folder's own lock: a run that trains there holds it for hours.

    Raises:
      OSError: nothing can be written there.
    """
    with (folder / _REWRITING_FILE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_whole(file: Path, content: str | bytes | memoryview) -> None:
    """Writes a file so that it is whole, old or new, whenever the process dies."""
    staged = file.with_name(f".{file.name}")
    try:
        with staged.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(file)
    except OSError:  # a full disk: what there is of it only takes room
        with suppress(OSError):
            staged.unlink()
        raise


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
