"""Scores under corrupted frames and in other modes: exact on repeat, saved, and what is refused."""

import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from envs.corruptions import CORRUPTIONS
from envs.flavoured import find_flavours
from envs.games import ATARI57
from envs.registry import ENVIRONMENTS
from relic_rl import cli
from relic_rl import console as progress
from relic_rl.commands import evaluate
from relic_rl.commands.printing import leave_out
from relic_rl.errors import UserError
from relic_rl.evaluation.robustness import conditions, kept_share
from relic_rl.evaluation.trained import load_trained
from relic_rl.records.folders import FolderLock
from relic_rl.records.probes import read_probings
from relic_rl.records.robustness import ROBUSTNESS_FILE, Judgement, read_judgements
from relic_rl.sweep.request import Placement, SweepRequest

Evaluated = Callable[..., dict[str, Any]]


def test_what_is_kept_is_the_share_of_the_score_above_random_play() -> None:
    # Breakout at random: 1.7. Clean 11.7, so 10 were earned.
    assert kept_share("Breakout", [10.7, 12.7], [6.7]) == pytest.approx(0.5)
    assert kept_share("Breakout", [11.7], [11.7]) == pytest.approx(1.0)
    assert kept_share("Breakout", [11.7], [0.7]) == pytest.approx(-0.1)


@pytest.mark.parametrize(("game", "clean"), [("Breakout", 1.0), ("toy_memory", 1.0)])
def test_nothing_is_kept_of_nothing(game: str, clean: float) -> None:
    assert kept_share(game, [clean], [clean]) is None


def test_corrupted_scores_stand_beside_the_clean_ones_and_are_the_same_on_repeat(
    breakout_run: Path, evaluated: Evaluated
) -> None:
    clean = evaluated(breakout_run, episodes=1)
    flags = ("--corruption", "impulse_noise", "--severity", "5")
    one, two = (evaluated(breakout_run, *flags, episodes=1) for _ in range(2))

    assert one == two
    assert {name: one[name] for name in clean} == clean
    assert [len(c["scores"]) for c in one["corruptions"]] == [1]


def test_corruptions_stand_in_the_order_of_all_each_with_its_severities(
    toy_run: Path, evaluated: Evaluated
) -> None:
    flags = ("--corruption", "shift", "impulse_noise", "--severity", "5", "1")
    found = evaluated(toy_run, *flags)

    assert [(c["corruption"], c["severity"]) for c in found["corruptions"]] == [
        ("impulse_noise", 1),
        ("impulse_noise", 5),
        ("shift", 1),
        ("shift", 5),
    ]
    assert all(len(c["scores"]) == 2 for c in found["corruptions"])


def test_the_table_has_a_line_for_each_and_the_mean(
    toy_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--episodes", "1", "--corruption", "frozen", "--severity", "all")
    assert cli.main(["evaluate", str(toy_run), *flags]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[-6:-1]] == [["frozen", str(n)] for n in range(1, 6)]
    assert lines[-1].split()[0] == "mean"


def test_the_tables_fit_into_44_columns_whatever_was_played(copy: Path) -> None:
    spec, longest = load_trained(copy).spec, max(CORRUPTIONS, key=len)
    clean = Judgement(
        env_frames=200_000_000,
        protocol="noop",
        epsilon=0.001,
        seed=0,
        episodes=10,
        mode=132,
        difficulty=1,
        default_mode=False,
        corruption="none",
        severity=0,
        mean_score=999_999.9,
        kept=None,
        scores=(999_999.9,),
    )
    shaken = replace(clean, corruption=longest, severity=5, kept=0.333)
    named = "learning_rate=0.00025,arm=disturbed_relic/montezuma_revenge-s10"
    played = evaluate._Played(named, spec, [clean, replace(shaken, default_mode=True)])
    shown = io.StringIO()
    narrow = Console(width=44, file=shown)
    wide = narrow.options.update(max_width=1000)

    tables = [evaluate._corruptions_table(played), evaluate._modes_table([clean, shaken])]
    assert all(narrow.measure(table, options=wide).maximum <= 44 for table in tables)
    in_sweep = evaluate._sweep_table([played], with_kept=True)
    leave_out(in_sweep, evaluate._SPARE, narrow)
    narrow.print(in_sweep)
    assert max(map(len, shown.getvalue().splitlines())) <= 44


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--corruption", "sift"), ["nearest is 'shift'", *CORRUPTIONS]),
        (("--corruption", "shift", "--severity", "6"), ["--severity is '6'", "1 or 2"]),
        (("--severity", "3"), ["--severity goes with --corruption"]),
        (("--mode", "0", "3"), ["mode is '3': Breakout has 0, 4, 8, 12, 16, 20"]),
        (("--mode", "hard"), ["mode is 'hard': Breakout has 0, 4"]),
        (("--difficulty", "2"), ["difficulty is '2': Breakout has 0, 1"]),
    ],
)
def test_mistakes_are_one_line_that_names_the_choices(
    breakout_run: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: list[str]
) -> None:
    assert cli.main(["evaluate", str(breakout_run), *flags]) == 2

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_every_mode_goes_with_every_difficulty_and_corruption_after_the_default() -> None:
    asked = conditions(
        "Freeway", modes=["7", "3"], difficulties=["all"], corruptions=["shift"], severities=[2]
    )

    flavours = [(0, 0), (3, 0), (3, 1), (7, 0), (7, 1)]
    looks = [("none", 0), ("shift", 2)]
    assert [(*one.flavour, *one[1:]) for one in asked] == [
        (*flavour, *look) for flavour in flavours for look in looks
    ]


