"""metadata.json: where a run came from."""

import json
from pathlib import Path

import pytest

from envs.protocol import PROTOCOLS
from relic_rl.records.metadata import METADATA_FILE, record_resume, write_metadata


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


def test_damaged_metadata_is_left_as_it_is_by_a_resume(tmp_path: Path) -> None:
    record_resume(tmp_path, "AMD EPYC (AVX2)")
    assert list(tmp_path.iterdir()) == []
    for damaged in ("[]", '{"resumed": 3}', "{"):
        (tmp_path / METADATA_FILE).write_text(damaged)
        record_resume(tmp_path, "AMD EPYC (AVX2)")
        assert (tmp_path / METADATA_FILE).read_text() == damaged
