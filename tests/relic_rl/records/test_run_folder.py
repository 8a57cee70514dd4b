import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.protocol import PROTOCOLS
from relic_rl.records.run_folder import (
    CONFIG_FILE,
    LOCK_FILE,
    METADATA_FILE,
    RunFolderError,
    default_path,
    existing_run,
    expect_run,
    is_in_use,
    new_run,
    record_resume,
    write_metadata,
)

HOLDER = """
import sys
from pathlib import Path
from relic_rl.records.run_folder import existing_run

folder = existing_run(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder that holds a run, owned by nobody."""
    path = tmp_path / "run"
    new_run(path).close()
    (path / CONFIG_FILE).write_text("seed = 1\n")
    return path


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
    with pytest.raises(RunFolderError, match=f"in use by process {holder.pid}: ") as error:
        existing_run(run)
    assert str(error.value).endswith(": stop it first")  # a resume has no other folder to take


def test_a_folder_that_is_just_being_made_cannot_be_made_twice(tmp_path: Path) -> None:
    first = new_run(tmp_path / "run")  # its configuration is not written yet

    words = f"in use by process {os.getpid()}: stop it first, or give another --run-dir"
    with pytest.raises(RunFolderError, match=words):
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
from relic_rl.records.run_folder import is_in_use

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

    with pytest.raises(RunFolderError, match=f"cannot lock .*: {os.strerror(code)}: ") as error:
        existing_run(run)
    assert "\n" not in str(error.value)
    assert not is_in_use(run)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [".hidden", "-x", "..", "with space", "new\nline", "é", "a" * 101, "semi;colon", "*"],
)
def test_an_unfit_name_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunFolderError, match="is unfit") as error:
        new_run(tmp_path / "runs" / name)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "_", "pong-laptop-s0", "v1.2_final", "9" * 100])
def test_a_fit_name_is_taken_and_parents_are_made(tmp_path: Path, name: str) -> None:
    path = tmp_path / "runs" / "deep" / name
    new_run(path).close()

    assert path.is_dir()


def test_default_names_are_fit_and_tell_runs_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = default_path("ms_pacman", "configs/mine.toml", 7)
    odd = default_path("ms_pacman", "meine große Idee.toml", 7)
    for each in (path, odd):
        new_run(each).close()

    assert path.parts[:-1] == ("runs",)
    assert path.name.startswith("ms_pacman-mine-s7-2")
    assert odd.name.startswith("ms_pacman-meine-gro-e-Idee-s7-2")


def test_a_path_that_climbs_or_a_link_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RunFolderError, match=r"without '\.\.'"):
        new_run(tmp_path / "runs" / ".." / "run")
    with pytest.raises(RunFolderError, match="symbolic link"):
        new_run(tmp_path / "link")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["checkpoints", "segments", LOCK_FILE, "metrics.jsonl"])
def test_a_run_whose_files_are_links_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RunFolderError, match=f"{name} is a symbolic link"):
        existing_run(run)
    assert not (tmp_path / "elsewhere").exists()


# --- what is there --------------------------------------------------------------------------------


def test_a_new_run_is_not_made_over_another(run: Path) -> None:
    with pytest.raises(RunFolderError, match="holds a run already: `relic-rl resume"):
        new_run(run)
    assert (run / CONFIG_FILE).read_text() == "seed = 1\n"


def test_a_new_run_is_not_made_over_the_checkpoints_of_one_without_its_configuration(
    run: Path,
) -> None:
    (run / "checkpoints").mkdir()
    (run / CONFIG_FILE).unlink()

    with pytest.raises(RunFolderError, match="holds a run already"):
        new_run(run)


def test_a_run_is_not_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")

    for path in (tmp_path / "run", tmp_path / "run" / "deeper"):
        with pytest.raises(RunFolderError, match="cannot make run folder"):
            new_run(path)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_missing_run_and_a_folder_without_one_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(RunFolderError, match="nothere does not exist"):
        existing_run(tmp_path / "nothere")
    with pytest.raises(RunFolderError, match=r"no run folder: it has no config\.toml"):
        existing_run(tmp_path / "empty")
    with pytest.raises(RunFolderError, match="does not exist"):
        expect_run(tmp_path / "nothere")
    assert list((tmp_path / "empty").iterdir()) == []


def test_metadata_names_versions_rom_commit_machine_and_protocol(tmp_path: Path) -> None:
    write_metadata(
        tmp_path,
        game="Pong",
        rom_md5="60e0ea3cbe0913d39803477945e9e5ec",
        seed=3,
        protocol=PROTOCOLS["machado"],
        action_set="full",
        preset="smoke",
        learner_device="AMD EPYC (AVX2)",
    )
    metadata = json.loads((tmp_path / METADATA_FILE).read_text())

    assert (metadata["game"], metadata["seed"], metadata["preset"]) == ("Pong", 3, "smoke")
    assert (metadata["protocol"], metadata["action_set"]) == ("machado", "full")
    assert metadata["protocol_sticky_probability"] == 0.25
    assert metadata["protocol_max_episode_frames"] == 108_000
    assert metadata["rom_md5"] == "60e0ea3cbe0913d39803477945e9e5ec"
    for name in ("relic_rl", "torch", "numpy", "gymnasium", "ale_py", "python", "machine"):
        assert metadata[name]
    assert metadata["learner_device"] == "AMD EPYC (AVX2)"
    assert "commit" in metadata


def test_a_machine_without_git_records_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    write_metadata(
        tmp_path,
        game="Pong",
        rom_md5=None,
        seed=3,
        protocol=PROTOCOLS["noop"],
        action_set="full",
        preset="smoke",
        learner_device="AMD EPYC (AVX2)",
    )

    assert json.loads((tmp_path / METADATA_FILE).read_text())["commit"] is None


@pytest.mark.parametrize("name", ["metrics.jsonl", "episodes.csv", "evaluations.csv"])
def test_a_new_run_takes_no_folder_that_holds_tables_of_another(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")

    with pytest.raises(RunFolderError, match=f"holds {name}: give another --run-dir"):
        new_run(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_damaged_metadata_is_left_as_it_is_by_a_resume(tmp_path: Path) -> None:
    record_resume(tmp_path, "AMD EPYC (AVX2)")
    assert list(tmp_path.iterdir()) == []
    for damaged in ("[]", '{"resumed": 3}', "{"):
        (tmp_path / METADATA_FILE).write_text(damaged)
        record_resume(tmp_path, "AMD EPYC (AVX2)")
        assert (tmp_path / METADATA_FILE).read_text() == damaged