def test_all_modes_are_played_at_the_default_difficulty_unless_it_is_given_too() -> None:
    assert [one.flavour for one in conditions("Freeway", modes=["all"])] == [
        (mode, 0) for mode in range(8)
    ]
    assert len(conditions("Freeway", modes=["all"], difficulties=["all"])) == 16
    assert len(conditions("Assault", modes=["all"], difficulties=["all"])) == 1
    assert len(conditions("toy_memory", modes=["0"])) == 1


def test_other_modes_stand_beside_the_default_and_are_the_same_on_repeat(
    breakout_run: Path, evaluated: Evaluated
) -> None:
    clean = evaluated(breakout_run, "--mode", "0", "--difficulty", "0", episodes=1)
    assert clean["modes"] == []  # the default, by its number: played once
    flags = ("--mode", "0", "4", "--difficulty", "1")
    one, two = (evaluated(breakout_run, *flags, episodes=1) for _ in range(2))

    assert one == two
    assert {name: one[name] for name in clean if name != "modes"} | {"modes": []} == clean
    assert [(m["mode"], m["difficulty"]) for m in one["modes"]] == [(0, 1), (4, 1)]
    assert all(len(m["scores"]) == 1 for m in one["modes"])


def test_a_film_of_a_mode_is_the_episode_that_is_scored_there(
    breakout_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--episodes", "1", "--mode", "24", "--seed", "1")
    capsys.readouterr()
    assert cli.main(["evaluate", str(breakout_run), *flags]) == 0
    *head, line = capsys.readouterr().out.splitlines()[-3:]
    assert " ".join(head).split() == ["mode,", "difficulty", "mean", "score"]
    mode, difficulty, score = line.split()
    assert (mode, difficulty) == ("24,", "0")

    assert (
        cli.main(["watch", str(breakout_run), "--video", str(tmp_path / "film.gif"), *flags]) == 0
    )
    assert f"scores {float(score):.0f}, in" in capsys.readouterr().out
    assert (
        cli.main(["watch", str(breakout_run), "--video", str(tmp_path / "no.gif"), "--mode", "3"])
        == 2
    )
    assert "mode is '3': Breakout has 0, 4" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]


# --- saved ----------------------------------------------------------------------------------------


@pytest.fixture
def copy(toy_run: Path, tmp_path: Path) -> Path:
    """A run, to write in."""
    return Path(shutil.copytree(toy_run, tmp_path / "run"))


def test_what_is_saved_is_what_was_played(
    breakout_run: Path, tmp_path: Path, evaluated: Evaluated
) -> None:
    copy = Path(shutil.copytree(breakout_run, tmp_path / "run"))
    flags = ("--save", "--corruption", "shift", "--severity", "2", "--difficulty", "1")
    found = evaluated(copy, *flags, episodes=1)
    rows = read_judgements(copy)

    assert [(r.mode, r.difficulty, r.default_mode, r.corruption, r.severity) for r in rows] == [
        (0, 0, True, "none", 0),
        (0, 0, True, "shift", 2),
        (0, 1, False, "none", 0),
        (0, 1, False, "shift", 2),
    ]
    assert {(r.protocol, r.seed, r.episodes, r.env_frames) for r in rows} == {
        (found["protocol"], 0, 1, found["env_frames"])
    }
    assert list(rows[0].scores) == found["scores"]
    assert list(rows[1].scores) == found["corruptions"][0]["scores"]
    assert rows[1].kept == found["corruptions"][0]["kept"]
    assert [list(r.scores) for r in rows[2:]] == [m["scores"] for m in found["modes"]]


