import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import relic_rl.analysis
from envs.games import ATARI57
from relic_rl import cli
from relic_rl.analysis import notes
from relic_rl.analysis.columns import make_columns
from relic_rl.analysis.published import published_scores
from relic_rl.analysis.report import read_report, write_report
from relic_rl.analysis.runs import read_run
from relic_rl.analysis.scores import aggregate, probability_of_improvement
from relic_rl.analysis.series import find_series
from relic_rl.records.metrics import Episode, MetricsLog
from relic_rl.sweep.manifest import Manifest
from relic_rl.sweep.request import Placement, SweepRequest

ROOT = Path(relic_rl.analysis.__file__).parents[2]
FILES = ("report.html", "scores.csv", "summary.json", "table.md", "table.tex")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, write_run):
    """Two games with three seeds; Breakout's last evaluation is worse than its best."""
    folder = tmp_path_factory.mktemp("runs") / "ours <1>"
    for seed in (1, 2, 3):
        write_run(folder / f"pong-{seed}", "Pong", seed, (-20.0, 10.0 + seed))
        write_run(folder / f"breakout-{seed}", "Breakout", seed, (2.0, 400.0, 100.0 * seed))
    return folder


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    write_report([sweep], out, ["relic"])
    return out


def test_the_report_says_what_the_runs_learned_on(tmp_path, write_run):
    write_run(tmp_path / "runs/pong-1", seed=1, learner_device="Chip (AVX2)")
    write_run(tmp_path / "runs/pong-2", seed=2, learner_device="Chip (AVX512)")

    facts = dict(notes.facts(find_series([tmp_path / "runs"]).series))

    assert facts["Learner on"] == "Chip (AVX2), Chip (AVX512)"


def test_the_report_says_what_a_run_went_on_with_as_well(tmp_path, write_run):
    resumed = [{"commit": "def456", "torch": "2.13"}, "damaged"]
    write_run(tmp_path / "runs/pong-1", resumed=resumed)

    facts = dict(notes.facts(find_series([tmp_path / "runs"]).series))

    assert (facts["Commit"], facts["PyTorch"]) == ("abc123, def456", "2.13")


@pytest.mark.parametrize(
    ("scores", "words"), [((1.0,), "1 full episode,"), ((1.0, 2.0), "2 full episodes,")]
)
def test_one_episode_is_no_episodes(tmp_path, write_run, scores, words):
    write_run(tmp_path / "runs/pong-1")
    (series,) = find_series([tmp_path / "runs"]).series
    short = replace(series, runs=[replace(run, last_scores=scores) for run in series.runs])

    assert dict(notes.facts([short]))["Evaluation"].startswith(words)


def test_a_run_that_is_the_working_directory_has_a_name(tmp_path, write_run, monkeypatch):
    monkeypatch.chdir(write_run(tmp_path / "pong-1"))

    (series,) = find_series([Path()]).series

    assert series.label == "pong-1"
    assert series.runs[0].name == "pong-1"


def test_all_files_are_written_and_each_figure_twice(report):
    names = {path.name for path in report.iterdir()}

    assert names >= set(FILES)
    for stem in ("games", "aggregates", "profile", "curves", "run_01", "run_06"):
        assert {f"{stem}.png", f"{stem}.svg"} <= names


