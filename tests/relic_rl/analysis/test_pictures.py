"""Pictures under any set-up of the user's matplotlib, and those that fail."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest

import relic_rl
from relic_rl.analysis import pictures
from relic_rl.analysis.pictures import PictureError, draw_run
from relic_rl.analysis.report import read_report, write_report
from relic_rl.analysis.runs import read_run

WriteRun = Callable[..., Path]
CHECKOUT = Path(relic_rl.__file__).parents[1]
DRAW = """
import sys
from pathlib import Path
from relic_rl.analysis.pictures import draw_run
from relic_rl.analysis.runs import read_run
draw_run(read_run(Path(sys.argv[1])), Path(sys.argv[1]))
"""
HOSTILE = "text.usetex: True\nfont.size: 30\nbackend: nowhere\nno such name: 1\n"


def draw_in(cwd: Path, run: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Draws in a process of its own, whose working directory and variables are the user's."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **variables}
    command = [sys.executable, "-c", DRAW, str(run)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("variables", "here"),
    [
        ({"MATPLOTLIBRC": "/nowhere/at/all"}, ""),
        ({"MATPLOTLIBRC": "rc/matplotlibrc"}, ""),
        ({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, HOSTILE),
    ],
)
def test_a_picture_is_the_same_whatever_set_up_the_user_has(
    tmp_path: Path, write_run: WriteRun, variables: dict[str, str], here: str
) -> None:
    run = write_run(tmp_path / "pong-1")
    (tmp_path / "rc").mkdir()
    (tmp_path / "rc/matplotlibrc").write_text(HOSTILE)
    if here:
        (tmp_path / "matplotlibrc").write_text(here)
    expected = draw_run(read_run(run), tmp_path)

    drawn = draw_in(tmp_path, run, variables)

    assert (drawn.returncode, drawn.stdout, drawn.stderr) == (0, "", "")
    for file in (expected.png, expected.svg):
        assert (run / file.name).read_bytes() == file.read_bytes()


def test_what_the_caller_has_set_is_neither_used_nor_changed(
    tmp_path: Path, write_run: WriteRun
) -> None:
    run = read_run(write_run(tmp_path / "pong-1"))
    expected = draw_run(run, tmp_path).svg.read_bytes()

    with mpl.rc_context({"text.usetex": True, "lines.linewidth": 9.0}):
        assert draw_run(run, tmp_path).svg.read_bytes() == expected
        assert mpl.rcParams["text.usetex"]


def test_a_picture_that_fails_is_named_in_one_line(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "pong-1")
    (run / "curves.png").mkdir()

    with pytest.raises(PictureError, match=r"^not drawn: curves.png .*Is a directory") as error:
        draw_run(read_run(run), run)
    assert "\n" not in str(error.value)


def test_a_report_outlives_its_pictures_and_names_those_that_it_lacks(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "runs/pong-1")
    out = tmp_path / "out"
    (out / "games.svg").mkdir(parents=True)

    written = write_report([tmp_path / "runs"], out)

    (line,) = [line for line in written.warnings if "not drawn" in line]
    assert line.startswith("not drawn: games.png and games.svg (")
    assert "not drawn: games.png" in written.page.read_text()
    assert (out / "profile.png").is_file()
    assert not any(path.stem == "games" for path in written.files)
    assert all(path.is_file() for path in written.files)


def test_a_matplotlib_that_cannot_be_imported_costs_the_pictures_alone(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "runs/pong-1")
    (tmp_path / "matplotlibrc").write_bytes(b"\xff")  # its import reads this file first
    code = "import sys; from relic_rl import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "report", "runs", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "not drawn: all pictures (UnicodeDecodeError" in done.stdout
    assert "ReLIC (published)" in (tmp_path / "out/report.html").read_text()


def test_a_published_level_is_the_one_of_the_table(tmp_path: Path, write_run: WriteRun) -> None:
    # Over runs, where the IQM of the games' means would be another.
    games = ("Pong", "Breakout", "Freeway")
    for game in games:
        write_run(tmp_path / "runs" / game, game=game, scores=(15.0,))
    scores = [f"{game},{score},{seed}" for game in games for seed, score in enumerate((0, 1, 20))]
    (tmp_path / "theirs.csv").write_text("\n".join(["game,score,seed", *scores]))
    report = read_report([tmp_path / "runs"], [str(tmp_path / "theirs.csv")])

    (plan,) = [
        plan
        for plan in pictures._plans_of_columns(report.series, report.columns)
        if plan.name == "aggregates"
    ]
    *_, axis = plan.draw().axes

    (theirs,) = [column for column in report.columns if not column.is_own]
    (level,) = [line for line in axis.lines if line.get_label() == theirs.label]
    assert axis.get_title("left").startswith("IQM")
    assert theirs.aggregate is not None
    assert list(level.get_ydata()) == [theirs.aggregate.iqm] * 2
