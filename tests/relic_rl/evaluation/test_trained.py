"""The agents that ship with relic-rl: each is sound, and plays as well as its file says."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from relic_rl import api, cli
from relic_rl.errors import UsageError
from relic_rl.evaluation.trained import SHIPPED, load_trained, shipped_agent
from relic_rl.records.policy_file import read_policy
from relic_rl.records.run_folder import POLICY_FILE

FILES = sorted(SHIPPED.iterdir())
EPISODES = 30


def test_agents_ship_and_nothing_else_lies_beside_them() -> None:
    games = [file.stem for file in FILES]

    assert games == ["boxing", "breakout", "freeway", "pong", "road_runner"]
    assert [shipped_agent(game) for game in games] == FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_agent_that_ships_says_how_it_was_made_and_judged(file: Path) -> None:
    policy = read_policy(file)
    made, judged = policy.about["made"], policy.about["evaluation"]

    trained = load_trained(file)

    assert trained.spec.reference is not None
    assert (trained.spec.reference.slug, trained.env_frames) == (file.stem, policy.env_frames)
    assert all(made[name] for name in ("commit", "preset", "rom_md5", "ale_py", "torch"))
    assert len(judged["scores"]) >= EPISODES
    assert judged["mean_score"] == pytest.approx(np.mean(judged["scores"]))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_agent_that_ships_scores_what_its_file_says(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = np.array(read_policy(file).about["evaluation"]["scores"])
    flags = ["--trained", "--episodes", str(EPISODES), "--seed", "12345", "--json"]

    assert cli.main(["evaluate", file.stem, *flags]) == 0

    found = np.array(json.loads(capsys.readouterr().out)["scores"])
    error = math.sqrt(sum(scores.var(ddof=1) / len(scores) for scores in (stated, found)))
    assert abs(found.mean() - stated.mean()) <= 2 * error, (found.mean(), stated.mean(), error)


def test_an_agent_plays_in_the_arithmetic_that_it_learned_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for flags in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(flags, "allow_tf32", True)

    assert not load_trained(shipped_agent("pong")).config.learner.tf32

    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32  # on by default


def test_python_plays_an_agent_that_ships() -> None:
    (score,) = api.evaluate(api.load(shipped_agent("boxing")), episodes=1)

    assert score > 30  # random play: 0.1


def test_of_a_run_that_kept_its_policy_alone_no_checkpoint_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / POLICY_FILE).touch()

    with pytest.raises(UsageError, match="has the policy of its end and no checkpoints"):
        load_trained(tmp_path, env_frames=1000)