def test_scores_are_those_of_the_last_evaluation_not_of_the_best(report):
    with (report / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    scores = {(row["game"], row["seed"]): float(row["score"]) for row in rows}
    assert scores == {
        ("Breakout", "1"): 100.0,
        ("Breakout", "2"): 200.0,
        ("Breakout", "3"): 300.0,
        ("Pong", "1"): 11.0,
        ("Pong", "2"): 12.0,
        ("Pong", "3"): 13.0,
    }
    assert {row["episodes"] for row in rows} == {"2"}
    assert {row["finished"] for row in rows} == {"True"}


def test_summary_holds_the_aggregates_of_runs_and_published_scores_over_the_same_games(report):
    summary = json.loads((report / "summary.json").read_text())

    ours = aggregate({"Pong": [11.0, 12.0, 13.0], "Breakout": [100.0, 200.0, 300.0]})
    column = summary["columns"]["ours <1>"]
    assert summary["human_normalized_unit"] == "fraction"
    assert column["median"] == pytest.approx(ours.median / 100)
    assert column["superhuman_games"] == ours.superhuman_games == 1
    assert column["intervals"]["iqm"] == pytest.approx([x / 100 for x in ours.intervals["iqm"]])
    published = {game: published_scores("relic")[game] for game in ("Pong", "Breakout")}
    mean = aggregate(published).mean
    assert summary["columns"]["ReLIC (published)"]["mean"] == pytest.approx(mean / 100)
    assert summary["common_games"] == ["Breakout", "Pong"]
    odds = summary["probability_of_improvement"]["ours <1>"]["ReLIC (published)"]
    assert odds == {"value": 0.0, "low": None, "high": None}


def test_the_page_holds_everything_itself_and_escapes_names(report):
    page = (report / "report.html").read_text()

    sources = re.findall(r"(?:src|href)\s*=\s*\"?([^\s\">]{1,30})", page)
    assert sum(source.startswith("data:image/svg+xml;base64,") for source in sources) == 10
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "http" not in re.sub("http-equiv", "", page)
    assert "ours <1>" not in page
    assert "ours &lt;1&gt;" in page


def test_the_page_names_protocol_versions_seeds_and_what_is_missing(report):
    page = (report / "report.html").read_text()

    for text in (
        "noop",
        "0.12.1",
        "abc123",
        "seeds 1, 2, 3",
        "8,000 frames",
        "epsilon 0.001",
        "2 of 57 games",
    ):
        assert text in page
    assert "all but Breakout, Pong are missing" in page
    assert "wrap at 1,000,000" in page
    assert "Table 10" in page


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_stand_beside_every_number_from_three_seeds_on_and_else_their_absence_is_said(
    tmp_path, write_run, seeds
):
    for label, best in (("relic", 15.0), ("none", 14.0)):
        for seed in range(seeds):
            write_run(tmp_path / label / f"pong-{seed}", seed=seed, scores=(-20.0, best + seed))

    texts = read_report([tmp_path / "relic", tmp_path / "none"], []).texts()

    better = probability_of_improvement(
        {"Pong": [15.0 + seed for seed in range(seeds)]},
        {"Pong": [14.0 + seed for seed in range(seeds)]},
    )
    page, summary = texts["report.html"], json.loads(texts["summary.json"])
    odds = summary["probability_of_improvement"]["relic"]["none"]
    assert odds["value"] == better.value
    assert (odds["low"], odds["high"]) == (better.low, better.high)
    if seeds == 3:
        assert odds["low"] < odds["value"] < odds["high"]
        assert f"{odds['value']:.2f} ({odds['low']:.2f} to {odds['high']:.2f}) than none" in page
        assert "relic: 3 seeds per game, with 95 % intervals." in page
    else:
        assert f"{odds['value']:.2f} than none" in page
        assert "relic: 2 seeds per game, so no intervals: they need 3 of every game" in page
    assert (summary["columns"]["relic"]["intervals"] is None) == (seeds == 2)


def test_tables_have_the_same_numbers_as_the_summary(report):
    rows = json.loads((report / "summary.json").read_text())["columns"]["ours <1>"]

    for name in ("table.md", "table.tex"):
        text = (report / name).read_text()
        assert f"{100 * rows['capped_mean']:,.2f}" in text
        assert f"{100 * rows['iqm']:,.2f}" in text
    assert "40 \\% percentile" in (report / "table.tex").read_text()


def test_in_a_table_of_one_column_nothing_is_the_best(tmp_path, write_run):
    write_run(tmp_path / "pong-1")

    alone = read_report([tmp_path], []).texts()["table.md"]
    beside = read_report([tmp_path]).texts()["table.md"]

    assert ("**" in alone, "**" in beside) == (False, True)


def test_a_table_carries_the_warnings_and_sources_that_its_page_has(tmp_path, write_run, capsys):
    write_run(tmp_path / "runs/a", seed=1)
    write_run(tmp_path / "runs/b", seed=2, protocol="machado")
    out = tmp_path / "out"
    asked = ["report", str(tmp_path / "runs"), "--out", str(out), "--against", "agent57"]

    assert cli.main([*asked, "--allow-mixed"]) == 0

    said = capsys.readouterr().out
    markdown, latex = (out / "table.md").read_text(), (out / "table.tex").read_text()
    printed = re.sub("^ *%.*", "", latex, flags=re.MULTILINE)
    for words in ("Mixed: protocols differ", "use the no-op protocol, not all of these runs do"):
        assert words in said
        assert words in markdown
        assert words in printed
    for words in ("the best of training", "Human and random scores: ReLIC paper"):
        assert words in markdown
        assert words in printed
    assert said.endswith(f"report in {out / 'report.html'}\n")


def test_what_was_written_is_named_and_nothing_else_that_lies_there(tmp_path, write_run):
    write_run(tmp_path / "runs/a")
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")

    written = write_report([tmp_path / "runs"], out)

    assert {path.name for path in written.files} == {path.name for path in out.iterdir()} - {
        "README.md"
    }


def test_the_same_runs_give_the_same_bytes(sweep, report, tmp_path):
    write_report([sweep], tmp_path, ["relic"])

    for path in sorted(report.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"protocol": "machado"}, r"protocols differ: machado \(b\), noop \(a\)"),
        ({"ale_py": "0.11.0"}, r"ale-py versions differ: 0.11.0 \(b\), 0.12.1 \(a\)"),
    ],
)
def test_mixed_runs_are_refused_by_name_and_compared_only_on_demand(
    tmp_path, difference, message, write_run
):
    write_run(tmp_path / "runs" / "a", seed=1)
    write_run(tmp_path / "runs" / "b", seed=2, **difference)

    with pytest.raises(ValueError, match=message):
        write_report([tmp_path / "runs"], tmp_path / "out")
    assert not (tmp_path / "out").exists()

    texts = read_report([tmp_path / "runs"], allow_mixed=True).texts()
    assert "differ:" in texts["report.html"]


