"""Files as what to compare with: their two forms, and what is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relic_rl import cli
from relic_rl.analysis.plots.curves import learning_grid
from relic_rl.analysis.references import read_references
from relic_rl.analysis.report import read_report
from relic_rl.analysis.runs import read_run
from relic_rl.analysis.series import Series

WriteRun = Callable[..., Path]


def table(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_scores_of_another_report_are_columns_with_their_seeds(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for seed, score in ((1, 3.0), (2, 5.0)):
        write_run(tmp_path / f"old/pong-{seed}", seed=seed, scores=(-20.0, score))
    write_run(tmp_path / "new/pong-1", scores=(-20.0, 10.0))
    (tmp_path / "before").mkdir()
    scores = table(
        tmp_path / "before/scores.csv", read_report([tmp_path / "old"], []).texts()["scores.csv"]
    )

    texts = read_report([tmp_path / "new"], [scores, "relic"]).texts()

    summary = json.loads(texts["summary.json"])
    assert list(summary["columns"]) == ["new", "old (before)", "ReLIC (published)"]
    pong = 14.6 + 20.7
    assert summary["columns"]["old (before)"]["mean"] == pytest.approx((4.0 + 20.7) / pong)
    assert summary["columns"]["old (before)"]["seeds"] == 2
    note = f"old (before): scores from {tmp_path}/before/scores.csv; protocol noop."
    assert note in texts["report.html"]


def test_reports_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "report").mkdir(parents=True)
        table(tmp_path / name / "report/scores.csv", "series,game,score\nruns,Pong,1\n")
    files = [str(tmp_path / name / "report/scores.csv") for name in ("one", "two")]

    labels = [reference.label for reference in read_references(files)]

    assert labels == ["runs (one/report)", "runs (two/report)"]


def test_a_table_of_a_column_per_method_is_one_reference_for_each(tmp_path: Path) -> None:
    file = table(tmp_path / "paper.csv", "game,random,human,A,B\nPong,-21,15,1,2\nHero,0,1,,4\n")

    first, second = read_references([file])

    assert (first.label, first.scores) == ("A (paper)", {"Pong": [1.0]})
    assert (second.label, second.scores) == ("B (paper)", {"Pong": [2.0], "Hero": [4.0]})


def test_lines_without_seeds_are_a_seed_each(tmp_path: Path) -> None:
    (reference,) = read_references([table(tmp_path / "my.csv", "game,score\npong,1\nPong,3\n")])

    assert (reference.label, reference.scores) == ("my", {"Pong": [1.0, 3.0]})
    assert reference.curves == {}


def test_lines_at_several_frames_are_a_curve_and_its_end_counts(
    tmp_path: Path, write_run: WriteRun
) -> None:
    lines = "game,seed,env_frames,score\nPong,0,8000,4\nPong,0,0,0\nPong,1,0,2\nPong,1,16000,10\n"
    (reference,) = read_references([table(tmp_path / "dqn.csv", lines)])

    assert reference.scores == {"Pong": [4.0, 10.0]}
    run = read_run(write_run(tmp_path / "pong-1", frames=6000))
    figure = learning_grid([Series("mine", (run,), ())], {"dqn": reference.curves})
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "dqn"]
    # Both seeds reach 8,000 frames, our run 6,000: the means of 0 and 2, and of 3 and 5.
    assert np.allclose(np.asarray(line.get_xydata()), [[0, 1], [6000, 4]])
    assert "dqn" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_protocol_that_only_some_of_the_runs_have_is_pointed_out(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for protocol in ("noop", "machado"):
        write_run(tmp_path / f"runs/{protocol}", protocol=protocol)
    file = table(tmp_path / "theirs.csv", "game,score,protocol\nPong,3,noop\n")

    report = read_report([tmp_path / "runs"], [file], allow_mixed=True)

    assert "theirs has protocol noop, not all of these runs do." in report.warnings


def test_another_emulator_and_longer_training_in_a_file_are_pointed_out(
    tmp_path: Path, write_run: WriteRun
) -> None:
    run = read_run(write_run(tmp_path / "runs/pong-1", frames=8000))
    told = (run.ale_py, 8000), ("0.1", 9000)
    files = [
        table(
            tmp_path / f"theirs_{version}.csv",
            f"game,score,env_frames,ale_py\nPong,3,{frames},{version}\n",
        )
        for version, frames in told
    ]

    alike, unlike = (read_report([tmp_path / "runs"], [file]).warnings for file in files)

    assert not [line for line in alike if "ale-py" in line or "lengths" in line]
    assert "theirs_0.1 has ale-py 0.1, these runs do not." in unlike
    lengths = "in frames per run: runs 8,000, theirs_0.1 9,000."
    assert f"The columns were trained for different lengths, {lengths}" in unlike


def test_another_protocol_in_a_file_is_pointed_out(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path / "runs/pong-1")
    file = table(tmp_path / "theirs.csv", "game,score,protocol\nPong,3,machado\n")

    report = read_report([tmp_path / "runs"], [file])

    assert "theirs has protocol machado, these runs do not." in report.warnings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["needs a first line such as game,score"]),
        ("name,score\nPong,1\n", ["needs a first line"]),
        ("game,score\n", ["has no scores"]),
        ("game,seed,Mine\nPong,0,3\n", ["has a column seed, which is no method"]),
        ("game,score\nPong,1\nPing,2\n", ["line 3", "Ping"]),
        ("game,score\nPong,high\n", ["line 2", "high"]),
        ("game,score\nPong,nan\n", ["line 2", "not finite"]),
        ("game,score\nPong\n", ["line 2"]),
        ("score,game\n3\n", ["line 2"]),
        ("game,score,seed\nPong,1,0\nPong,2,0\n", ["Pong with seed 0 twice"]),
        ("game,score\nHero,1\n", ["theirs has Hero", "the runs have Pong"]),
        ("game,\udcff", ["is no CSV table"]),
    ],
)
def test_a_file_that_is_no_table_of_scores_is_refused_in_one_line_that_names_it(
    tmp_path: Path,
    write_run: WriteRun,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: list[str],
) -> None:
    write_run(tmp_path / "runs/pong-1")
    (tmp_path / "theirs.csv").write_bytes(text.encode(errors="surrogateescape"))

    command = ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--against"]
    status = cli.main([*command, str(tmp_path / "theirs.csv")])

    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1)
    assert all(word in err for word in ("theirs", *words)), err


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.csv cannot be read: No such file"):
        read_references([str(tmp_path / "gone.csv")])


def test_the_home_of_a_user_who_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"^~nobody-of-that-name/x\.csv cannot be read: .* user"):
        read_references(["~nobody-of-that-name/x.csv"])
