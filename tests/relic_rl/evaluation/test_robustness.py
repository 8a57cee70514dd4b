"""Scores under corrupted frames: what is kept, exact on repeat, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from envs.corruptions import CORRUPTIONS
from relic_rl import cli
from relic_rl.evaluation.robustness import kept_share


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("robustness") / "run"
    flags = ("--frames", "1200", "--replay.min_steps", "200", "--run.threads", "1")
    command = ["train", "breakout", "--preset", "smoke", "--run-dir", str(path), *flags]
    assert cli.main(command) == 0
    return path


def evaluated(run: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--episodes", "2", "--json", *flags]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_what_is_kept_is_the_share_of_the_score_above_random_play() -> None:
    # Breakout at random: 1.7. Clean 11.7, so 10 were earned.
    assert kept_share("Breakout", [10.7, 12.7], [6.7]) == pytest.approx(0.5)
    assert kept_share("Breakout", [11.7], [11.7]) == pytest.approx(1.0)
    assert kept_share("Breakout", [11.7], [0.7]) == pytest.approx(-0.1)


@pytest.mark.parametrize(("game", "clean"), [("Breakout", 1.0), ("toy_memory", 1.0)])
def test_nothing_is_kept_of_nothing(game: str, clean: float) -> None:
    assert kept_share(game, [clean], [clean]) is None


def test_corrupted_scores_stand_beside_the_clean_ones_and_are_the_same_on_repeat(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = evaluated(run, capsys)
    flags = ("--corruption", "shift", "impulse_noise", "--severity", "5", "1")
    one, two = (evaluated(run, capsys, *flags) for _ in range(2))

    assert one == two
    assert {name: one[name] for name in clean} == clean
    assert [(c["corruption"], c["severity"]) for c in one["corruptions"]] == [
        ("impulse_noise", 1),
        ("impulse_noise", 5),
        ("shift", 1),
        ("shift", 5),
    ]
    assert all(len(c["scores"]) == 2 for c in one["corruptions"])


def test_the_table_has_a_line_for_each_and_the_mean(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--episodes", "1", "--corruption", "frozen", "--severity", "all")
    assert cli.main(["evaluate", str(run), *flags]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[-6:-1]] == [["frozen", str(n)] for n in range(1, 6)]
    assert lines[-1].split()[0] == "mean"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--corruption", "sift"), ["nearest is 'shift'", *CORRUPTIONS]),
        (("--corruption", "shift", "--severity", "6"), ["--severity is '6'", "1 or 2"]),
        (("--severity", "3"), ["--severity goes with --corruption"]),
    ],
)
def test_mistakes_are_one_line_that_names_the_choices(
    run: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: list[str]
) -> None:
    assert cli.main(["evaluate", str(run), *flags]) == 2

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in words:
        assert word in said