def test_failed_and_short_runs_are_named_and_a_failed_one_counts_nowhere(tmp_path, write_run):
    runs = tmp_path / "runs"
    write_run(runs / "pong-1", seed=1)
    write_run(runs / "pong-2", seed=2, frames=4000)
    write_run(runs / "pong-3", seed=3)
    write_run(runs / "hero-1", "Hero")
    header = (runs / "hero-1" / "evaluations.csv").read_text().splitlines()[0]
    (runs / "hero-1" / "evaluations.csv").write_text(header + "\n")
    write_run(runs / "freeway-1", "Freeway")
    (runs / "freeway-1" / "metadata.json").unlink()

    texts = read_report([runs], []).texts()

    page, summary = texts["report.html"], json.loads(texts["summary.json"])
    assert "hero-1: no evaluation yet, stopped" in page
    assert "freeway-1: metadata.json cannot be read: FileNotFoundError" in page
    assert "trained with another budget than 8,000 frames: pong-2 (4,000 frames)." in page
    assert summary["series"]["runs"]["scores"] == {"Pong": [15.0, 15.0, 15.0]}


def test_where_nothing_was_evaluated_the_reasons_are_given(tmp_path, write_run):
    folder = write_run(tmp_path / "runs" / "pong-1")
    (folder / "evaluations.csv").unlink()

    with pytest.raises(ValueError, match="pong-1: no evaluation yet"):
        write_report([tmp_path / "runs"], tmp_path / "out")


