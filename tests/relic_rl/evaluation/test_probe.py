"""Probing a run: what is found, kept and refused; that it repeats; that it changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.policy import Policy
from relic_rl import cli
from relic_rl.evaluation.linear_probe import Split
from relic_rl.evaluation.observed_play import LANES, ObservedPlay, observe_play
from relic_rl.evaluation.probe import COMPARED_STACKS, _groups, probe_agent, without_repeated
from relic_rl.evaluation.trained import TrainedAgent, load_trained, shipped_agent
from relic_rl.records.probes import PROBES_FILE, Readout, averages, read_probings
from relic_rl.stop import StopRequest

PONG = shipped_agent("pong")


@pytest.fixture(scope="module")
def toy(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to probe."""
    return Path(shutil.copytree(toy_run, tmp_path_factory.mktemp("probe") / "toy"))


@pytest.fixture(scope="module")
def play() -> ObservedPlay:
    trained = load_trained(PONG)
    found = observed(trained, trained.agent.untrained_policy(7), steps=160)
    assert found is not None
    return found


def observed(
    trained: TrainedAgent, control: Policy, *, steps: int, seed: int = 0
) -> ObservedPlay | None:
    return observe_play(
        trained,
        control,
        seed=seed,
        steps=steps,
        stop=StopRequest(),
        tell=lambda done: None,
    )


@pytest.mark.parametrize("sampled", [3, COMPARED_STACKS, 2 * COMPARED_STACKS - 1, 1250])
def test_stacks_that_are_compared_are_spread_over_the_whole_play(
    play: ObservedPlay, sampled: int
) -> None:
    groups = _groups(play._replace(sampled=torch.zeros(sampled)))

    for group in groups:
        places = group.tolist()
        assert len({*places}) == len(places) == min(sampled, COMPARED_STACKS)
        assert max(np.diff([0, *places, sampled - 1])) <= 2 * sampled / len(places)
    everywhere = torch.cat(groups).tolist()
    assert (min(everywhere), max(everywhere)) == (0, sampled - 1)
    assert len({*everywhere}) == len(everywhere)


def probed(run: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["probe", str(run), "--json", *flags]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


# --- the observed play ----------------------------------------------------------------------------


def test_everything_that_is_kept_of_a_step_belongs_together(play: ObservedPlay) -> None:
    policy = load_trained(PONG).agent.evaluation_policy()
    features = play.representations["encoder"][play.sampled]
    newest = play.stacks[:, -1].float()
    blocks = newest.unflatten(1, (42, 2)).unflatten(3, (42, 2)).mean((2, 4)).flatten(1)
    # The agent's paddle is the brightest of its column, from row 14 on.
    paddles = [np.flatnonzero(frame[14:77, 74] > 120) for frame in play.stacks[:, -1].numpy()]
    seen = [(i, rows.mean()) for i, rows in enumerate(paddles) if len(rows)]
    told = play.memory[play.sampled, 51].numpy()

    assert len(play.memory) == 160
    torch.testing.assert_close(policy.features(play.stacks), features)
    torch.testing.assert_close(play.representations["pixels"][play.sampled], blocks)
    assert len(set(play.digests[play.sampled.numpy()].tolist())) == len(play.sampled)
    assert len(seen) > 3
    assert np.corrcoef([told[i] for i, _ in seen], [row for _, row in seen])[0, 1] > 0.95


def test_the_lstm_s_state_is_that_after_the_step(toy: Path) -> None:
    # At the start of an episode it begins at zero: one step of the network says what follows.
    trained = load_trained(toy)
    found = observed(trained, trained.agent.untrained_policy(0), steps=LANES)
    assert found is not None
    network = trained.agent.evaluation_policy()._online
    stack = found.stacks[:1]
    with torch.no_grad():
        _, state = network.unroll(
            network.encode(stack)[None],
            torch.full((1, 1), -1),
            torch.zeros(1, 1),
            network.initial_state(1),
        )

    kept = found.representations["lstm"][found.sampled[0]]
    torch.testing.assert_close(kept, torch.cat([state.hidden, state.cell], dim=1)[0])


def test_an_episode_has_a_number_of_its_own_from_its_first_step_on(toy: Path) -> None:
    trained = load_trained(toy)
    found = observed(trained, trained.agent.untrained_policy(0), steps=20 * LANES)
    assert found is not None
    steps = found.memory[:, 1].numpy()  # the toy's second byte: of the episode so far

    assert len(np.unique(found.episodes)) == 3 * LANES  # of 8 steps each, the last ones cut off
    for episode in np.unique(found.episodes):
        of_one = steps[found.episodes == episode]
        assert of_one.tolist() == list(range(len(of_one)))


def test_the_control_has_the_same_shape_and_centring_and_other_parameters() -> None:
    agent = load_trained(PONG).agent
    own, control = (
        dict(policy._online.named_parameters()) | dict(policy._online.named_buffers())
        for policy in (agent.evaluation_policy(), agent.untrained_policy(3))
    )

    assert {name: t.shape for name, t in own.items()} == {n: t.shape for n, t in control.items()}
    for name, tensor in own.items():
        is_centring = ".centring." in name
        is_bias = name.endswith("bias")  # all begin at zero
        assert torch.equal(tensor, control[name]) == is_centring or is_bias, name
    assert own["encoders.0.centring.measured_frames"] > 0


# --- what is made of it ---------------------------------------------------------------------------


def test_no_stack_of_the_test_was_learned_from_unless_all_were() -> None:
    split = Split(torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3, 4, 5]))
    digests = np.array([7, 8, 9, 8, 1, 9], np.uint64)

    assert without_repeated(split, digests).test.tolist() == [4]
    assert without_repeated(split, np.full(6, 7, np.uint64)) is split


