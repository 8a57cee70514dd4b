import io
import re

import pytest

from relic_rl import console as console_module
from relic_rl.console import Console, count, counted, duration, print_line
from relic_rl.counters import Budget

ROW = {
    "env_frames": 1_000_000,
    "minutes": 10.0,
    "frames_per_second": 1000.0,
    "updates_per_second": 2.5,
    "replay_fill": 0.25,
    "replay_bytes": 3 * 2**20,
    "rl_loss": 0.125,
    "mean_score": None,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class ClosedPipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.fixture
def a_terminal(monkeypatch):
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    return Terminal()


def test_a_pipe_gets_plain_lines_without_escape_codes():
    stream = io.StringIO()
    console = Console(budget=Budget(4_000_000), stream=stream)

    console.say("pong [seed 1]")
    console.status(ROW)
    console.close()

    assert stream.getvalue() == (
        "pong [seed 1]\n"
        "1.00M of 4.00M frames  10m  50m left  "
        "1,000 frames/s  2.50 updates/s  replay 25%  3 MiB  rl 0.125\n"
    )


def test_the_status_says_how_busy_and_how_full_a_gpu_is():
    stream = io.StringIO()

    row = {"env_frames": 400, "minutes": 1.0, "gpu_busy_fraction": 0.37, "gpu_bytes": 3 * 2**30}
    Console(stream=stream).status(row)

    assert stream.getvalue() == "400 frames  1m  GPU 37% busy  GPU memory 3.00 GiB\n"


def test_a_pipe_gets_one_status_line_per_interval():
    stream = io.StringIO()
    console = Console(stream=stream, plain_seconds=3600)

    for _ in range(100):
        console.status(ROW)

    assert len(stream.getvalue().splitlines()) == 1


def test_a_log_line_is_not_wrapped_at_a_terminals_width():
    stream = io.StringIO()

    Console(stream=stream).say("x" * 500)

    assert stream.getvalue() == "x" * 500 + "\n"


def test_a_terminal_shows_bar_and_numbers_and_keeps_messages_above(a_terminal):
    console = Console(budget=Budget(4_000_000), stream=a_terminal)

    console.status(ROW)
    console.say("evaluated")
    console.close()

    shown = a_terminal.getvalue()
    assert "\x1b[" in shown
    assert " 25%" in shown
    assert "1.00M of 4.00M frames" in shown
    assert "evaluated" in shown
    assert shown.endswith("\x1b[?25h")  # the cursor is given back


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (Budget(4_000_000), "50m left"),
        (Budget(4_000_000, minutes=15.0), "5m left"),
        (Budget(4_000_000, minutes=90.0), "50m left"),
        (Budget(500_000), "0s left"),
    ],
)
def test_time_left_is_that_of_the_nearer_end(budget, left):
    stream = io.StringIO()

    Console(stream=stream, budget=budget).status(ROW)

    assert f"  {left}  " in stream.getvalue()


@pytest.mark.parametrize(
    ("budget", "label", "fraction"),
    [
        (Budget(4_000_000), "1.00M of 4.00M frames  10m", " 25%"),
        (Budget(4_000_000, minutes=90.0), "1.00M of 4.00M frames  10m", " 25%"),
        (Budget(4_000_000, minutes=20.0), "1.00M frames  10m of 20m", " 50%"),
        (Budget(200_000_000, minutes=1000.0), "1.00M frames  10m of 16h 40m", "  1%"),
    ],
)
def test_the_limit_beside_the_bar_is_the_one_that_the_bar_shows(
    a_terminal, budget, label, fraction
):
    console = Console(stream=a_terminal, budget=budget)

    console.status(ROW)
    console.close()

    shown = re.sub(r"\x1b\[[0-9;]*m", "", a_terminal.getvalue())
    assert label in shown
    assert fraction in shown