def test_two_series_are_aggregated_over_the_games_both_have_and_tabulated_over_all(
    tmp_path, write_run
):
    for game in ("Pong", "Hero"):
        write_run(tmp_path / "relic" / game.lower(), game)
    for game in ("Pong", "Freeway"):
        write_run(tmp_path / "none" / game.lower(), game)

    texts = read_report([tmp_path / "relic", tmp_path / "none"], []).texts()

    page, summary = texts["report.html"], json.loads(texts["summary.json"])
    assert summary["common_games"] == ["Pong"]
    assert summary["columns"].keys() == {"relic", "none"}
    assert "relic: not in the aggregates, because another column lacks them: Hero." in page
    assert summary["series"]["relic"]["aggregate"]["games"] == ["Hero", "Pong"]
    assert re.findall(r"^\| (\w+) \|", texts["table.md"], re.MULTILINE)[-3:] == [
        "Freeway",
        "Hero",
        "Pong",
    ]


def test_games_that_no_two_columns_share_are_tabulated_and_drawn_and_nothing_is_aggregated(
    tmp_path, write_run
):
    write_run(tmp_path / "runs" / "a", "Pong", settings={"network.lstm": 64})
    write_run(tmp_path / "runs" / "b", "Hero", settings={"network.lstm": 128})
    out = tmp_path / "out"

    written = write_report([tmp_path / "runs"], out, ["r2d2"])

    table, summary = (out / "table.md").read_text(), json.loads((out / "summary.json").read_text())
    assert re.search(r"^\| Hero \| - \| 15.0 \(.* %\) \| \*\*39,", table, re.MULTILINE)
    assert re.search(r"^\| Pong \| 15.0 \(.* %\) \| - \| \*\*21.0\*\* ", table, re.MULTILINE)
    assert "Median" not in table
    assert summary["common_games"] == []
    assert set(summary["columns"].values()) == {None}
    assert summary["series"]["lstm=128"]["aggregate"]["games"] == ["Hero"]
    assert [line for line in written.warnings if "aggregate" in line] == [
        "No game is in all columns, so nothing is aggregated over games: lstm=64 has Pong; lstm=128"
        " has Hero; R2D2 (published) has Hero, Pong. A report on each alone has its aggregates."
    ]
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert pictures == ["curves.png", "games.png", "run_01.png", "run_02.png"]


def test_run_folders_given_one_by_one_are_seeds_of_one_series(tmp_path, write_run):
    folders = [write_run(tmp_path / f"pong-{seed}", seed=seed) for seed in (1, 2)]

    (series,) = find_series(folders).series

    assert series.label == "runs"
    assert series.scores() == {"Pong": [15.0, 15.0]}


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_that_is_missing_or_empty_is_named(tmp_path, make):
    if make:
        (tmp_path / "nothing").mkdir()

    with pytest.raises(ValueError, match="nothing"):
        find_series([tmp_path / "nothing"])


def test_an_unknown_method_is_refused(sweep, tmp_path):
    with pytest.raises(ValueError, match="'dqn'"):
        write_report([sweep], tmp_path, ["dqn"])


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path, kept, write_run):
    folder = write_run(tmp_path / "pong-1")
    line = "12000,3.0,120,2,99.0,99.0,1.0,98.0,100.0,3.3,0.001,noop,98.0;100.0"
    with (folder / "evaluations.csv").open("a") as file:
        file.write(line[: int(kept * len(line))])

    assert read_run(folder).score == 15.0


