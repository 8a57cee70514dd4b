"""What is refused reads the same on a terminal as in a pipe: one line, whatever the terminal is."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from relic_rl.config import field_types

MISTAKES = (
    "trian pong",
    "train",
    "train pogn",
    "train pong boxing",
    "train pong --sed 3",
    "train pong --seed x",
    "train pong --frames lots",
    "train pong --engine thread",
    "train pong --preset smok",
    "train pong --learner.lerning_rate 1",
    "train pong --learner.learning_rate",
    "train pong --frames 1 --run.frames 2",
    "train pong --batch_sequences 8",
    "resume",
    "evaluate nothere --actor.lanes 2",
    "watch nothere",
    "sweep nothere --backend rey",
    "status",
    "report --out there --against",
    "bench --engine rey",
    "games --jsn",
    "doctor --preset",
    "config pong pong",
)
CODE = f"""
import sys
from relic_rl import cli
assert [cli.main(words.split()) for words in {MISTAKES!r}] == [2] * {len(MISTAKES)}
"""


PLAIN = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}


def on_a_terminal(code: str, cwd: Path, columns: int, **environment: str) -> str:
    """What a terminal of so many columns gets from a Python program."""
    terminal, process_end = pty.openpty()
    fcntl.ioctl(process_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=PLAIN | environment,
        stdout=process_end,
        stderr=process_end,
    )
    os.close(process_end)
    shown = b""
    with suppress(OSError):  # how a terminal says that its other end is closed
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def refusals() -> list[str]:
    """On a pipe."""
    result = subprocess.run(
        [sys.executable, "-c", CODE], env=PLAIN, capture_output=True, text=True, check=True
    )
    assert result.stdout == ""
    return result.stderr.splitlines()


def test_each_refusal_is_one_line(refusals: list[str]) -> None:
    assert len(refusals) == len(MISTAKES)
    assert all(line.startswith("relic-rl: ") for line in refusals)


@pytest.mark.parametrize(
    ("columns", "environment"),
    [
        (80, {"TERM": "xterm-256color", "COLORTERM": "truecolor"}),
        (44, {"TERM": "xterm-256color"}),
        (80, {"TERM": "xterm-256color", "NO_COLOR": "1"}),
        (44, {"TERM": "dumb"}),
        (80, {"TERM": "xterm", "FORCE_COLOR": "1"}),
    ],
)
def test_a_terminal_shows_the_same_lines(
    columns: int, environment: dict[str, str], refusals: list[str], tmp_path: Path
) -> None:
    assert on_a_terminal(CODE, tmp_path, columns, **environment).splitlines() == refusals


@pytest.mark.parametrize(
    ("columns", "texts"), [(44, []), (80, []), (110, ["meaning"]), (160, ["meaning", "source"])]
)
def test_config_leaves_columns_out_before_it_folds_a_name_or_a_value(
    columns: int, texts: list[str], tmp_path: Path
) -> None:
    code = "from relic_rl import cli; cli.main(['config', '--preset', 'paper'])"
    shown = on_a_terminal(code, tmp_path, columns, TERM="xterm")
    _, head, *lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    names = field_types().keys()
    rows = {words[0]: words[1] for words in map(str.split, lines) if words and words[0] in names}

    assert [word for word in ("meaning", "source") if word in head] == texts
    assert rows.items() >= {
        ("representation.stacks_per_sequence", "1"),
        ("run.frames", "15_000_000_000"),
    }
