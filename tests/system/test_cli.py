"""The command line as a user meets it. Mistakes are tried in this process, for speed; what depends
on a process of its own (signals, locks, the script itself) runs in one."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envs.games import ATARI57
from relic_rl import __version__
from relic_rl.config import field_types
from relic_rl.records.identity import read_identity

COMMAND = [sys.executable, "-m", "relic_rl"]
TOY = (
    *("train", "toy_memory", "--preset", "smoke", "--frames", "1200"),
    *("--replay.min_steps", "64", "--evaluation.episodes", "2", "--run.threads", "1"),
)


def relic_rl(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def finished(toy_run: Path) -> Path:
    """As `TOY` leaves it."""
    return toy_run


def digest(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


# --- mistakes -------------------------------------------------------------------------------------

LONG_SEGMENTS = ("--learner.segment_steps", "9999", "--learner.unroll_steps", "9999")
HUGE = ("--replay.capacity_steps", str(10**12), "--replay.max_bytes", str(10**15))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("trian pong", 2, ["trian", "'train'"]),
        ("train", 2, ["GAME"]),
        ("train pogn", 2, ["pogn", "'Pong'"]),
        ("train ALE/Pongo-v5", 2, ["Pongo", "'ALE/Pong-v5'"]),
        ("config pogn", 2, ["pogn", "'Pong'"]),
        ("train pong --sed 3", 2, ["--sed"]),
        ("train pong --seed x", 2, ["--seed", "'x'"]),
        ("train pong --seed -1", 2, ["--seed", "-1"]),
        ("train pong --seed 99999999999", 2, ["--seed", "99999999999"]),
        ("train pong --preset smok", 2, ["smok", "'smoke'"]),
        ("train pong --preset nothere.toml", 2, ["nothere.toml"]),
        ("train pong --preset=", 2, ["unknown preset ''"]),
        ("train pong --run-dir=", 2, ["--run-dir is '', use a path"]),
        ("report nothere --out=", 2, ["--out is '', use a path"]),
        ("train pong --preset unknown_key.toml", 2, ["lerning_rate", "'learner.learning_rate'"]),
        ("train pong --preset unknown_section.toml", 2, ["lerner", "'learner'"]),
        ("train pong --preset listed_base.toml", 2, ["base is ['laptop']"]),
        ("train pong --preset broken.toml", 2, ["broken.toml", "TOML"]),
        ("train pong --learner.lerning_rate 1", 2, ["'learner.learning_rate'"]),
        ("train pong --learner.learning_rate fast", 2, ["learner.learning_rate", "'fast'"]),
        (
            "train pong --learner.learning_rate",
            2,
            ["learner.learning_rate", "expected one argument"],
        ),
        ("train pong --learner.bfloat16 --preset smoke", 2, ["bfloat16 expected one argument"]),
        (
            "resume nothere --run.ray_address --minutes=5",
            2,
            ["run.ray_address expected one argument"],
        ),
        ("train pong --network.frame_stack 257", 2, ["network.frame_stack is 257", "at most 256"]),
        (" ".join(("train pong", *LONG_SEGMENTS)), 2, ["learner.segment_steps 9999", "9510"]),
        ("train pong --actor.lanes 4 --actor.lanes 5", 2, ["actor.lanes", "twice"]),
        ("train pong --actor.lanes 0", 2, ["actor.lanes", "greater than or equal to 1"]),
        ("train pong --frames 0", 2, ["run.frames", "0"]),
        ("train pong --minutes -1", 2, ["run.minutes", "-1"]),
        ("train pong --frames 1 --run.frames 2", 2, ["run.frames", "twice", "--frames"]),
        ("train pong --run.minutes=1 --minutes 2", 2, ["run.minutes", "twice", "--minutes"]),
        ("train pong --engine ray --run.engine ray", 2, ["run.engine", "twice", "--engine"]),
        ("train pong --actors 2 --actor.actors 2", 2, ["actor.actors", "twice", "--actors"]),
        ("train pong --ray-address a --run.ray-address a", 2, ["twice", "--ray-address"]),
        ("train pong --frames 1 --frames=2", 2, ["--frames", "twice"]),
        ("train pong --run-dir a --run_dir b", 2, ["--run-dir", "twice"]),
        ("resume nothere --frames 1 --run.frames 2", 2, ["run.frames", "twice"]),
        ("sweep nothere --track off --run.track off", 2, ["run.track", "twice"]),
        ("sweep nothere --games pong --games boxing", 2, ["--games", "twice"]),
        ("train pong --engine warp", 2, ["engine", "warp"]),
        ("train pong --representation.arm relik", 2, ["nearest is 'relic'"]),
        ("train pong --engine thread", 2, ["'inline', 'threads' or 'ray', nearest is 'threads'\n"]),
        ("sweep nothere --backend rey", 2, ["use local or ray, nearest is 'ray'\n"]),
        ("sweep nothere --games pong --ray-address auto", 2, ["--backend ray"]),
        ("bench --json nothere/figures.json", 2, ["nothere/figures.json", "No such file"]),
        ("bench --json .", 2, ["cannot write ."]),
        ("bench --json fresh.json --actor.lanse 3", 2, ["actor.lanes"]),
        ("bench --parts ceilings --run.engine ray", 2, ["--engine ray"]),
        ("bench --json a_file/figures.json", 2, ["a_file/figures.json"]),
        ("train pong --learner.burn_in_steps 3", 2, ["burn_in_steps", "3"]),
        ("train pong --run-dir -x/..", 2, []),
        ("train pong --preset smoke --run-dir .hidden", 1, [".hidden"]),
        ("train pong --preset smoke --run-dir a_file", 1, ["a_file"]),
        ("train pong --run.device cuda --run-dir x", 1, ["but no CUDA device is found: use cpu"]),
        ("train pong --run.device cpu --learner.bfloat16 true --run-dir x", 1, ["CUDA"]),
        ("sweep x --run.device cpu --learner.bfloat16 false true", 1, ["CUDA"]),
        (" ".join(("train pong", *HUGE)), 1, ["GiB", "--replay.capacity_steps"]),
        ("resume", 2, ["RUN_DIR"]),
        ("resume nothere", 1, ["nothere", "does not exist"]),
        ("resume .", 1, ["no run folder"]),
        ("resume nothere --actor.lanse 3", 2, ["'actor.lanes'"]),
        ("resume nothere --allow-change actor.lanse", 2, ["'actor.lanes'"]),
        ("resume ../nothere", 1, ["nothere"]),
        ("train pong --preset smoke --run-dir ../out", 1, ["../out'", "'..'"]),
        ("sweep ../out --games pong --preset smoke", 1, ["../out'", "'..'"]),
        ("evaluate nothere", 1, ["nothere", "does not exist"]),
        ("evaluate nothere --episodes 0", 2, ["--episodes", "0"]),
        ("report nothere --out there", 2, ["nothere"]),
        ("report --out there", 2, ["give run folders or sweeps, before --against"]),
        ("report --out there --against relic r2d2 nothere", 2, ["before --against"]),
        ("doctor --preset smok", 2, ["smok", "'smoke'"]),
        ("games pong", 2, ["pong"]),
        ("train pong --frames 1.5", 2, ["run.frames", "'1.5'"]),
        ("train pong --batch_sequences 8", 2, ["use --learner.batch_sequences"]),
        ("train pong --batch 8", 2, ["unknown flag --batch, use --learner.batch_sequences\n"]),
        ("train pong --preset half_a_run.toml", 2, ["unknown key 'preset'"]),
        ("train pong --name mine --run-dir mine", 2, ["--name", "without --run-dir"]),
        ("train pong --name a/b", 2, ["--name is 'a/b'"]),
        ("train pong --name=", 2, ["--name is ''"]),
        ("status nothere --watch --json", 2, ["give --watch or --json"]),
    ],
)
def test_a_mistake_gives_one_line_and_the_right_exit_status(
    run_here: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    arguments: str,
    status: int,
    words: list[str],
) -> None:
    (tmp_path / "unknown_key.toml").write_text("[learner]\nlerning_rate = 1\n")
    (tmp_path / "unknown_section.toml").write_text("[lerner]\nlearning_rate = 1\n")
    (tmp_path / "listed_base.toml").write_text("base = ['laptop']\n")
    (tmp_path / "broken.toml").write_text("[learner\n")
    (tmp_path / "half_a_run.toml").write_text("preset = 'smoke'\n[learner]\n")
    (tmp_path / "a_file").write_text("")
    (tmp_path / "runs").write_text("")  # what is no mistake cannot begin to train either
    before = digest(tmp_path)

    found, out, err = run_here(*arguments.split())

    assert (found, out) == (status, "")
    assert err.startswith("relic-rl: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert digest(tmp_path) == before


def test_a_mistake_in_a_process_of_its_own_gives_one_line_and_no_traceback(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("relic-rl")
    usage = subprocess.run(
        [script, "train", "pogn"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    other = relic_rl("resume", "nothere", cwd=tmp_path)

    assert (usage.returncode, usage.stdout, usage.stderr.count("\n")) == (2, "", 1)
    assert (other.returncode, other.stdout, other.stderr.count("\n")) == (1, "", 1)


def test_training_in_a_folder_that_holds_a_run_is_refused(
    run_here: Callable[..., tuple[int, str, str]], finished: Path
) -> None:
    before = digest(finished)
    status, out, err = run_here(*TOY, "--run-dir", str(finished))

    assert (status, out) == (1, "")
    assert "holds a run already" in err
    assert "relic-rl resume" in err
    assert digest(finished) == before


def test_a_run_without_a_sound_checkpoint_gives_one_line(
    run_here: Callable[..., tuple[int, str, str]], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    models = list((tmp_path / "run/checkpoints").glob("*/model.pt"))
    for path in models:
        path.write_bytes(path.read_bytes()[:-1])

    for verb in ("evaluate", "resume"):
        status, out, err = run_here(verb, "run")
        assert (status, out) == (1, "")
        assert re.fullmatch(
            r"relic-rl: \S+ holds no sound checkpoint .*model.pt does not match.*\n", err
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("resume", "run", "--frames", "2000"),
        ("evaluate", "run"),
        ("probe", "run"),
        ("watch", "run", "--video", "film.gif"),
        ("export", "run", "--out", "agent.safetensors"),
        ("train", "toy_memory", "--preset", "run/config.toml", "--run-dir", "other"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_setting_of_a_later_version_is_named_and_nothing_is_written(
    run_here: Callable[..., tuple[int, str, str]],
    finished: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    config = tmp_path / "run/config.toml"
    config.write_text(config.read_text().replace("[run]\n", "[run]\nlater = 1\n"))
    before = digest(tmp_path)
    status, out, err = run_here(*arguments)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "unknown field 'run.later' in " in err
    assert "run/config.toml" in err
    assert digest(tmp_path).keys() == before.keys()


# --- what the verbs show --------------------------------------------------------------------------


def test_games_lists_all_57_with_their_scores_and_where_these_are_from(
    run_here: Callable[..., tuple[int, str, str]],
) -> None:
    status, out, err = run_here("games")
    _, *lines = out.splitlines()

    assert (status, err) == (0, "")
    assert [line.split()[0] for line in lines[:57]] == list(ATARI57)
    assert "ReLIC paper, table 10" in " ".join(lines[57:])
    assert lines[36].split() == ["Pong", "pong", "-20.7", "14.6"]


def test_config_shows_every_setting_and_where_it_comes_from(
    run_here: Callable[..., tuple[int, str, str]],
) -> None:
    status, out, err = run_here("config", "pong", "--preset", "paper", "--actor.lanes", "9")
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}

    assert (status, err) == (0, "")
    assert field_types().keys() <= rows.keys()
    assert rows["actor.lanes"].split()[1:3] == ["9", "flag"]
    assert rows["representation.encoder"].split()[1:4] == ["separate", "preset", "paper"]
    assert rows["learner.n_steps"].split()[1:3] == ["5", "default"]


def test_doctor_shows_the_machine_and_every_preset(
    run_here: Callable[..., tuple[int, str, str]],
) -> None:
    status, out, err = run_here("doctor")

    assert (status, err) == (0, "")
    assert "57 of 57" in out
    assert re.search(r"^ *processor +\S.* \([A-Z0-9 ]+\)", out, re.MULTILINE)  # ... (AVX2)
    assert f"relic-rl {__version__}" in out
    for preset in ("laptop", "workstation", "paper", "machado", "smoke"):
        assert re.search(rf"^ *{preset} ", out, re.MULTILINE)
    (replay, memory) = re.findall(r"^ *paper +([\d.]+) GiB +([\d.]+) GiB ", out, re.MULTILINE)[0]
    assert float(memory) > float(replay) + 3.0  # its update alone: see test_resources


def test_doctor_says_what_holds_the_cores_back(
    run_here: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    _, out, _ = run_here("doctor")

    assert re.search(r"cores +1 usable of \d+ \(OMP_NUM_THREADS is 1\)", out)


def test_doctor_names_the_roms_that_a_folder_of_the_users_lacks(
    run_here: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))

    status, out, err = run_here("doctor", "--json")

    assert (status, json.loads(out)["machine"]["ROMs"]) == (1, "0 of 57")
    assert err.splitlines()[-1] == (
        "relic-rl: 57 ROMs are missing, first Alien: unset ALE_ROMS_DIR if it is set, or install "
        "ale-py again"
    )


def test_config_games_and_doctor_print_one_json_object(
    run_here: Callable[..., tuple[int, str, str]],
) -> None:
    found = {}
    for verb in ("config", "games", "doctor"):
        status, out, err = run_here(verb, "--json")
        assert (status, err, out.count("\n")) == (0, "", 1)
        found[verb] = json.loads(out)

    assert found["config"]["settings"].keys() == field_types().keys()
    assert found["config"]["settings"]["learner.n_steps"]["source"] == "R2D2 2.3"
    assert [game["name"] for game in found["games"]["games"]] == list(ATARI57)
    assert found["doctor"]["machine"]["ROMs"] == "57 of 57"
    assert {one["preset"] for one in found["doctor"]["presets"]} >= {"laptop", "paper"}
    assert all(one["memory_bytes"] > one["replay_bytes"] for one in found["doctor"]["presets"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_help_and_results_that_cannot_be_written_are_no_success(tmp_path: Path) -> None:
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    # Of more than a buffer, and of less.
    for arguments in (["train", "--help"], ["--version"], ["games", "--json"]):
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [*COMMAND, *arguments],
                cwd=tmp_path,
                stdout=full,
                stderr=subprocess.PIPE,
                env=buffered,
            )

        assert (result.returncode, result.stderr) == (1, b"relic-rl: No space left on device\n")


@pytest.mark.parametrize("columns", ["0", "1", "-5", "many"])
def test_help_and_tables_are_shown_on_terminals_of_impossible_widths(
    run_here: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    for arguments in (("watch", "--help"), ("doctor", "--preset", "smoke")):
        monkeypatch.setenv("COLUMNS", columns)
        status, out, err = run_here(*arguments)

        assert (status, err) == (0, "")
        assert len(out.strip()) > 20


def test_a_command_in_a_folder_that_is_gone_says_so_in_one_line(
    run_here: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    status, out, err = run_here(*TOY)

    assert (status, out) == (1, "")
    assert err == "relic-rl: the folder that this was started in is gone: change to another\n"


def test_the_version_is_printed_by_the_module_as_by_the_script(tmp_path: Path) -> None:
    result = relic_rl("--version", cwd=tmp_path)

    assert (result.returncode, result.stdout, result.stderr) == (0, f"relic-rl {__version__}\n", "")


def test_help_and_mistakes_in_what_was_typed_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom relic_rl import cli\n"
        "for words in ('train pogn', 'train pong --learner.lr 1', 'resume nothere'):\n"
        "    assert cli.main(words.split())\n"
        "try: cli.main(['train', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)

    assert (result.returncode, result.stderr.count(b"\n")) == (0, 3), result.stderr
    assert b"--replay.min_steps N" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_games_settings_and_their_choices(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(
        relic_rl("--print-completion", "bash", cwd=tmp_path).stdout
    )
    for words, expected in (
        (["do"], "doctor"),
        (["train", "po"], "pong"),
        (["train", "pong", "--replay.mi"], "--replay.min_steps"),
        (["train", "pong", "--representation.arm", "rel"], "relic"),
    ):
        typed = " ".join(("relic-rl", *words))
        script = (
            f"source completion; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; "
            "_shtab_relic_rl; echo ${COMPREPLY[@]}"
        )
        result = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert result.stdout.split() == [expected]


def test_brackets_of_a_value_are_shown(run_here: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = run_here("config", "pong", "--run.ray_address", "ray://[fe80::1]:10001")

    assert "ray://[fe80::1]:10001" in out


@pytest.mark.parametrize("verb", ["", "train", "resume", "evaluate", "config", "games", "doctor"])
def test_help_goes_to_stdout(run_here: Callable[..., tuple[int, str, str]], verb: str) -> None:
    status, out, err = run_here(*verb.split(), "--help")

    assert (status, err) == (0, "")
    assert "usage: relic-rl" in out


def test_evaluate_plays_as_many_episodes_as_the_run_at_its_end(
    run_here: Callable[..., tuple[int, str, str]], finished: Path
) -> None:
    status, out, _ = run_here("evaluate", str(finished), "--json")

    assert (status, json.loads(out)["episodes"]) == (0, 2)  # TOY's evaluation.episodes


def test_evaluate_prints_one_json_object_and_changes_nothing(
    run_here: Callable[..., tuple[int, str, str]], finished: Path
) -> None:
    before = digest(finished)
    answers = [
        run_here("evaluate", str(finished), "--episodes", "8", "--seed", str(seed), "--json")
        for seed in (1, 1, 2, 3)
    ]
    found = [json.loads(out) for _, out, _ in answers]

    assert [(status, err) for status, _, err in answers] == [(0, "")] * 4
    assert found[0] == found[1]
    assert any(other["scores"] != found[0]["scores"] for other in found[2:])
    assert set(found[0]) == {
        *("game", "env_frames", "episodes", "scores", "mean_score"),
        *("human_normalized_score", "protocol"),
    }
    assert (found[0]["game"], found[0]["env_frames"]) == ("toy_memory", 1200)
    assert (found[0]["episodes"], len(found[0]["scores"])) == (8, 8)
    assert found[0]["mean_score"] == sum(found[0]["scores"]) / 8
    assert (found[0]["human_normalized_score"], found[0]["protocol"]) == (None, None)
    assert digest(finished) == before


@pytest.mark.parametrize(
    ("words", "closed", "status"), [("config", 1, 0), ("games", 1, 0), ("train pogn", 2, 2)]
)
def test_a_stream_that_is_closed_takes_nothing_and_breaks_nothing(
    words: str, closed: int, status: int, tmp_path: Path
) -> None:
    command = f"{shlex.join(COMMAND)} {words} {closed}>&-"
    result = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)

    assert (result.returncode, result.stdout, result.stderr) == (status, b"", b"")


def test_a_run_that_ends_before_it_could_learn_does_not_pass_for_one_that_did(
    run_here: Callable[..., tuple[int, str, str]],
) -> None:
    short = ("--frames", "300", "--run.threads", "1", "--run-dir", "run")
    status, out, _ = run_here("train", "toy_memory", "--preset", "smoke", *short)

    assert status == 0
    assert "finished, but nothing was learned" in out
    assert "none in 300 frames; `relic-rl resume run` with more --frames" in out


def test_a_run_says_what_it_will_do_and_leaves_a_whole_folder_that_has_its_name(
    run_here: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    status, out, err = run_here(*TOY, "--name", "first-try", "--seed", "4")
    (folder,) = (tmp_path / "runs").iterdir()

    assert (status, err) == (0, "")
    assert re.fullmatch(r"toy_memory-first-try-s4-\d{8}-\d{6}", folder.name)
    assert out.startswith("training toy_memory, seed 4, preset smoke")
    assert f"writes to runs/{folder.name}" in out
    assert "finished: mean score" in out
    assert {path.name for path in folder.iterdir()} >= {
        *("config.toml", "metadata.json", "metrics.jsonl", "episodes.csv", "evaluations.csv"),
        *("checkpoints", "segments", "log.txt", "lock"),
    }


def test_a_runs_configuration_is_a_preset_for_another_seed(
    run_here: Callable[..., tuple[int, str, str]], finished: Path, tmp_path: Path
) -> None:
    preset = ("--preset", str(finished / "config.toml"))
    status, _, err = run_here("train", "toy_memory", *preset, "--seed", "7", "--run-dir", "other")
    mine, other = (read_identity(run) for run in (finished, tmp_path / "other"))

    assert (status, err) == (0, "")
    assert other.config == mine.config
    assert (mine.seed, other.seed) == (0, 7)


def test_a_tilde_after_an_equals_sign_is_the_home_folder(
    run_here: Callable[..., tuple[int, str, str]],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(finished, tmp_path / "home/p0")
    preset = "--preset=~/p0/config.toml"

    assert run_here("train", "toy_memory", preset, "--run-dir=~/p1")[::2] == (0, "")
    assert run_here("resume", "~/p1", "--frames=1.6k")[::2] == (0, "")
    assert checkpoints(tmp_path / "home/p1")[-1] == 1600
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_picture_that_fails_is_said_and_ends_no_run(
    run_here: Callable[..., tuple[int, str, str]], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/curves.png").unlink()
    (tmp_path / "run/curves.png").mkdir()
    status, out, err = run_here("resume", "run", "--frames", "1600")

    assert (status, err) == (0, "")
    assert "not drawn: curves.png and curves.svg" in out
    assert "finished: mean score" in out.splitlines()[-1]


def test_advice_can_be_pasted_into_a_shell(
    run_here: Callable[..., tuple[int, str, str]], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "my runs/p0")
    (advised,) = re.findall("`([^`]+)`", run_here(*TOY, "--run-dir", "my runs/p0")[2])

    assert shlex.split(advised) == ["relic-rl", "resume", "my runs/p0"]


def test_a_terminal_of_another_encoding_shows_what_it_can(finished: Path, tmp_path: Path) -> None:
    encodings = {"ascii": rb"l\xe4ufe/p0", "iso-8859-1": "läufe/p1".encode("iso-8859-1")}
    for name in ("p0", "p1"):
        shutil.copytree(finished, tmp_path / "läufe" / name)
    code = (
        "import sys\nfrom relic_rl import cli\n"
        f"for encoding, name in zip({[*encodings]}, ('p0', 'p1')):\n"
        "    sys.stdout.reconfigure(encoding=encoding, errors='strict')  # as a terminal has it\n"
        "    for words in ('config', f'evaluate läufe/{name}',"
        " f'resume läufe/{name} --frames 1600'):\n"
        "        print(end=chr(12) * (cli.main(words.split()) == 0), flush=True)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False
    )
    *parts, rest = result.stdout.split(b"\f")
    assert (result.returncode, result.stderr, rest) == (0, b"", b"")

    for i, shown in enumerate(encodings.values()):
        config, evaluated, resumed = parts[3 * i : 3 * i + 3]
        assert config.isascii()  # what settings mean can be read anywhere
        assert b"mean score" in evaluated
        assert b"in " + shown in resumed


def test_a_damaged_checkpoint_is_named_on_the_screen_and_the_one_before_it_used(
    run_here: Callable[..., tuple[int, str, str]], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run_here("resume", "run", "--frames", "2000")
    newest = tmp_path / "run/checkpoints/000000002000"
    (newest / "state.json").write_text("{}")
    status, out, err = run_here("resume", "run", "--frames", "2400")

    assert (status, err) == (0, "")
    warning, plan = out.splitlines()[:2]
    assert warning.startswith("warning: ")
    assert "1,200 frames" in plan
    for told in (warning, (tmp_path / "run/log.txt").read_text()):
        assert "state.json does not match its hash" in told
    assert checkpoints(tmp_path / "run") == [1200, 2400]
    assert [row["env_frames"] for row in evaluations(tmp_path / "run")] == ["1200", "2400"]


def test_actors_and_lanes_of_each_make_the_lanes_of_the_run(
    run_here: Callable[..., tuple[int, str, str]],
) -> None:
    flags = ("--preset", "smoke", "--frames", "100", "--evaluation.every_minutes", "0")
    flags += ("--engine", "threads", "--actors", "2", "--lanes-per-actor", "3")
    status, out, _ = run_here("train", "toy_memory", *flags, "--run-dir", "run")

    assert (status, "6 lanes" in out) == (0, True)
    status, _, err = run_here("train", "toy_memory", "--lanes-per-actor", "3")
    assert (status, "--lanes-per-actor goes with --actors" in err) == (2, True)


# --- processes ------------------------------------------------------------------------------------


def checkpoints(run: Path) -> list[int]:
    names = (path.name for path in (run / "checkpoints").glob("[0-9]*"))
    return sorted(int(name) for name in names)


def evaluations(run: Path) -> list[dict[str, str]]:
    with (run / "evaluations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def is_learning(run: Path) -> bool:
    metrics = run / "metrics.jsonl"
    return metrics.is_file() and metrics.stat().st_size > 0


@pytest.fixture
def training(wait_until: Callable[..., None], tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """An endless run of Pong in `tmp_path`/run, already learning."""
    endless = ("train", "pong", "--preset", "smoke", "--frames", "1000000000", "--run-dir", "run")
    soon = ("--replay.min_steps", "64", "--replay.replay_ratio", "4")
    process = subprocess.Popen(
        [*COMMAND, *endless, *soon, "--run.threads", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: is_learning(tmp_path / "run"), process)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_in_use_is_refused_and_interrupting_it_leaves_a_checkpoint_to_resume(
    training: "subprocess.Popen[str]",
    run_here: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    status, out, err = run_here("resume", "run")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"in use by process {training.pid}" in err

    training.send_signal(signal.SIGINT)
    out, err = training.communicate(timeout=60)
    (frames,) = checkpoints(tmp_path / "run")
    rows = (tmp_path / "run/metrics.jsonl").read_text().splitlines()

    assert (training.returncode, err) == (0, "")
    assert out.splitlines()[-1].startswith("stopped with a checkpoint; `relic-rl resume run`")

    status, out, err = run_here("resume", "run", "--frames", str(frames + 600))

    assert (status, err) == (0, "")
    assert f"{frames:,} frames" in out.splitlines()[0]
    after = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert after[: len(rows)] == rows
    counters = [json.loads(line)["updates"] for line in after]
    assert counters == list(range(5, 5 * len(after) + 1, 5))


def test_an_interrupt_while_python_ends_says_nothing(tmp_path: Path) -> None:
    code = (
        "import atexit, os, signal, sys; sys.argv[1:] = ['games'];"
        "from relic_rl.__main__ import main;"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT)); sys.exit(main())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow  # test_stop has the same of a process that trains nothing
def test_an_interrupt_while_modules_are_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "shtab.py").write_text("raise KeyboardInterrupt")  # as if Ctrl-C came then
    result = relic_rl("games", cwd=tmp_path)

    assert (result.returncode, result.stderr) == (130, "relic-rl: stopped\n")


def test_a_run_says_what_it_starts_and_ends_at_once_while_its_emulators_load(
    wait_until: Callable[..., None], tmp_path: Path
) -> None:
    many = ("--actor.lanes", "160", "--env.threads", "1", "--run.threads", "1")
    process = subprocess.Popen(
        [*COMMAND, "train", "pong", "--preset", "smoke", "--run-dir", "run", *many],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "starting 160 environments\n":
        assert line
    wait_until(lambda: not catches(process.pid, signal.SIGTERM), process)  # in ale-py, that is
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)

    # By the signal itself: a run that has loaded them would say that it stopped.
    assert (process.returncode, out, err) == (-signal.SIGTERM, "", "")
    assert (tmp_path / "run/config.toml").is_file()


@pytest.mark.slow  # test_readme has a shorter one
def test_the_smoke_preset_ends_by_itself_with_an_evaluation(
    tmp_path: Path,
) -> None:
    before = os.times().children_user
    result = relic_rl("train", "breakout", "--preset", "smoke", "--run-dir", "run", cwd=tmp_path)
    seconds = os.times().children_user - before  # whatever else the machine does
    rows = evaluations(tmp_path / "run")

    assert (result.returncode, result.stderr) == (0, "")
    assert seconds < 60
    assert [int(row["env_frames"]) for row in rows] == [10_000]
    assert "human-normalized" in result.stdout.splitlines()[-1]
    assert (tmp_path / "run/curves.png").stat().st_size > 1000
