"""Which folders become runs, and which are."""

from pathlib import Path

import pytest

from relic_rl.records.folders import LOCK_FILE, FolderError
from relic_rl.records.run_folder import (
    CONFIG_FILE,
    default_path,
    existing_run,
    expect_run,
    new_run,
)


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


@pytest.mark.parametrize("name", ["checkpoints", "segments", LOCK_FILE, "metrics.jsonl"])
def test_a_run_whose_files_are_links_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FolderError, match=f"{name} is a symbolic link"):
        existing_run(run)
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_run_is_not_made_over_another(run: Path) -> None:
    with pytest.raises(FolderError, match="holds a run already: `relic-rl resume"):
        new_run(run)
    assert (run / CONFIG_FILE).read_text() == "seed = 1\n"


def test_a_new_run_is_not_made_over_the_checkpoints_of_one_without_its_configuration(
    run: Path,
) -> None:
    (run / "checkpoints").mkdir()
    (run / CONFIG_FILE).unlink()

    with pytest.raises(FolderError, match="holds a run already"):
        new_run(run)


def test_a_run_is_not_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")

    for path in (tmp_path / "run", tmp_path / "run" / "deeper"):
        with pytest.raises(FolderError, match="cannot make run folder"):
            new_run(path)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_missing_run_and_a_folder_without_one_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(FolderError, match="nothere does not exist"):
        existing_run(tmp_path / "nothere")
    with pytest.raises(FolderError, match=r"no run folder: it has no config\.toml"):
        existing_run(tmp_path / "empty")
    with pytest.raises(FolderError, match="does not exist"):
        expect_run(tmp_path / "nothere")
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_file_in_the_place_of_a_run_is_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "policy.safetensors").write_text("")

    with pytest.raises(FolderError, match=r"policy\.safetensors is a file, no run folder"):
        existing_run(tmp_path / "policy.safetensors")


@pytest.mark.parametrize("name", ["metrics.jsonl", "episodes.csv", "evaluations.csv"])
def test_a_new_run_takes_no_folder_that_holds_tables_of_another(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")

    with pytest.raises(FolderError, match=f"holds {name}: give another --run-dir"):
        new_run(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
