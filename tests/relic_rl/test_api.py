"""Python's way in: what it does is what the command line does, on a run of a real game."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relic_rl import api, build, cli
from relic_rl.errors import UsageError, UserError
from relic_rl.evaluation.evaluate import judging_env
from relic_rl.evaluation.trained import load_trained
from relic_rl.machine.process import SPIN_COUNT

SETTINGS = {
    "run.frames": 2_400,
    "run.threads": 1,
    "replay.min_steps": 200,
    "evaluation.epsilon": 0.3,  # greedy, it would do nothing
    "run.metrics_every_updates": 2,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "breakout"
    assert api.train("breakout", preset="smoke", run_dir=path, settings=SETTINGS) == path
    return path


def test_training_from_python_is_the_command_lines_bit_for_bit(tmp_path: Path) -> None:
    settings = SETTINGS | {"run.frames": 600}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    run, other = tmp_path / "run", tmp_path / "other"
    api.train("toy_memory", preset="smoke", run_dir=run, settings=settings)
    assert (
        cli.main(["train", "toy_memory", "--preset", "smoke", "--run-dir", str(other), *flags]) == 0
    )

    assert load_trained(run).env_frames == 600
    one, two = (api.read_run(path) for path in (run, other))
    np.testing.assert_array_equal(one.metrics["rl_loss"], two.metrics["rl_loss"])
    np.testing.assert_array_equal(one.episodes["score"], two.episodes["score"])


def test_training_from_python_takes_a_path_as_preset_and_a_seed_of_numpys(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text('base = "smoke"\n[run]\nframes = 400\n')

    run = api.train("toy_memory", preset=preset, seed=np.int64(3), run_dir=tmp_path / "run")

    assert api.read_run(run).seed == 3
    assert api.read_run(run).settings["run.frames"] == 400


def test_an_agent_that_is_given_frame_by_frame_plays_the_evaluations_episode(run: Path) -> None:
    agent = api.load(run)
    env = judging_env(load_trained(run), lanes=1, seed=0, flavour=None)
    frame, reward, score = env.reset()[0], 0.0, None
    while score is None:
        result = env.step(np.array([agent.act(frame, reward)]))
        frame, reward = result.frames[0], float(result.rewards[0])
        score = result.episodes[0].score if result.episodes else None
    env.close()

    assert [score] == api.evaluate(run, episodes=1) == api.evaluate(agent, episodes=1)


def test_scores_under_a_condition_are_those_that_the_command_saves(run: Path) -> None:
    flags = ["--corruption", "shift", "--severity", "5", "--mode", "4", "--save"]
    assert cli.main(["evaluate", str(run), "--episodes", "1", *flags]) == 0
    saved = {(one.mode, one.corruption): list(one.scores) for one in api.read_run(run).robustness}

    assert set(saved) == {(0, "none"), (0, "shift"), (4, "none"), (4, "shift")}
    scores = api.evaluate(run, episodes=1, mode=4, corruption="shift", severity=5)
    assert scores == saved[4, "shift"]
    assert scores != saved[0, "shift"]


def test_an_agents_own_epsilon_counts_when_it_is_evaluated(run: Path) -> None:
    acting = api.evaluate(api.load(run, epsilon=1.0), episodes=2)

    assert acting == api.evaluate(api.load(run, epsilon=1.0), episodes=2)
    assert acting != api.evaluate(run, episodes=2)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.jsonl", b"5\n"),
        ("metrics.jsonl", b'["rl_loss"]\n'),
        ("metrics.jsonl", b"{\n"),
        ("episodes.csv", b"\xff\n"),
        ("evaluations.csv", b'a,"b\n' * 2),
    ],
)
def test_a_damaged_table_is_one_error_that_names_it(
    run: Path, tmp_path: Path, name: str, damage: bytes
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with (copy / name).open("ab") as file:
        file.write(damage)

    with pytest.raises(UserError, match=rf"{name} is damaged"):
        api.read_run(copy)


def test_a_number_too_large_for_a_float_is_left_out(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"rl_loss": 1' + "0" * 400 + "}\n")

    assert np.isnan(api.read_run(copy).metrics["rl_loss"][-1])


def test_training_in_another_thread_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(api.train, "toy_memory", preset="smoke", run_dir=run).exception()

    assert isinstance(refused, UsageError)
    assert not run.exists()


def test_training_that_is_stopped_before_it_began_does_not_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build.make_env

    def interrupted(*arguments: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)  # as a notebook's stop button does
        return made(*arguments, **named)

    monkeypatch.setattr(build, "make_env", interrupted)

    with pytest.raises(KeyboardInterrupt):
        api.train("toy_memory", preset="smoke", run_dir=tmp_path / "run")


def test_a_probing_is_the_commands_and_is_read_from_the_run(toy_run: Path, tmp_path: Path) -> None:
    toy = Path(shutil.copytree(toy_run, tmp_path / "toy"))
    found = api.probe(toy, steps=1_000, seed=1)
    assert api.read_run(toy).probes == ()

    assert cli.main(["probe", str(toy), "--steps", "1000", "--seed", "1"]) == 0
    assert api.read_run(toy).probes == (found,)


def test_each_episode_has_random_actions_of_its_own_and_the_same_on_repeat(run: Path) -> None:
    frames = np.zeros((30, 84, 84), np.uint8)

    def episodes() -> list[list[int]]:
        agent = api.load(run, epsilon=1.0)
        agent.reset()  # before the first episode nothing is forgotten
        found = []
        for _ in range(2):
            found.append([agent.act(frame) for frame in frames])
            agent.reset()
        return found

    first, second = episodes()

    assert first != second
    assert episodes() == [first, second]


def test_an_agent_remembers_its_episode_and_forgets_it_on_reset(run: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (40, 84, 84), np.uint8)
    agent = api.load(run, epsilon=0.0)
    assert (agent.game, agent.action_set, agent.actions) == ("Breakout", "minimal", 4)

    first = [agent.act(frame) for frame in frames]
    agent.reset()
    again = [agent.act(frame) for frame in frames]
    seen: list[Any] = []
    player = agent._player
    assert player is not None
    state = player.state()
    agent.reset()
    agent.act(frames[0])
    seen.append(agent._player)

    assert first == again
    assert all(0 <= action < 4 for action in first)
    assert not np.array_equal(state["hidden"], seen[0].state()["hidden"])


def test_the_reward_is_what_the_memory_is_given(run: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 84, 84), np.uint8)
    states = []
    for reward in (0.0, 5.0):
        agent = api.load(run)
        agent.act(frames[0])
        agent.act(frames[1], reward)
        assert agent._player is not None
        assert agent._player.state()["previous_rewards"].tolist() == [reward]
        agent.act(frames[0])  # the memory as that step left it
        states.append(agent._player.state())

    assert not np.array_equal(states[0]["hidden"], states[1]["hidden"])


@pytest.mark.parametrize(
    "frame", [np.zeros((84, 84)), np.zeros((84, 84, 1), np.uint8), np.zeros((36, 36), np.uint8)]
)
def test_a_frame_of_another_shape_or_type_is_refused(run: Path, frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"needs uint8\[84, 84\]"):
        api.load(run).act(frame)


def test_a_runs_tables_are_arrays_of_what_its_files_hold(run: Path) -> None:
    tables = api.read_run(run)

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    episodes = list(csv.DictReader((run / "episodes.csv").open()))
    assert (tables.game, tables.seed) == ("Breakout", 0)
    assert tables.settings["run.frames"] == 2_400
    assert tables.metrics["updates"].tolist() == [row["updates"] for row in rows]
    assert tables.metrics["rl_loss"].dtype == np.float64
    assert tables.episodes["score"].tolist() == [float(row["score"]) for row in episodes]
    assert set(tables.episodes["terminated"].tolist()) <= {0.0, 1.0}
    assert "skipped_batch" not in tables.metrics
    (mean,) = tables.evaluations["mean_score"]
    assert mean == np.mean(api.evaluate(run, episodes=1))


def test_a_list_of_scores_is_no_column_of_numbers_however_short_it_is(run: Path) -> None:
    evaluations = api.read_run(run).evaluations

    assert evaluations["episodes"].tolist() == [1.0]
    assert "scores" not in evaluations


def test_the_process_is_prepared_before_torch_is_loaded() -> None:
    command = [sys.executable, "-c", "from relic_rl import api"]
    environment = {**os.environ, "OMP_DISPLAY_ENV": "verbose"}
    environment.pop("GOMP_SPINCOUNT", None)  # what pytest's own process has
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in loaded.stderr  # as OpenMP read it


def test_a_missing_or_damaged_cartridge_is_an_error_of_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breakout.bin").write_bytes(b"no game")
    for place, words in ((tmp_path / "none", "doesn't exist"), (tmp_path, "does not match")):
        monkeypatch.setenv("ALE_ROMS_DIR", str(place))
        with pytest.raises(UserError, match=words) as caught:
            api.evaluate(run, episodes=1)
        assert "\n" not in str(caught.value)


def test_a_run_that_has_written_nothing_yet_has_empty_tables(run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text((run / "config.toml").read_text())

    tables = api.read_run(tmp_path)

    assert tables.metrics == tables.episodes == tables.evaluations == {}
    assert tables.probes == tables.robustness == ()


def test_a_report_from_python_is_written(run: Path, tmp_path: Path) -> None:
    written = api.report([run], tmp_path / "report", against=["r2d2"])

    assert written.page.read_text().lower().startswith("<!doctype html>")
    of_one = api.report(str(run), tmp_path / "of_one", against="r2d2")
    assert of_one.page.read_text() == written.page.read_text()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run, _: api.train("pogn"), "nearest is 'Pong'"),
        (lambda run, _: api.train("pong", settings={"run.framez": 1}), "unknown field"),
        (lambda run, _: api.train("pong", preset="smoke", run_dir=run), "holds a run already"),
        (lambda _, empty: api.load(empty), "is no run folder"),
        (lambda _, empty: api.read_run(empty), "is no run folder"),
        (lambda run, _: api.load(run, epsilon=1.5), "epsilon is 1.5"),
        (lambda run, _: api.evaluate(run, episodes=0), "episodes is 0"),
        (lambda run, _: api.evaluate(run, corruption="fog"), "corruption is 'fog': use one of"),
        (lambda run, _: api.evaluate(run, severity=5), "severity is 5: it goes with a corr"),
        (
            lambda run, _: api.evaluate(run, corruption="shift", severity=6),
            "severity is 6: use one of 1, 2",
        ),
        (lambda run, _: api.evaluate(run, mode=3), "mode is '3': Breakout has 0, 4"),
        (lambda run, _: api.probe(run, steps=10), "steps is 10, must be at least 1000"),
        (lambda run, out: api.report([run], out, against=["rainboww"]), "rainboww"),
    ],
)
def test_mistakes_are_user_errors_of_one_line(
    run: Path, tmp_path: Path, call: Any, words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        call(run, tmp_path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError) or caught.value.exit_status == 1
