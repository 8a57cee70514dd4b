import argparse
from pathlib import Path
from typing import Any

import pytest

from relic_rl.commands.arguments import (
    Parser,
    Suggestions,
    add_settings,
    name_or_path,
    path,
    positive_number,
    spelled,
    whole_number,
)
from relic_rl.config import field_types
from relic_rl.errors import UsageError


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="relic-rl verb")
    parser.add_argument("--seed", type=whole_number)
    parser.add_argument("--color", choices=("red", "green"))
    parser.add_argument("--game", choices=Suggestions(("pong", "boxing")))
    add_settings(parser, short=["--frames"])
    return parser


def given(parser: Parser, text: str) -> dict[str, Any]:
    """What a command line gives."""
    return vars(parser.parse_args(spelled(text.split())))


def test_what_is_not_given_is_absent(parser: Parser) -> None:
    assert given(parser, "") == {"settings": {}}
    assert given(parser, "--seed 3") == {"settings": {}, "seed": 3}


@pytest.mark.parametrize(
    "text",
    [
        "--replay.min_steps 64",
        "--replay.min_steps=64",
        "--replay.min-steps=64",
        "--replay.min-steps 64",
    ],
)
def test_a_setting_is_known_with_dashes_underscores_and_an_equals_sign(
    parser: Parser, text: str
) -> None:
    assert given(parser, text)["settings"] == {"replay.min_steps": "64"}


def test_values_keep_their_underscores_and_dashes(parser: Parser) -> None:
    found = given(parser, "--run.ray_address=ray://a_b--c_d --network.channels 16,32,32")

    assert found["settings"] == {
        "run.ray_address": "ray://a_b--c_d",
        "network.channels": "16,32,32",
    }


def test_a_word_is_a_flag_from_its_beginning_only() -> None:
    words = ["runs/a--b_c", "-x_y", "a=--b_c", "--", "relic--no_rl"]

    assert spelled(words) == words


def test_every_setting_is_a_flag_and_is_described_with_its_default(parser: Parser) -> None:
    text = " ".join(parser.format_help().split())

    assert [name for name in field_types() if f"--{name} " not in text] == []
    assert "Steps in the replay before learning starts. [50_000; Ape-X]" in text
    assert "NAME is relic, simclr, curl, byol, augmentation" in text


@pytest.mark.parametrize(
    ("names", "known"),
    [(["ray"], "ray."), (["a", "b"], "a or b."), (["a", "b", "c"], "a, b or c.")],
)
def test_a_flag_names_its_choices(names: list[str], known: str) -> None:
    parser = Parser(prog="relic-rl verb")
    parser.add_argument("--engine", choices=names, help="An engine")

    assert f"An engine. NAME is {known}" in " ".join(parser.format_help().split())


def test_settings_of_which_several_are_given_are_joined_by_commas() -> None:
    parser = Parser(prog="relic-rl verb")
    parser.add_argument("folder")
    add_settings(parser, short=["--frames"], several=True)
    found = given(parser, "sweep --representation.arm relic none --frames 10k 2e4,30_000")

    assert found["settings"] == {
        "representation.arm": "relic,none",
        "run.frames": "10000,20000,30000",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("--seed 1 --seed 1", "verb: --seed is given twice"),
        ("--frames 1 --run.frames 2", "verb: --frames/--run.frames is given twice"),
        ("--replay.min-steps 1 --replay.min_steps 1", "verb: --replay.min_steps is given twice"),
        ("--seed", "verb: --seed expected one argument"),
        ("--seed x", "verb: --seed is 'x', use a whole number such as 200, 10k or 1e6"),
        ("--color gren", "verb: --color is 'gren', use red or green, nearest is 'green'"),
        ("--color blue", "verb: --color is 'blue', use red or green"),
    ],
)
def test_a_complaint_says_what_and_where(parser: Parser, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        given(parser, text)

    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--sed", "verb: unknown flag --sed, nearest is '--seed'"),
        ("--sed=3", "verb: unknown flag --sed, nearest is '--seed'"),
        ("--batch_sequences", "unknown flag --batch-sequences, use --learner.batch_sequences"),
        ("--clip-norm", "use --learner.clip_norm or --representation.clip_norm"),
        ("--learner.lerning_rate", "nearest is 'learner.learning_rate'"),
        ("pong", "verb: 'pong' is one argument too many"),
    ],
)
def test_an_unknown_flag_is_named_beside_the_nearest(
    parser: Parser, flag: str, complaint: str
) -> None:
    _, strange = parser.parse_known_args(spelled([flag]))
    with pytest.raises(UsageError) as caught:
        parser.refuse(strange)

    assert complaint in str(caught.value)


def test_what_is_suggested_may_be_something_else(parser: Parser) -> None:
    assert given(parser, "--game Pong --representation.arm relik") == {
        "game": "Pong",
        "settings": {"representation.arm": "relik"},  # whoever reads it will refuse it
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("200", 200),
        ("-1", -1),
        ("2_000_000", 2_000_000),
        ("10k", 10_000),
        ("10K", 10_000),
        ("1.5M", 1_500_000),
        ("15B", 15_000_000_000),
        ("1e6", 1_000_000),
        ("2.5e3", 2500),
        ("9007199254740993", 9_007_199_254_740_993),  # no float
    ],
)
def test_whole_numbers_are_read_as_people_write_them(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "k", "x", "1.5", "1e-3", "1.2345k", "nan", "inf", "infM", "1e999999999", "1 0", "0x10"],
)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        whole_number(text)


def test_a_count_is_at_least_one() -> None:
    assert positive_number("1") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="is 0, must be at least 1"):
        positive_number("0")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")

    assert path("~/runs/p0") == Path("/home/ada/runs/p0")
    assert path("runs/~p0") == Path("runs/~p0")
    assert name_or_path("~/mine.csv") == "/home/ada/mine.csv"
    assert name_or_path("laptop") == "laptop"
    with pytest.raises(argparse.ArgumentTypeError, match="no such user"):
        path("~nobody-of-this-name/x")
