"""metadata.json: where a run came from."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import relic_rl
from envs.interface import EnvSpec
from envs.protocol import PROTOCOLS
from envs.toy import SPEC as TOY
from relic_rl.records.metadata import METADATA_FILE, record_resume, write_metadata

MD5 = "60e0ea3cbe0913d39803477945e9e5ec"
PONG = EnvSpec("Pong", 4, ("NOOP", "FIRE"), 84, 84, PROTOCOLS["noop"], "full")


def test_metadata_names_versions_rom_commit_machine_and_protocol(tmp_path: Path) -> None:
    write_metadata(
        tmp_path,
        spec=replace(PONG, protocol=PROTOCOLS["machado"], rom_md5=MD5),
        seed=3,
        preset="smoke",
        learner_device="AMD EPYC (AVX2)",
        learner_threads=2,
    )
    metadata = json.loads((tmp_path / METADATA_FILE).read_text())

    assert (metadata["game"], metadata["seed"], metadata["preset"]) == ("Pong", 3, "smoke")
    assert (metadata["protocol"], metadata["action_set"]) == ("machado", "full")
    assert metadata["protocol_sticky_probability"] == 0.25
    assert metadata["protocol_max_episode_frames"] == 108_000
    assert (metadata["rom_md5"], metadata["frames_per_step"]) == (MD5, 4)
    for name in ("relic_rl", "torch", "numpy", "gymnasium", "ale_py", "python", "machine"):
        assert metadata[name]
    assert metadata["learner_device"] == "AMD EPYC (AVX2)"
    assert metadata["learner_threads"] == 2


def test_the_commit_is_ours_also_where_git_is_told_of_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = Path(relic_rl.__file__).parents[1], tmp_path / "other"
    if not (here / ".git").exists():
        pytest.skip("the sources are no checkout")
    head = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout
    git = ["git", "-C", str(other), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    recorded = (commit_recorded_in(tmp_path) or "no commit").removesuffix("-dirty")
    assert head.startswith(recorded)


def test_an_environment_without_choices_has_no_protocol_and_its_own_frames_a_step(
    tmp_path: Path,
) -> None:
    write_metadata(
        tmp_path, spec=TOY, seed=3, preset="smoke", learner_device="x", learner_threads=2
    )
    metadata = json.loads((tmp_path / METADATA_FILE).read_text())

    assert (metadata["game"], metadata["frames_per_step"]) == ("toy_memory", 1)
    assert (metadata["protocol"], metadata["action_set"], metadata["rom_md5"]) == (None,) * 3
    assert not any(name.startswith("protocol_") for name in metadata)


def test_a_machine_without_git_records_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert commit_recorded_in(tmp_path) is None


def commit_recorded_in(folder: Path) -> str | None:
    write_metadata(
        folder,
        spec=PONG,
        seed=3,
        preset="smoke",
        learner_device="AMD EPYC (AVX2)",
        learner_threads=2,
    )
    commit: str | None = json.loads((folder / METADATA_FILE).read_text())["commit"]
    return commit


def test_damaged_metadata_is_left_as_it_is_by_a_resume(tmp_path: Path) -> None:
    record_resume(tmp_path, learner_device="AMD EPYC (AVX2)", learner_threads=2)
    assert list(tmp_path.iterdir()) == []
    for damaged in ("[]", '{"resumed": 3}', "{"):
        (tmp_path / METADATA_FILE).write_text(damaged)
        record_resume(tmp_path, learner_device="AMD EPYC (AVX2)", learner_threads=2)
        assert (tmp_path / METADATA_FILE).read_text() == damaged
