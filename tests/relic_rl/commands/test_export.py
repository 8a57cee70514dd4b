"""An agent in one file: it plays as the run does that it came from, and nothing else is taken."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from relic_rl import api, cli
from relic_rl.errors import UserError
from relic_rl.evaluation.trained import load_trained
from relic_rl.records.policy_file import read_policy

TINY = {
    "run.frames": 600,
    "run.threads": 1,
    "replay.min_steps": 64,
    "evaluation.episodes": 1,
}
Evaluated = Callable[..., dict[str, Any]]
ARMS = {
    "shared": {},
    "separate": {
        "representation.encoder": "separate",
        "representation.acting_encoder": "momentum",
        "learner.average_decay": 0.9,
        "network.centred_input": True,
    },
}


@pytest.fixture(scope="module", params=ARMS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "run"
    return api.train(
        "toy_memory", preset="smoke", run_dir=path, settings=TINY | ARMS[request.param]
    )


@pytest.fixture(scope="module")
def policy_file(run: Path) -> Path:
    out = run.parent / "agent.safetensors"
    assert cli.main(["export", str(run), "--out", str(out)]) == 0
    return out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    status = cli.main(arguments)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return status, err


def test_a_file_plays_as_its_run_does(run: Path, policy_file: Path, evaluated: Evaluated) -> None:
    disturbed = ("--corruption", "gaussian_noise")

    assert evaluated(policy_file, *disturbed) == evaluated(run, *disturbed)
    assert api.evaluate(policy_file, episodes=1) == api.evaluate(run, episodes=1)


def test_a_file_knows_what_its_run_does_and_nothing_is_written_beside_it(
    run: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = set(policy_file.parent.iterdir())
    assert cli.main(["probe", str(policy_file), "--steps", "1000"]) == 0
    assert "probes.jsonl" not in capsys.readouterr().out
    of_run, of_file = api.probe(run, steps=1000), api.probe(policy_file, steps=1000)

    assert (of_file.test_steps, of_file.env_frames) == (of_run.test_steps, of_run.env_frames)
    for name, found in of_run.representations.items():  # a file may be played with more threads
        assert of_file.representations[name].f1 == pytest.approx(found.f1, abs=0.02)
    assert set(policy_file.parent.iterdir()) == there
    status, line = refusal(capsys, "probe", str(policy_file), "--checkpoint", "600")
    assert (status, "--checkpoint goes with a run's folder" in line) == (2, True)


def test_a_file_may_have_a_name_that_is_not_utf_8(policy_file: Path, tmp_path: Path) -> None:
    named = tmp_path / os.fsdecode(b"l\xe4ufe.safetensors")
    shutil.copy(policy_file, named)

    assert read_policy(named).about == read_policy(policy_file).about


def test_a_file_is_filmed(policy_file: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.gif"

    watched = ["watch", str(policy_file), "--video", str(film), "--overlay", "--max-frames", "8"]

    assert cli.main(watched) == 0
    assert film.stat().st_size > 0


def test_a_file_holds_the_judged_parameters_and_how_they_were_made(
    run: Path, policy_file: Path
) -> None:
    found, trained = read_policy(policy_file), load_trained(run)
    judged = trained.agent.evaluation_policy().parameters()

    assert found.parts.keys() == judged.keys()
    for part, tensors in judged.items():
        torch.testing.assert_close(found.parts[part], dict(tensors), rtol=0, atol=0)
    assert (found.game, found.env_frames) == ("toy_memory", 600)
    metadata = json.loads((run / "metadata.json").read_text())
    assert found.about["made"] == metadata
    (row,) = api.read_run(run).evaluations["mean_score"]
    assert found.about["evaluation"]["mean_score"] == row
    assert "optimizer" not in " ".join(load_file(policy_file))


def test_a_saved_evaluation_of_more_episodes_is_what_a_file_states(
    run: Path, tmp_path: Path
) -> None:
    judged, out = tmp_path / "run", tmp_path / "agent.safetensors"
    shutil.copytree(run, judged)
    # Saves what it scores on clean frames, too.
    flags = ["--episodes", "3", "--corruption", "contrast", "--severity", "5"]
    assert cli.main(["evaluate", str(judged), "--save", *flags]) == 0

    assert cli.main(["export", str(judged), "--out", str(out)]) == 0

    (clean,) = [row for row in api.read_run(judged).robustness if row.is_clean]
    found = read_policy(out).about["evaluation"]
    assert (len(clean.scores), tuple(found["scores"])) == (3, clean.scores)


def test_half_a_last_line_costs_a_file_no_evaluation(run: Path, tmp_path: Path) -> None:
    torn, out = tmp_path / "run", tmp_path / "agent.safetensors"
    shutil.copytree(run, torn)
    with (torn / "evaluations.csv").open("a") as file:
        file.write("1200,0.1,3")

    assert cli.main(["export", str(torn), "--out", str(out)]) == 0

    (mean_score,) = api.read_run(run).evaluations["mean_score"]
    assert read_policy(out).about["evaluation"]["mean_score"] == mean_score


def rewrite(policy_file: Path, out: Path, changes: dict[str, Any]) -> None:
    """The file with other things said in it, and a hash that is right."""
    with safe_open(policy_file, "pt") as file:
        document = json.loads(file.metadata()["relic_rl_policy"])
    body = {key: found for key, found in document.items() if key != "sha256"} | changes
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    text = {"relic_rl_policy": json.dumps({**body, "sha256": digest})}
    save_file(load_file(policy_file), out, text)


def test_a_file_of_before_a_setting_plays_unless_the_setting_decides_what_the_policy_is(
    policy_file: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old.safetensors"
    settings = asdict(read_policy(policy_file).config)
    without = {name: dict(fields) for name, fields in settings.items() if name != "run"}
    del without["evaluation"]["probe_steps"], without["learner"]["cuda_graph"]
    rewrite(policy_file, old, {"settings": without})
    assert read_policy(old) == read_policy(policy_file)._replace(parts=ANY)

    del without["network"]["centred_input"]
    rewrite(policy_file, old, {"settings": without})
    with pytest.raises(UserError, match=r"lacks network\.centred_input .*: export it again"):
        read_policy(old)


def test_a_run_of_before_a_setting_plays_but_is_not_resumed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "run"
    shutil.copytree(run, old)
    text = (old / "config.toml").read_text()
    (old / "config.toml").write_text(re.sub("^(probe_steps|keep) = .*\n", "", text, flags=re.M))

    assert load_trained(old).env_frames == 600
    status, line = refusal(capsys, "resume", str(old), "--frames", "1000")
    assert (status, "lacks evaluation.probe_steps (default 20000), run.keep" in line) == (2, True)


@pytest.mark.parametrize("place", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_file_with_one_byte_changed_is_refused(
    place: float, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(policy_file.read_bytes())
    content[int(place * len(content))] ^= 1
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(content)

    status, line = refusal(capsys, "evaluate", str(changed))

    assert status == 1
    assert str(changed) in line


def test_a_foreign_model_of_types_that_torch_lacks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = json.dumps({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    file = tmp_path / "quantized.safetensors"
    file.write_bytes(len(head).to_bytes(8, "little") + head + b"\0")

    status, line = refusal(capsys, "evaluate", str(file))

    assert status == 1
    assert f"{file} is no policy file: " in line


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("empty", "is no policy file: "),
        ("text", "is no policy file: "),
        ("cut", "is no policy file: "),
        ("no text", "holds no policy of relic-rl"),
        ("other tensors", "holds no policy of relic-rl"),
        ("other version", "is a policy file of another version: export it again"),
    ],
)
def test_what_is_no_policy_file_is_refused_for_its_reason(
    kind: str, why: str, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "strange.safetensors"
    if kind in ("empty", "text"):
        path.write_text("" if kind == "empty" else "game = 'pong'\n")
    elif kind == "cut":
        path.write_bytes(policy_file.read_bytes()[:-1])
    elif kind == "no text":
        header = b'{"__metadata__":null}'
        path.write_bytes(len(header).to_bytes(8, "little") + header)
    else:
        text = {} if kind == "other tensors" else {"relic_rl_policy": json.dumps({"schema": 99})}
        save_file({"weight": torch.zeros(3)}, path, text)

    status, line = refusal(capsys, "evaluate", str(path))

    assert (status, line.startswith(f"relic-rl: {path} {why}")) == (1, True), line


@pytest.mark.parametrize(
    ("name", "value"),
    [("game", 3), ("env_frames", None), ("settings", 3), ("settings", {"env": 3}), ("about", [])],
)
def test_what_a_file_says_of_itself_must_make_sense_even_with_a_right_hash(
    name: str, value: Any, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(policy_file, tmp_path / "strange.safetensors", {name: value})

    status, line = refusal(capsys, "evaluate", str(tmp_path / "strange.safetensors"))

    assert status in (1, 2)
    assert "strange.safetensors" in line


def test_parameters_of_another_network_are_refused(policy_file: Path) -> None:
    policy = read_policy(policy_file)
    agent = load_trained(policy_file).agent
    first = next(iter(policy.parts["online"]))

    with pytest.raises(ValueError, match="do not match"):
        agent.load_policy({**policy.parts, "online": {first: torch.zeros(1)}}, 0)
    with pytest.raises(ValueError, match="parts are"):
        agent.load_policy({"online": policy.parts["online"], "stranger": {}}, 0)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ("export nothere --out a.safetensors", 1, "nothere does not exist"),
        ("export RUN --out a.pt", 2, "must end with .safetensors"),
        ("export RUN --out nothere/a.safetensors", 1, "nothere/a.safetensors"),
        ("export FILE --out a.safetensors", 2, "is a file"),
        ("export RUN", 2, "--out"),
        ("resume FILE", 1, "FILE"),
        ("evaluate pongg --trained", 2, "nearest is 'Pong'"),
        ("evaluate zaxxon --trained", 2, "no trained agent ships for zaxxon"),
        ("watch zaxxon --trained --video a.gif", 2, "no trained agent ships for zaxxon"),
        ("watch RUN --video a.gif --track tensorboard", 2, "--track"),
        ("report RUN --out out --track tensorboard", 2, "--track"),
    ],
)
def test_a_refusal_is_one_line(
    arguments: str,
    status: int,
    says: str,
    run: Path,
    policy_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(run), "FILE": str(policy_file)}

    given, line = refusal(capsys, *(places.get(word, word) for word in arguments.split()))

    assert (given, places.get(says, says) in line) == (status, True), line
    assert list(tmp_path.iterdir()) == []


def test_a_sweeps_folder_of_a_games_name_is_not_taken_for_the_trained_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "zaxxon").mkdir()
    (tmp_path / "zaxxon/sweep.toml").write_text("")
    monkeypatch.chdir(tmp_path)

    status, line = refusal(capsys, "evaluate", "zaxxon", "--trained")

    assert (status, "no trained agent ships for zaxxon" in line) == (2, True), line


def test_a_file_that_cannot_be_written_is_left_as_it_was(
    run: Path, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "agent.safetensors"
    out.mkdir()  # a folder is never replaced by a file

    status, line = refusal(capsys, "export", str(run), "--out", str(out))

    assert status == 1
    assert f"cannot write {out}" in line
    assert list(tmp_path.iterdir()) == [out]