@pytest.mark.parametrize(
    ("columns", "frames", "ends"),
    [
        (44, 4_000_000, [" 25%  1.00M of 4.00M frames  10m  50m left"]),
        (44, 100_000_000, ["  1%  1.00M of 100.00M frames  10m", "27h 30m left"]),
        (80, 100_000_000, ["  1%  1.00M of 100.00M frames  10m  27h 30m left"]),
        (160, 4_000_000, [" 25%  1.00M of 4.00M frames  10m  50m left"]),
    ],
)
def test_a_narrow_terminal_gets_whole_parts_a_line(a_terminal, monkeypatch, columns, frames, ends):
    monkeypatch.setenv("COLUMNS", str(columns))
    row = {**ROW, "mean_score": 0.5, "evaluation_score": 1.0, "representation_loss": 3.365}
    console = Console(stream=a_terminal, budget=Budget(frames))

    console.status(row)
    console.close()

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", a_terminal.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown) if line.strip()]
    for end in ends:
        assert any(line.endswith(end) for line in lines), end
    assert "…" not in shown
    assert any(line.endswith("representation 3.365") for line in lines)
    assert max(map(len, lines)) <= columns
    assert not any(line.endswith(("rl", "representation", "replay", "best")) for line in lines)


def test_forced_colours_do_not_make_a_file_a_screen(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    console = Console(stream=stream, budget=Budget(4_000_000), plain_seconds=3600)

    for _ in range(100):
        console.status(ROW)
    console.close()

    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_without_an_end_no_time_is_promised():
    stream = io.StringIO()

    Console(stream=stream).status(ROW)

    assert "left" not in stream.getvalue()


def test_a_pipe_gets_a_line_per_interval_of_an_evaluation_that_takes_longer(monkeypatch):
    stream = io.StringIO()
    console = Console(stream=stream, plain_seconds=30.0)
    for now in (0.0, 29.0, 31.0, 32.0, 60.0, 62.0):
        monkeypatch.setattr(console_module.time, "monotonic", lambda now=now: now)
        console.playing("evaluating", 1, 3, int(1000 * now))

    assert stream.getvalue().splitlines() == [
        "evaluating: 1 of 3 episodes  31.0k steps",
        "evaluating: 1 of 3 episodes  62.0k steps",
    ]


def test_a_terminal_turns_to_an_evaluation_and_back_at_once(a_terminal):
    console = Console(stream=a_terminal)

    for _ in range(2):
        console.status(ROW)
        console.playing("evaluating", 0, 3, 0)
        console.status(ROW)
    console.close()

    assert a_terminal.getvalue().count("evaluating: 0 of 3 episodes") == 2


def test_a_terminal_shows_a_bar_of_the_episodes(a_terminal):
    console = Console(stream=a_terminal)

    console.playing("filming", 1, 4, 300)
    console.close()

    shown = re.sub(r"\x1b\[[0-9;]*m", "", a_terminal.getvalue())
    assert " 25%  filming: 1 of 4 episodes" in shown
    assert "300 steps" in shown


def test_a_reader_who_is_gone_does_not_stop_the_run():
    console = Console(stream=ClosedPipe(), plain_seconds=0)

    console.say("hello")
    console.status(ROW)
    console.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (950, "950"),
        (9999, "9,999"),
        (12_345, "12.3k"),
        (999_960, "1.00M"),
        (4_000_000, "4.00M"),
        (15e9, "15.00B"),
    ],
)
def test_count_is_short_and_never_a_thousand_of_a_unit(value, text):
    assert count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45, "45s"), (59.7, "1m"), (60, "1m"), (3599, "59m"), (11_100, "3h 05m"), (187_200, "2d 04h")],
)
def test_duration_has_at_most_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 episodes"), (1, "1 episode"), (1200, "1,200 episodes")]
)
def test_one_of_a_kind_is_no_plural(number, text):
    assert counted(number, "episode") == text


def test_a_result_is_folded_between_words_on_a_terminal_alone(a_terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    line = "mean score -21.0 (random play -20.7, human 14.6: -0.8 % human-normalized)"
    for stream in (a_terminal, pipe := io.StringIO()):
        monkeypatch.setattr("sys.stdout", stream)
        print_line(line)

    assert pipe.getvalue() == line + "\n"
    folded = a_terminal.getvalue().splitlines()
    assert max(map(len, folded)) <= 44
    assert " ".join(part.strip() for part in folded) == line


def test_a_letter_that_the_terminal_lacks_makes_no_line_too_long(a_terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.setattr(Terminal, "encoding", "iso-8859-1")
    monkeypatch.setattr("sys.stdout", a_terminal)
    print_line("warning: größe Ω: 1 of 57 games; all but Pong are missing.")

    folded = a_terminal.getvalue().splitlines()
    assert max(map(len, folded)) <= 44
    assert r"größe \u03a9: 1" in folded[0]