def test_a_report_into_a_run_folder_is_refused_and_the_runs_picture_stays(
    tmp_path, write_run, capsys
):
    run = write_run(tmp_path / "pong-1")
    (run / "curves.png").write_bytes(b"of the run")

    assert cli.main(["report", str(run), "--out", str(run)]) == 2

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"give another --out, such as {run}/report" in err
    assert (run / "curves.png").read_bytes() == b"of the run"
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file", "cannot make report folder file: File exists"),
        ("file/x", "cannot make report folder file/x: Not a directory"),
        ("locked", "cannot write in report folder locked: Permission denied"),
    ],
)
def test_where_no_report_can_be_written_is_said_before_it_is_drawn(
    tmp_path, write_run, monkeypatch, capsys, modes_hold, out, words
):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    (tmp_path / "locked").mkdir(mode=0o500)

    assert cli.main(["report", "run", "--out", out]) == 1

    assert capsys.readouterr() == ("", f"relic-rl: {words}\n")


def test_a_report_may_lie_below_the_home_folder(tmp_path, write_run, monkeypatch):
    run = write_run(tmp_path / "pong-1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    assert cli.main(["report", str(run), "--out=~/x", "--against"]) == 0
    assert (tmp_path / "home/x/report.html").is_file()
    assert not (tmp_path / "~").exists()


def test_scores_that_are_the_best_of_training_are_called_that(tmp_path, write_run):
    run = write_run(tmp_path / "pong-1")

    page = read_report([run], ["apex", "r2d2"]).texts()["report.html"]

    assert re.search(r"Ape-X[^<]*the best of training, 1 seed", page)
    assert re.search(r"R2D2[^<]*final scores, mean of 3 seeds", page)


@pytest.mark.parametrize("game", ["VideoPinball", "Pong"])
def test_that_an_untrained_agent_may_count_as_superhuman_is_said_where_it_may(
    tmp_path, write_run, game
):
    write_run(tmp_path / "runs/a", game)

    page = read_report([tmp_path / "runs"]).texts()["report.html"]

    said = "An agent that has learned nothing can count as superhuman on this game." in page
    assert said == (game == "VideoPinball")


def test_what_an_arm_is_is_said_once_where_columns_are_named_by_it(tmp_path, write_run):
    for arm in ("relic", "none"):
        write_run(tmp_path / f"runs/{arm}", settings={"representation.arm": arm})
    write_run(tmp_path / "alone/a")

    several, one = (
        read_report([tmp_path / name]).texts()["report.html"] for name in ("runs", "alone")
    )

    assert several.count("An arm is the representation loss") == 1
    assert "An arm is" not in one


def test_a_run_of_100_000_episodes_makes_a_small_report(tmp_path, write_run):
    run = write_run(tmp_path / "pong-1", frames=10_000_000)
    lines = (f"{100 * i},{i / 400},0,0.1,{i % 41 - 21}.0,400,True" for i in range(100_000))
    with (run / "episodes.csv").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)

    written = write_report([run], tmp_path / "out")

    assert written.page.stat().st_size < 2e6
    assert all(path.stat().st_size < 5e5 for path in written.files if path != written.page)


@pytest.mark.slow  # half a minute of processor time, most of it to read 5.7 million episodes
def test_a_report_of_57_long_runs_stays_under_10_mb(tmp_path, write_run):
    scores = [i % 41 - 20.0 for i in range(200)]
    runs = [
        write_run(tmp_path / f"runs/{game}", game, 0, scores, frames=200_000_000)
        for game in ATARI57
    ]
    log = MetricsLog(runs[0])
    log.write_episodes(
        Episode(2000 * i, i / 40, i % 256, 0.1, i * 7919 % 997 - 300.0, 500, True)
        for i in range(100_000)
    )
    log.close()
    for run in runs[1:]:
        shutil.copy(runs[0] / "episodes.csv", run)

    written = write_report([tmp_path / "runs"], tmp_path / "out")

    assert sum(path.stat().st_size for path in written.files) < 10e6
    assert written.page.stat().st_size < 5e6