def test_a_repeat_changes_nothing_and_another_seed_adds(copy: Path, evaluated: Evaluated) -> None:
    flags = ("--save", "--corruption", "shift", "frozen")
    found = evaluated(copy, *flags)
    saved = (copy / ROBUSTNESS_FILE).read_text()
    (score, *_) = found["scores"]
    (copy / ROBUSTNESS_FILE).write_text(saved.replace(str(score), "777.0"))

    assert evaluated(copy, *flags) == found
    assert (copy / ROBUSTNESS_FILE).read_text() == saved
    evaluated(copy, "--save", "--seed", "1")
    evaluated(copy, "--save", episodes=3)
    assert [(row.seed, row.episodes, row.corruption) for row in read_judgements(copy)] == [
        (0, 2, "none"),
        (0, 2, "shift"),
        (0, 2, "frozen"),
        (1, 2, "none"),
        (0, 3, "none"),
    ]


def test_saving_beside_a_run_that_trains_touches_nothing_of_it(copy: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    with FolderLock(copy, "run folder"):
        before = files()
        assert cli.main(["evaluate", str(copy), "--episodes", "1", "--save"]) == 0
        after = files()

    added = {path.name for path in after.keys() - before.keys()}
    assert added == {ROBUSTNESS_FILE, ".rewriting.lock"}
    assert {path: after[path] for path in before} == before


def test_without_save_nothing_is_written(copy: Path, evaluated: Evaluated) -> None:
    before = sorted(copy.rglob("*"))
    evaluated(copy)

    assert sorted(copy.rglob("*")) == before


def test_a_damaged_file_of_saved_scores_is_told_before_anything_is_played(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / ROBUSTNESS_FILE).write_text("env_frames,protocol\n12,noop\n")
    capsys.readouterr()

    assert cli.main(["evaluate", str(copy), "--save"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{copy}: {ROBUSTNESS_FILE}, line 2 is damaged" in err


def test_a_last_row_without_an_end_and_bytes_that_are_no_text_are_not_passed_over(
    copy: Path, evaluated: Evaluated
) -> None:
    evaluated(copy, "--save", "--corruption", "frozen")
    file, rows = copy / ROBUSTNESS_FILE, read_judgements(copy)
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert read_judgements(copy) == rows

    file.write_bytes(file.read_bytes().replace(b"frozen", b"fro\xffen"))
    with pytest.raises(UserError, match=f"{ROBUSTNESS_FILE} is damaged"):
        read_judgements(copy)


@pytest.mark.parametrize("command", [("evaluate", "--save"), ("probe",), ("resume",)])
def test_a_run_folder_that_cannot_be_written_is_told_before_anything_is_played(
    copy: Path, command: tuple[str, ...], modes_hold: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "lock").unlink()
    copy.chmod(0o500)
    status = cli.main([command[0], str(copy), *command[1:]])
    copy.chmod(0o700)

    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert err == f"relic-rl: cannot write in run folder {copy}: Permission denied\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "{run}", "--episodes", "1"),
        ("watch", "{run}", "--video", "{there}/film.gif"),
        ("export", "{run}", "--out", "{there}/agent.safetensors"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_run_that_nobody_may_write_to_plays(
    copy: Path, tmp_path: Path, modes_hold: None, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "there").mkdir()
    paths = [copy, *copy.rglob("*")]
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    status = cli.main([word.format(run=copy, there=tmp_path / "there") for word in arguments])
    for path in paths:
        path.chmod(0o700)

    assert status == 0
    assert [copy, *copy.rglob("*")] == paths


@pytest.mark.parametrize(
    "command",
    [("evaluate", "--episodes", "1000000"), ("evaluate", "--save"), ("probe",)],
    ids=" ".join,
)
def test_an_interrupt_ends_it_in_one_line_and_leaves_the_run_as_it_was(
    copy: Path,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    working, told = progress.Console.working, iter(range(1000))

    def interrupted(*arguments: Any) -> None:
        working(*arguments)
        if next(told) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress.Console, "working", interrupted)
    before = sorted(copy.rglob("*"))
    capsys.readouterr()

    assert cli.main([command[0], str(copy), *command[1:]]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("relic-rl: stopped before ")
    assert sorted(copy.rglob("*")) == before
    assert next(told) < 10


def test_a_policy_file_has_no_folder_to_save_in(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = copy / "agent.safetensors"
    assert cli.main(["export", str(copy), "--out", str(policy)]) == 0

    assert cli.main(["evaluate", str(policy), "--save"]) == 2
    assert "--save goes with a run's folder" in capsys.readouterr().err


# --- sweeps ---------------------------------------------------------------------------------------


@pytest.fixture
def sweep(toy_run: Path, tmp_path: Path) -> Path:
    """Of two seeds, one of which has been trained."""
    path = tmp_path / "sweep"
    path.mkdir()
    SweepRequest(("toy_memory",), (0, 1), "smoke", {}).write(path, Placement())
    shutil.copytree(toy_run, path / "runs" / "toy_memory-s0")
    return path


def test_a_sweeps_runs_are_played_and_saved_and_those_without_a_checkpoint_named(
    sweep: Path, toy_run: Path, evaluated: Evaluated, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--corruption", "shift", "--episodes", "2")
    alone = evaluated(toy_run, *flags[:2])

    assert cli.main(["evaluate", str(sweep), "--json", "--save", *flags]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"runs": [{"run": "toy_memory-s0", **alone}]}
    assert "run 1 of 2, toy_memory-s0: mode 0, difficulty 0: mean score" in err
    assert f"toy_memory-s1 is skipped: {sweep / 'runs/toy_memory-s1'} does not exist" in err
    assert err.splitlines()[-1] == "relic-rl: not evaluated: toy_memory-s1"
    assert len(read_judgements(sweep / "runs/toy_memory-s0")) == 2


def test_a_run_that_cannot_be_read_now_is_named_and_the_others_play(
    sweep: Path,
    toy_run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(toy_run, sweep / "runs" / "toy_memory-s1")
    is_file = Path.open

    def refusing(path: Path, *rest: Any, **named: Any) -> Any:
        if path.name == "model.pt" and path.is_relative_to(sweep / "runs/toy_memory-s0"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path, *rest, **named)

    monkeypatch.setattr(Path, "open", refusing)
    assert cli.main(["evaluate", str(sweep), "--json", "--episodes", "2"]) == 1
    out, err = capsys.readouterr()

    assert [run["run"] for run in json.loads(out)["runs"]] == ["toy_memory-s1"]
    assert err.splitlines()[-1] == "relic-rl: not evaluated: toy_memory-s0"


def test_a_sweep_none_of_whose_runs_can_play_has_no_table(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(sweep / "runs")

    assert cli.main(["evaluate", str(sweep)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "relic-rl: not evaluated: toy_memory-s0, toy_memory-s1"


def test_a_sweep_is_a_table_of_its_runs(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(sweep / "runs/toy_memory-s0", sweep / "runs/toy_memory-s1")
    capsys.readouterr()

    assert cli.main(["evaluate", str(sweep), "--episodes", "1"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["run", "frames"]
    assert (first.split()[0], second.split()[0]) == ("toy_memory-s0", "toy_memory-s1")


def test_an_interrupt_keeps_what_was_saved(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = evaluate.save_judgement, []

    def save_and_interrupt(run_dir: Path, judgement: Judgement) -> None:
        save(run_dir, judgement)
        saved.append(judgement)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(evaluate, "save_judgement", save_and_interrupt)
    flags = ("--episodes", "1", "--save", "--corruption", "all")

    assert cli.main(["evaluate", str(sweep), *flags]) == 1
    assert read_judgements(sweep / "runs/toy_memory-s0") == saved
    assert len(saved) == 1


def test_a_mode_that_a_game_of_a_sweep_lacks_is_refused_before_anything_is_played(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert cli.main(["evaluate", str(sweep), "--mode", "1"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "mode is '1': toy_memory has 0" in err


# --- all games ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("game", ATARI57)
def test_every_game_is_judged_and_probed_as_far_as_its_memory_is_known(
    game: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train = ["train", game, "--preset", "smoke", "--run-dir", str(run), "--run.threads", "1"]
    short = ["--frames", "1200", "--replay.min_steps", "200", "--evaluation.episodes", "1"]
    # Greedy, an agent that has learned nothing may stand still for half an hour of a game.
    assert cli.main([*train, *short, "--evaluation.epsilon", "1"]) == 0
    known = find_flavours(ATARI57[game])
    other = [str(numbers[-1]) for numbers in (known.modes, known.difficulties)]
    flags = ("--episodes", "1", "--save", "--corruption", "shift", "--severity", "1")
    elsewhere = ("--mode", other[0], "--difficulty", other[1])
    asked = conditions(
        game,
        modes=other[:1],
        difficulties=other[1:],
        corruptions=["shift"],
        severities=[1],
    )

    assert cli.main(["evaluate", str(run), *flags, *elsewhere]) == 0
    assert len(read_judgements(run)) == len(asked)
    is_annotated = bool(ENVIRONMENTS[game].ram_variables)
    steps = "2000" if game == "MsPacman" else "1000"  # it starts with four seconds of a tune
    assert cli.main(["probe", str(run), "--steps", steps]) == (0 if is_annotated else 2)
    assert len(read_probings(run)) == is_annotated
    assert cli.main(["report", str(run), "--out", str(tmp_path / "report"), "--against"]) == 0
