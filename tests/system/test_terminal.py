"""What is refused reads the same on a terminal as in a pipe: one line, whatever the terminal is."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from relic_rl import cli
from relic_rl.config import field_types
from relic_rl.sweep.request import Placement, SweepRequest

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
STATUS = ["game", "seed", "frames", "minutes", "score", "HNS", "state", "time left", "why"]
LOOKED_AT = ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
PLAIN = {name: value for name, value in os.environ.items() if name not in LOOKED_AT}
ON_EACH = """
import fcntl, os, struct, sys, termios
from relic_rl import cli
for columns, environment in {terminals!r}:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    for name in {looked_at!r}:
        os.environ.pop(name, None)
    os.environ.update(environment)
    for command in {commands!r}:
        try:
            status = cli.main(command.split())
        except SystemExit as end:  # of a verb's help
            status = end.code
        assert status == {status}, command
    print(end="\\f", flush=True)
"""


def on_terminals(
    commands: Sequence[str], cwd: Path, *terminals: tuple[int, dict[str, str]], status: int = 0
) -> list[str]:
    """What commands show on each, of so many columns, and with these variables.

    One process, which is slow to start, finds itself on one after the other.
    """
    terminal, process_end = pty.openpty()
    text = ON_EACH.format(
        commands=commands, status=status, terminals=terminals, looked_at=LOOKED_AT
    )
    process = subprocess.Popen(
        [sys.executable, "-c", text], cwd=cwd, env=PLAIN, stdout=process_end, stderr=process_end
    )
    os.close(process_end)
    shown = b""
    with suppress(OSError):  # how a terminal says that its other end is closed
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert process.wait(timeout=60) == 0, shown.decode()
    *each, rest = shown.decode().replace("\r\n", "\n").split("\f")
    assert rest == ""
    return each


def test_each_refusal_is_one_line_and_the_same_on_every_terminal(tmp_path: Path) -> None:
    code = f"from relic_rl import cli\nfor words in {MISTAKES}: assert cli.main(words.split()) == 2"
    piped = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=PLAIN, capture_output=True, text=True
    )
    refusals = piped.stderr.splitlines()

    assert (piped.returncode, piped.stdout, len(refusals)) == (0, "", len(MISTAKES))
    assert all(line.startswith("relic-rl: ") for line in refusals)
    terminals: tuple[tuple[int, dict[str, str]], ...] = (
        (80, {"TERM": "xterm-256color", "COLORTERM": "truecolor"}),
        (44, {"TERM": "xterm-256color"}),
        (80, {"TERM": "xterm-256color", "NO_COLOR": "1"}),
        (44, {"TERM": "dumb"}),
        (80, {"TERM": "xterm", "FORCE_COLOR": "1"}),
    )
    each = on_terminals(MISTAKES, tmp_path, *terminals, status=2)
    for terminal, shown in zip(terminals, each, strict=True):
        assert shown.splitlines() == refusals, terminal


def test_a_status_leaves_columns_out_before_it_folds_a_word(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    SweepRequest(("Breakout",), (0,), "smoke", {}).write(tmp_path / "s", Placement())
    terminals = ((44, {"TERM": "xterm"}), (44, {"TERM": "dumb"}), (100, {"TERM": "xterm"}))
    tables = on_terminals(["status s"], tmp_path, *terminals)
    for (columns, _), left_out, shown in zip(terminals, (4, 4, 0), tables, strict=True):
        head, row, *_ = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        heads = re.split(r"  +", head.strip())

        assert heads == [name for name in STATUS if name in heads]
        assert len(heads) == len(STATUS) - left_out
        assert re.match(r" Breakout +0 .* queued ", row)
        assert len(row) <= columns


def test_config_leaves_columns_out_before_it_folds_a_name_or_a_value(tmp_path: Path) -> None:
    expected = {
        44: [],
        60: [],
        80: ["from"],
        110: ["from", "meaning"],
        160: ["from", "meaning", "source"],
    }
    terminals = ((columns, {"TERM": "xterm"}) for columns in expected)
    tables = on_terminals(["config --preset paper"], tmp_path, *terminals)
    for (columns, texts), shown in zip(expected.items(), tables, strict=True):
        _, head, *lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        names = field_types().keys()
        words = [line.split() for line in lines if line.strip()]
        rows = {found[0]: found[1] for found in words if found[0] in names}

        assert [word for word in expected[160] if word in head] == texts, columns
        assert max(map(len, lines)) <= columns
        assert rows.items() >= {
            ("representation.stacks_per_sequence", "1"),
            ("run.frames", "15_000_000_000"),
        }


def test_help_is_as_wide_as_the_terminal_and_no_word_of_it_is_cut(tmp_path: Path) -> None:
    verbs = [verb.__name__.rpartition(".")[2] for verb in cli.VERBS]
    commands = ["--help", *(f"{verb} --help" for verb in verbs)]
    for columns, shown in zip(
        (44, 80), on_terminals(commands, tmp_path, (44, {}), (80, {})), strict=True
    ):
        lines = shown.splitlines()

        assert sum(line.startswith("usage: relic-rl") for line in lines) == len(commands)
        assert max(map(len, lines)) <= columns
        assert re.search(r"NAME\s+is\s+inline,\s+threads\s+or\s+ray\.", shown)
        assert not re.search(r"[a-z]\s+NAME\s+is", shown)