# --- folders as crashes and half a sweep leave them -----------------------------------------------


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("evaluations.csv", 2, b"4000,1.0,40", "line 2 is damaged: .* 13 columns"),
        ("evaluations.csv", 2, b"4000,one" + b",1" * 11, "line 2 is damaged: .*'one'"),
        ("evaluations.csv", 3, b"8000,1,1,1,nan" + b",1" * 8, "line 3 is damaged: .*not finite"),
        ("evaluations.csv", 3, b"8000" + b",1" * 11 + b",3;x", "line 3 is damaged: .*'x'"),
        ("evaluations.csv", 1, b"these,are,others", "line 2 is damaged"),
        ("episodes.csv", 4, b"\xff\xfe\x00,,", "line 4 is damaged"),
        ("episodes.csv", 4, b'1,"2', "is damaged"),
        ("metadata.json", 2, b"{{{", "metadata.json cannot be read"),
        ("config.toml", 1, b"= 3", "config.toml cannot be read"),
    ],
)
def test_a_damaged_line_is_named_and_never_passed_over(
    tmp_path, write_run, file, line, text, message
):
    folder = write_run(tmp_path / "pong-1")
    lines = (folder / file).read_bytes().split(b"\n")
    lines[line - 1 :] = [text, *lines[line:]]
    (folder / file).write_bytes(b"\n".join(lines))

    with pytest.raises(ValueError, match=message) as error:
        read_run(folder)

    assert file in str(error.value)
    assert "\n" not in str(error.value)


def test_half_a_sweep_names_every_run_without_a_score_by_its_reason(tmp_path, write_run):
    games = ("Alien", "Hero", "Pong", "Qbert", "Zaxxon", "Boxing", "Krull")
    request = SweepRequest(games, (0,), "smoke", {})
    request.write(tmp_path, Placement())
    manifest = Manifest(tmp_path, request.runs())
    for entry, state in zip(
        manifest.entries,
        ("done", "running", "queued", "failed", "queued", "running", "done"),
        strict=True,
    ):
        entry.state, entry.why = state, "out of memory" if state == "failed" else ""
    manifest.write()
    write_run(tmp_path / "runs/alien-s0", "Alien", 0)
    write_run(tmp_path / "runs/hero-s0", "Hero", 0, ())

    series = find_series([tmp_path]).series
    (without, named_games) = notes.warnings(series, make_columns(series, []))

    for named in (
        "hero-s0: no evaluation yet",
        "pong-s0, zaxxon-s0: queued",
        "qbert-s0: failed, out of memory",
        "boxing-s0: stopped",  # the sweep was killed
        "krull-s0: done, but its folder is missing",
    ):
        assert named in without
    assert "1 of 57 games; all but Alien are missing" in named_games


def test_runs_that_were_judged_with_different_epsilons_are_pointed_out(tmp_path, write_run):
    write_run(tmp_path / "runs/pong-1", seed=1)
    write_run(tmp_path / "runs/pong-2", seed=2, epsilon=0.05)

    series = find_series([tmp_path / "runs"]).series
    lines = notes.warnings(series, make_columns(series, []))

    assert "Evaluated with different epsilons: 0.001, 0.05." in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], ["nothing", "no run folder"]),
        (["absent"], ["absent", "does not exist"]),
        (["damaged"], ["no run has an evaluation", "evaluations.csv, line 2 is damaged"]),
        (["mixed"], ["protocols differ", "--allow-mixed"]),
        (["fine", "--against", "dqn"], ["'dqn'", "agent57"]),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_line(
    tmp_path, write_run, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    damaged = write_run(tmp_path / "damaged/pong-1") / "evaluations.csv"
    damaged.write_text(damaged.read_text().replace("8000", "8x00").replace("4000", "4x00"))
    write_run(tmp_path / "mixed/a", seed=1)
    write_run(tmp_path / "mixed/b", seed=2, protocol="machado")
    write_run(tmp_path / "fine/pong-1")

    status = cli.main(["report", *arguments, "--out", "out"])
    out, err = capsys.readouterr()

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert all(word in err for word in words), err
    assert not (tmp_path / "out").exists()
