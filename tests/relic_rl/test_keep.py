"""What a finished run leaves of itself, by `run.keep`, and what can still be done with it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relic_rl import api, cli
from relic_rl.records.run_status import read_status

TINY = {"run.frames": 600, "run.threads": 1, "replay.min_steps": 64, "evaluation.episodes": 1}
Evaluated = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run, three times, with other remains."""
    folder = tmp_path_factory.mktemp("keep")
    return {
        keep: api.train(
            "toy_memory", preset="smoke", run_dir=folder / keep, settings=TINY | {"run.keep": keep}
        )
        for keep in ("replay", "checkpoint", "policy")
    }


def test_each_leaves_what_it_says(runs: dict[str, Path]) -> None:
    def left(keep: str) -> set[str]:
        return {path.name for path in runs[keep].iterdir()}

    assert left("replay") - left("checkpoint") == {"segments"}
    assert left("policy") - left("checkpoint") == {"policy.safetensors"}
    assert len(list((runs["checkpoint"] / "checkpoints").iterdir())) == 1
    assert not (runs["policy"] / "checkpoints").exists() or not list(
        (runs["policy"] / "checkpoints").iterdir()
    )


@pytest.mark.parametrize("keep", ["checkpoint", "policy"])
def test_what_is_left_plays_as_all_of_it_did(
    keep: str, runs: dict[str, Path], evaluated: Evaluated
) -> None:
    assert evaluated(runs[keep]) == evaluated(runs["replay"])
    assert read_status(runs[keep]).finished


@pytest.mark.parametrize(
    ("keep", "says"), [("checkpoint", "has no replay to resume with"), ("policy", "are gone")]
)
def test_it_is_not_resumed_and_a_line_says_why(
    keep: str,
    says: str,
    runs: dict[str, Path],
    evaluated: Evaluated,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = evaluated(runs[keep])

    status = cli.main(["resume", str(runs[keep]), "--frames", "900"])

    assert status == 1
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert evaluated(runs[keep]) == before


def test_a_run_that_once_set_a_damaged_checkpoint_aside_plays_by_its_policy_file(
    runs: dict[str, Path], tmp_path: Path, evaluated: Evaluated
) -> None:
    run = Path(shutil.copytree(runs["replay"], tmp_path / "run"))
    newest = max((run / "checkpoints").iterdir())
    shutil.copytree(newest, newest.with_name(f"damaged-{newest.name}"))

    assert cli.main(["resume", str(run), "--frames", "700", "--run.keep", "policy"]) == 0

    assert list((run / "checkpoints").iterdir()) == []
    assert evaluated(run)["env_frames"] >= 700


def test_a_run_that_learned_nothing_keeps_what_it_is_resumed_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TINY | {"replay.min_steps": 500, "run.keep": "policy"}
    run = api.train("toy_memory", preset="smoke", run_dir=tmp_path / "run", settings=settings)

    assert "nothing was learned" in capsys.readouterr().out
    assert cli.main(["resume", str(run), "--frames", "1000"]) == 0
    assert (run / "policy.safetensors").is_file()


def test_a_run_that_keeps_its_replay_may_give_it_back_after_more_training(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs["replay"], tmp_path / "run"))

    assert cli.main(["resume", str(run), "--frames", "700", "--run.keep", "policy"]) == 0

    assert (run / "policy.safetensors").is_file()
    assert read_status(run).env_frames >= 700