def test_the_mean_is_over_kinds_and_within_them_over_variables() -> None:
    readouts = {
        "ball_x": Readout("small_object_localization", 0.2, 0.5),
        "ball_y": Readout("small_object_localization", 0.4, None),
        "player_y": Readout("agent_localization", 0.9, 1.0),
    }

    assert averages(readouts) == pytest.approx((0.6, 0.75))
    assert averages({"a": replace(readouts["ball_y"], r2=None)}) == (0.4, None)


# --- the command ----------------------------------------------------------------------------------


def test_a_run_is_probed_beside_two_controls_again_alike_and_its_other_files_stay(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in toy.rglob("*")}
    first = probed(toy, capsys, "--steps", "1000")
    assert cli.main(["probe", str(toy), "--steps", "1000"]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    other = probed(toy, capsys, "--steps", "1000", "--seed", "1")

    written = [json.loads(line) for line in (toy / PROBES_FILE).read_text().splitlines()]
    assert written == [first, first, other]
    assert first != other
    assert [(one.env_frames, one.seed) for one in read_probings(toy)] == [(1200, 1)]
    assert [*first["representations"]] == ["encoder", "lstm", "random_encoder", "pixels"]
    assert (first["game"], first["env_frames"], first["dropped"]) == ("toy_memory", 1200, [])
    assert first["steps"] == 1008  # whole steps of 16 lanes
    assert first["train_steps"] + first["test_steps"] < first["steps"]
    for name, found in first["representations"].items():
        assert set(found["variables"]) == {"cue", "steps"}
        assert all(0 <= one["f1"] <= 1 for one in found["variables"].values())
        views = [found["invariance"], found["contrastive_accuracy"]]
        assert (None in views) == ("encoder" not in name)
    # A line for each variable, and for what needs none.
    heads = {"steps", "cue", "mean", "effective", "invariance", "contrastive"}
    assert heads <= {line[0] for line in table}
    (cue,) = [line for line in table if line[0] == "cue"]
    shown = [float(number) for number in cue[-8:-4]]
    f1 = [one["variables"]["cue"]["f1"] for one in first["representations"].values()]
    assert shown == pytest.approx(f1, abs=5e-4)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_an_earlier_checkpoint_is_probed_by_its_frames(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(toy, tmp_path / "run", ignore=lambda *_: {PROBES_FILE}))
    assert cli.main(["resume", str(run), "--frames", "1600"]) == 0
    early = probed(run, capsys, "--steps", "1000", "--checkpoint", "1200")
    late = probed(run, capsys, "--steps", "1000")

    assert (early["env_frames"], late["env_frames"]) == (1200, 1600)
    assert early["representations"]["encoder"] != late["representations"]["encoder"]
    assert [one.env_frames for one in read_probings(run)] == [1200, 1600]


def test_what_was_found_is_shown_when_it_cannot_be_written(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(toy, tmp_path / "run"))
    (run / PROBES_FILE).unlink(missing_ok=True)
    (run / PROBES_FILE).mkdir()
    capsys.readouterr()

    assert cli.main(["probe", str(run), "--steps", "1000", "--json"]) == 1

    out, err = capsys.readouterr()
    assert json.loads(out)["steps"] >= 1000
    assert err.splitlines()[-1].startswith(f"relic-rl: cannot write {run / PROBES_FILE}")


def test_what_was_found_is_kept_when_nobody_reads_what_is_shown(toy: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(toy, tmp_path / "run"))
    command = [sys.executable, "-m", "relic_rl.cli", "probe", str(run), "--steps", "1000"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        subprocess.run([*command, "--seed", "5"], stdout=closed, stderr=subprocess.DEVNULL)

    assert read_probings(run)[-1].seed == 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps", "999"], ["steps is 999", "at least 1000"]),
        (["--steps", "0"], ["--steps", "0"]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--checkpoint", "7k"], ["no checkpoint of 7,000 frames", "of 1,200"]),
    ],
)
def test_mistakes_are_one_line(
    toy: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    capsys.readouterr()
    assert cli.main(["probe", str(toy), *flags]) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in words), err


def test_a_game_without_annotations_is_refused_with_those_that_have_some(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["probe", "road_runner", "--trained"]) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "RoadRunner" in err
    assert "Asteroids, Berzerk, Bowling" in err


@pytest.mark.parametrize("moment", ["playing", "probing encoder", "probing pixels"])
def test_a_stop_ends_it_wherever_it_is(toy: Path, moment: str) -> None:
    trained, stop, told = load_trained(toy), StopRequest(), []

    def tell(what: str, done: int, of: int, noun: str) -> None:
        told.append(what)
        stop.requested = what == moment

    found = probe_agent(trained, seed=0, stop=stop, tell=tell, steps=1000)

    assert found is None
    assert told[-1] == moment
