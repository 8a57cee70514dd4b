"""The lock of a folder, and the names that folders of ours have."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relic_rl.records.folders import FolderError, is_in_use
from relic_rl.records.run_folder import existing_run, new_run

HOLDER = """
import sys
from pathlib import Path
from relic_rl.records.run_folder import existing_run

folder = existing_run(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(run: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that owns `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


# --- the lock -------------------------------------------------------------------------------------


def test_a_folder_that_another_process_owns_is_refused_in_one_line_that_names_it(
    run: Path, holder: "subprocess.Popen[str]"
) -> None:
    with pytest.raises(FolderError, match=f"in use by process {holder.pid}: ") as error:
        existing_run(run)
    assert str(error.value).endswith(": stop it first")  # a resume has no other folder to take


def test_a_folder_that_is_just_being_made_cannot_be_made_twice(tmp_path: Path) -> None:
    first = new_run(tmp_path / "run")  # its configuration is not written yet

    words = f"in use by process {os.getpid()}: stop it first, or give another --run-dir"
    with pytest.raises(FolderError, match=words):
        new_run(tmp_path / "run")
    first.close()


def test_the_lock_goes_with_its_process_however_that_ends(
    run: Path, holder: "subprocess.Popen[str]"
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    existing_run(run).close()

    assert (run / "lock").read_text() == str(os.getpid())


def test_a_folder_that_was_given_back_can_be_taken_again(run: Path) -> None:
    for _ in range(2):
        existing_run(run).close()


def test_a_full_disk_keeps_nobody_from_a_folder(run: Path, files_limited_to: Any) -> None:
    with files_limited_to(0):
        folder = existing_run(run)

    assert is_in_use(run)
    folder.close()
    assert not is_in_use(run)


def test_a_child_process_does_not_inherit_the_lock(run: Path) -> None:
    folder = existing_run(run)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    folder.close()
    try:
        existing_run(run).close()
    finally:
        child.kill()
        child.wait()


POLLER = """
import sys
from pathlib import Path
from relic_rl.records.folders import is_in_use

print("polling", flush=True)
while True:
    is_in_use(Path(sys.argv[1]))
"""


def test_somebody_who_only_asks_whether_a_folder_is_in_use_keeps_nobody_out(run: Path) -> None:
    poller = subprocess.Popen(
        [sys.executable, "-c", POLLER, run], stdout=subprocess.PIPE, text=True
    )
    try:
        assert poller.stdout is not None
        assert poller.stdout.readline() == "polling\n"
        for _ in range(300):
            existing_run(run).close()
    finally:
        poller.kill()
        poller.communicate()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_called_that_and_not_a_folder_in_use(
    run: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with pytest.raises(FolderError, match=f"cannot lock .*: {os.strerror(code)}: ") as error:
        existing_run(run)
    assert "\n" not in str(error.value)
    assert not is_in_use(run)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [".hidden", "-x", "..", "with space", "new\nline", "é", "a" * 101, "semi;colon", "*"],
)
def test_an_unfit_name_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(FolderError, match="is unfit") as error:
        new_run(tmp_path / "runs" / name)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "_", "pong-laptop-s0", "v1.2_final", "9" * 100])
def test_a_fit_name_is_taken_and_parents_are_made(tmp_path: Path, name: str) -> None:
    path = tmp_path / "runs" / "deep" / name
    new_run(path).close()

    assert path.is_dir()


def test_a_path_that_climbs_or_a_link_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FolderError, match=r"without '\.\.'"):
        new_run(tmp_path / "runs" / ".." / "run")
    with pytest.raises(FolderError, match="symbolic link"):
        new_run(tmp_path / "link")
    assert list((tmp_path / "elsewhere").iterdir()) == []
