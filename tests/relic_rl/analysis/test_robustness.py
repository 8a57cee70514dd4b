"""The report's section on robustness: from saved evaluations and probes, and only from them."""

import csv
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from relic_rl.analysis.judged import Judged, read_judged
from relic_rl.analysis.probe_tables import ProbeCurve, probe_curves
from relic_rl.analysis.report import read_report, write_report
from relic_rl.analysis.robustness import Heat, heat_of, robustness_csv, robustness_tables
from relic_rl.analysis.scores import mean_over_games
from relic_rl.analysis.series import find_series
from relic_rl.analysis.tables import Table
from relic_rl.records.probes import Probing, Readout, Representation, append_probing
from relic_rl.records.robustness import ROBUSTNESS_FILE, Judgement, save_judgement

WriteRun = Callable[..., Path]
Probed = Callable[..., Probing]
CLEAN = Judgement(
    env_frames=8000,
    protocol="noop",
    epsilon=0.001,
    seed=0,
    episodes=2,
    mode=0,
    difficulty=0,
    default_mode=True,
    corruption="none",
    severity=0,
    mean_score=20.0,
    kept=None,
    scores=(19.0, 21.0),
)


def corrupted(name: str, severity: int, kept: float, **changes: object) -> Judgement:
    """In Freeway, and nearly in Boxing, random play scores 0: what is kept is of 20 points."""
    known = {"corruption": name, "severity": severity, "mean_score": 20.0 * kept, "kept": kept}
    return replace(CLEAN, **{**known, **changes})  # type: ignore[arg-type]


def elsewhere(mode: int, difficulty: int, score: float) -> Judgement:
    return replace(CLEAN, mode=mode, difficulty=difficulty, default_mode=False, mean_score=score)


def saved(run: Path, *rows: Judgement) -> Path:
    for row in rows:
        save_judgement(run, row)
    return run


def represented(f1: float, r2: float | None, **known: float) -> Representation:
    readout = Readout("agent_localization", f1, r2)
    return Representation(f1=f1, r2=r2, variables={"player_y": readout}, **known)


@pytest.fixture
def probing(make_probing: Probed) -> Probed:
    """A probing of Freeway whose encoder is worth an F1."""

    def probing(f1: float, env_frames: int = 8000) -> Probing:
        found = {
            name: represented(f1 * share, f1 / 2, effective_rank=12.0)
            for name, share in (("encoder", 1.0), ("lstm", 0.9), ("random_encoder", 0.5))
        }
        found["pixels"] = represented(0.1, None)
        return make_probing(game="Freeway", env_frames=env_frames, steps=100, representations=found)

    return probing


class Read(NamedTuple):
    """What was saved, and what a report makes of it."""

    judged: list[Judged]
    failures: tuple[str, ...]

    def heat(self) -> Heat | None:
        return heat_of(self.judged)

    def tables(self) -> list[Table]:
        return robustness_tables(self.judged)

    def csv(self) -> str:
        return robustness_csv(self.judged)

    def probe_curves(self) -> list[ProbeCurve]:
        return probe_curves(self.judged)


def read(*labelled: tuple[str, Path]) -> Read:
    judged, failures = read_judged(find_series([], labelled).series)
    return Read(judged, tuple(failures))


def cells(table: Table) -> list[list[str]]:
    return [[f"{cell.text} {cell.small}".strip() for cell in row] for row in table.rows]


@pytest.fixture
def arms(tmp_path: Path, write_run: WriteRun) -> tuple[tuple[str, Path], tuple[str, Path]]:
    """Two arms on two games with three seeds; what is kept grows with the seed."""
    for arm, share in (("relic", 0.5), ("none", 0.25)):
        for game in ("Freeway", "Boxing"):
            for seed in (0, 1, 2):
                saved(
                    write_run(tmp_path / arm / f"{game}-s{seed}", game, seed),
                    CLEAN,
                    corrupted("shift", 3, share + seed / 10),
                    corrupted("frozen", 3, share),
                    elsewhere(1, 0, 10.0 * share + seed),
                )
    return ("relic", tmp_path / "relic"), ("none", tmp_path / "none")


def test_a_report_without_saved_evaluations_says_nothing_of_robustness(
    tmp_path: Path, write_run: WriteRun
) -> None:
    found = read(("pong", write_run(tmp_path / "pong-1")))

    assert (found.heat(), found.tables(), found.csv(), found.failures) == (None, [], "", ())
    written = write_report([tmp_path / "pong-1"], tmp_path / "report", [])
    assert not [file for file in written.files if "robustness" in file.name]
    assert "Robustness" not in written.page.read_text()


def test_the_heat_map_has_a_row_for_each_arm_of_a_game_and_means_over_seeds(arms) -> None:
    heat = read(*arms).heat()

    assert heat is not None
    assert heat.rows == [
        ("Boxing", "relic"),
        ("Boxing", "none"),
        ("Freeway", "relic"),
        ("Freeway", "none"),
    ]
    assert heat.corruptions == ["shift", "frozen"]
    boxing = lambda share: (20.0 * share - 0.1) / (20.0 - 0.1)  # noqa: E731
    assert heat.shares == [
        pytest.approx([boxing(0.6), boxing(0.5)]),
        pytest.approx([boxing(0.35), boxing(0.25)]),
        pytest.approx([0.6, 0.5]),
        pytest.approx([0.35, 0.25]),
    ]


def test_what_is_kept_is_of_the_seeds_that_were_played_under_the_corruption(
    tmp_path: Path, write_run: WriteRun
) -> None:
    foggy, poor = (write_run(tmp_path / f"f-s{seed}", "Freeway", seed) for seed in (0, 1))
    saved(foggy, replace(CLEAN, mean_score=30.0), corrupted("fog", 1, 0.0, mean_score=27.0))
    saved(poor, replace(CLEAN, mean_score=2.0), corrupted("shift", 1, 0.0, mean_score=1.0))
    heat = read(("arm", tmp_path)).heat()

    assert heat is not None
    assert dict(zip(heat.corruptions, heat.shares[0], strict=True)) == {"fog": 0.9, "shift": 0.5}


def test_clean_stands_beside_corrupted_with_the_bootstraps_interval_over_seeds(arms) -> None:
    table = read(*arms).tables()[0]

    shares = [0.5, 0.55, 0.6]  # of each seed, over both corruptions
    interval = mean_over_games({"Freeway": shares})
    low, high = (f"{100 * float(bound):.0f} %" for bound in (interval.low, interval.high))
    assert table.columns == ("Game", "relic", "none")
    assert cells(table)[3:6] == [
        ["Freeway score kept", f"55 % {low} to {high}", "30 % 25 % to 35 %"],
        ["Freeway clean score", "20.0 20.0 to 20.0", "20.0 20.0 to 20.0"],
        ["Freeway corrupted score", "11.0 10.0 to 12.0", "6.0 5.0 to 7.0"],
    ]
    assert [row[0].text for row in table.rows] == ["Boxing"] * 3 + ["Freeway"] * 3 + [
        "Mean of 2 games"
    ]
    assert [cell.text for cell in table.rows[-1][1:]] == ["55 %", "30 %"]
    assert [cell.best for cell in table.rows[-1][1:]] == [True, False]
    assert "Mean over shift, frozen at severity 3" in table.caption


def test_the_interval_of_what_is_kept_draws_a_seeds_two_scores_together(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for seed, clean in enumerate((10.0, 20.0, 30.0)):  # each seed keeps half of its own
        run = write_run(tmp_path / f"freeway-s{seed}", "Freeway", seed)
        saved(run, replace(CLEAN, mean_score=clean))
        saved(run, corrupted("shift", 1, 0.5, mean_score=clean / 2))

    assert cells(read(("one", tmp_path)).tables()[0])[0] == [
        "Freeway score kept",
        "50 % 50 % to 50 %",
    ]


def test_two_seeds_have_no_interval(tmp_path: Path, write_run: WriteRun) -> None:
    for seed in (0, 1):
        run = write_run(tmp_path / f"freeway-s{seed}", "Freeway", seed)
        saved(run, CLEAN, corrupted("shift", 1, 0.5))

    assert cells(read(("one", tmp_path)).tables()[0]) == [
        ["Freeway score kept", "50 %"],
        ["Freeway clean score", "20.0"],
        ["Freeway corrupted score", "10.0"],
    ]


def test_arms_are_compared_under_what_all_were_judged_under(
    tmp_path: Path, write_run: WriteRun
) -> None:
    one = saved(
        write_run(tmp_path / "one", "Freeway", 0),
        CLEAN,
        corrupted("shift", 3, 0.5),
        corrupted("jpeg", 5, 0.0),
    )
    two = saved(write_run(tmp_path / "two", "Freeway", 0), CLEAN, corrupted("shift", 3, 0.4))
    found = read(("one", one), ("two", two))

    assert cells(found.tables()[0])[0] == ["Freeway score kept", "50 %", "40 %"]
    heat = found.heat()
    assert heat is not None
    assert heat.shares == [[0.0, 0.5], [None, 0.4]]
    assert found.failures == ("from the table, jpeg 5: two two did not play under them",)


def test_a_run_of_which_nothing_was_saved_is_named_where_others_have_it(
    tmp_path: Path, write_run: WriteRun
) -> None:
    saved(write_run(tmp_path / "a", "Freeway", 0), CLEAN, corrupted("shift", 3, 0.5))
    saved(write_run(tmp_path / "b", "Freeway", 1), CLEAN, elsewhere(1, 0, 3.0))
    write_run(tmp_path / "c", "Freeway", 2)
    write_run(tmp_path / "d", "Pong", 0)

    assert read(("all", tmp_path)).failures == (
        "all b, all c: no corruptions were saved",
        "all a, all c: no other modes were saved",
    )


def test_a_seed_that_learned_nothing_counts_in_what_its_arm_keeps(
    tmp_path: Path, write_run: WriteRun
) -> None:
    dead = replace(CLEAN, mean_score=0.0)
    saved(write_run(tmp_path / "a", "Freeway", 0), CLEAN, corrupted("shift", 3, 0.5))
    saved(write_run(tmp_path / "b", "Freeway", 1), dead, corrupted("shift", 3, 0.1))
    found = read(("all", tmp_path))

    assert cells(found.tables()[0]) == [
        ["Freeway score kept", "60 %"],  # of 10 points on average, 6
        ["Freeway clean score", "10.0"],
        ["Freeway corrupted score", "6.0"],
    ]
    heat = found.heat()
    assert heat is not None
    assert heat.shares == [[pytest.approx(0.6)]]


def test_an_arm_hardly_above_random_play_has_no_share_and_is_in_no_mean(
    tmp_path: Path, write_run: WriteRun
) -> None:
    point = replace(CLEAN, mean_score=1.0)  # 3 % of human in Freeway
    for game in ("Boxing", "Freeway", "Krull"):
        clean = replace(CLEAN, mean_score=2000.0) if game == "Krull" else CLEAN
        saved(write_run(tmp_path / f"good/{game}", game, 0), clean, corrupted("shift", 3, 0.5))
        clean = point if game == "Freeway" else clean
        saved(write_run(tmp_path / f"bad/{game}", game, 0), clean, corrupted("shift", 3, 0.5))
    found = read(("good", tmp_path / "good"), ("bad", tmp_path / "bad"))

    table = found.tables()[0]
    assert cells(table)[3] == ["Freeway score kept", "50 %", "- 0 of 1 runs"]
    assert [cell.best for cell in table.rows[3]] == [False, False, False]
    assert [cell.best for cell in table.rows[4]] == [False, True, False]
    assert table.rows[-1][0].text == "Mean of 2 games"
    assert table.rows[-1][0].small == "score kept: Boxing, Krull"
    heat = found.heat()
    assert heat is not None
    assert heat.shares[heat.rows.index(("Freeway", "bad"))] == [None]


def test_a_mean_says_of_how_many_runs_it_is_where_not_all_were_played_in_a_mode(
    tmp_path: Path, write_run: WriteRun
) -> None:
    saved(write_run(tmp_path / "a", "Freeway", 0), CLEAN, elsewhere(1, 0, 3.0))
    saved(write_run(tmp_path / "b", "Freeway", 1), CLEAN, elsewhere(2, 0, 4.0))

    (table,) = read(("all", tmp_path)).tables()

    assert [row[1] for row in cells(table)] == ["20.0", "3.0 1 of 2 runs", "4.0 1 of 2 runs"]


def test_the_newest_checkpoint_counts_and_the_episodes_that_most_was_played_with(
    tmp_path: Path, write_run: WriteRun
) -> None:
    five = {"episodes": 5, "seed": 1}
    run = saved(
        write_run(tmp_path / "run", "Freeway", 0),
        replace(CLEAN, episodes=30, mean_score=25.0),  # as for the score of an agent that ships
        replace(CLEAN, env_frames=4000, episodes=50),
        corrupted("shift", 3, 0.1, env_frames=4000, episodes=50),
        CLEAN,
        corrupted("shift", 3, 0.2),
        replace(CLEAN, **five, mean_score=10.0),  # type: ignore[arg-type]
        corrupted("shift", 3, 0.3, **five),
        corrupted("jpeg", 3, 0.4, **five),
        replace(elsewhere(1, 0, 3.0), **five),  # type: ignore[arg-type]
    )
    found = read(("run", run))

    corrupted_table, modes = found.tables()
    assert cells(corrupted_table) == [
        ["Freeway score kept", "70 %"],
        ["Freeway clean score", "10.0"],
        ["Freeway corrupted score", "7.0"],
    ]
    assert "5 episodes of checkpoints of 8,000 frames" in corrupted_table.caption
    assert [row[1] for row in cells(modes)] == ["10.0", "3.0"]
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert [(row["episodes"], row["corruption"], row["mode"]) for row in rows] == [
        ("5", "none", "0"),
        ("5", "shift", "0"),
        ("5", "jpeg", "0"),
        ("5", "none", "1"),
    ]


def test_the_default_mode_stands_above_the_others_and_the_best_arm_is_marked(arms) -> None:
    table = read(*arms).tables()[1]

    assert [row[0] for row in cells(table)] == [
        "Boxing mode 0, difficulty 0, default",
        "Boxing mode 1, difficulty 0",
        "Freeway mode 0, difficulty 0, default",
        "Freeway mode 1, difficulty 0",
    ]
    row = table.rows[1]
    assert [(cell.text, cell.best) for cell in row[1:]] == [("6.0", True), ("3.5", False)]
    assert row[1].small == "5.0 to 7.0"


def test_probes_stand_beside_their_controls(
    tmp_path: Path, write_run: WriteRun, probing: Probed
) -> None:
    run = write_run(tmp_path / "run", "Freeway", 0)
    append_probing(run, probing(0.2, env_frames=4000))
    append_probing(run, probing(0.8))
    (table,) = read(("run", run)).tables()

    assert table.title == "Robustness: probes and controls"
    assert cells(table) == [
        ["Freeway encoder, F1", "0.80"],
        ["Freeway encoder, R²", "0.40"],
        ["Freeway LSTM, F1", "0.72"],
        ["Freeway LSTM, R²", "0.40"],
        ["Freeway control: untrained encoder, F1", "0.40"],
        ["Freeway control: untrained encoder, R²", "0.40"],
        ["Freeway control: pixels, F1", "0.10"],
        ["Freeway encoder, effective rank", "12.0"],
    ]


def test_arms_are_probed_for_the_variables_that_all_runs_of_the_game_have(
    tmp_path: Path, write_run: WriteRun, probing: Probed
) -> None:
    for arm, score in (("one", 0.1), ("two", None)):
        variables = {"player_y": Readout("agent_localization", 0.9, 0.5)}
        if score is not None:
            variables["score"] = Readout("score_clock_lives_display", score, 0.0)
        both = {name: Representation(0.5, 0.5, variables) for name in ("encoder", "pixels")}
        run = write_run(tmp_path / arm, "Freeway", 0)
        append_probing(run, replace(probing(0.0), representations=both))
    (table,) = read(("one", tmp_path / "one"), ("two", tmp_path / "two")).tables()

    assert cells(table)[0] == ["Freeway encoder, F1", "0.90", "0.90"]
    assert "100 steps of checkpoints of 8,000 frames" in table.caption


def test_curves_of_probes_are_over_the_variables_that_all_probings_of_the_game_have(
    tmp_path: Path, write_run: WriteRun, probing: Probed
) -> None:
    for arm, scores in (("one", (0.1, 0.1)), ("two", (None, 0.3))):
        run = write_run(tmp_path / arm, "Freeway", 0)
        for env_frames, score in zip((2000, 4000), scores, strict=True):
            variables = {"player_y": Readout("agent_localization", 0.9, 0.5)}
            if score is not None:
                variables["score"] = Readout("score_clock_lives_display", score, 0.0)
            known = {"encoder": Representation(0.4, 0.2, variables)}
            append_probing(run, replace(probing(0.0, env_frames), representations=known))
    found = read(("one", tmp_path / "one"), ("two", tmp_path / "two")).probe_curves()

    curves = {(one.label, one.quantity): one.mean.value.tolist() for one in found}
    assert curves["one", "f1"] == curves["two", "f1"] == [0.9, 0.9]
    assert curves["one", "r2"] == curves["two", "r2"] == [0.5, 0.5]


def test_no_control_is_the_best_of_its_row(
    tmp_path: Path, write_run: WriteRun, probing: Probed
) -> None:
    for arm, f1 in (("one", 0.5), ("two", 0.8)):
        append_probing(write_run(tmp_path / arm, "Freeway", 0), probing(f1))
    (table,) = read(("one", tmp_path / "one"), ("two", tmp_path / "two")).tables()

    best = {row[0].small for row in table.rows if any(cell.best for cell in row)}
    assert best == {"encoder, F1", "encoder, R²", "LSTM, F1", "LSTM, R²"}


def test_probes_over_training_are_a_curve_of_each_arm_with_the_bootstraps_interval(
    tmp_path: Path, write_run: WriteRun, probing: Probed
) -> None:
    for arm, scale in (("relic", 1.0), ("none", 0.5)):
        for seed in (0, 1, 2):
            run = write_run(tmp_path / arm / f"freeway-s{seed}", "Freeway", seed)
            for env_frames in (2000, 6000):
                append_probing(run, probing(scale * (env_frames + 500 * seed) / 10_000, env_frames))
    append_probing(run, probing(0.0, 9000))  # none's last seed is further than the others
    found = read(("relic", tmp_path / "relic"), ("none", tmp_path / "none")).probe_curves()

    def curve(name: str, label: str, quantity: str = "f1") -> ProbeCurve:
        (one,) = [
            one
            for one in found
            if (one.representation, one.label, one.quantity) == (name, label, quantity)
        ]
        return one

    encoder = curve("encoder", "relic")
    interval = mean_over_games({"Freeway": [0.2, 0.25, 0.3]})
    assert encoder.frames.tolist() == [2000, 6000]
    assert encoder.mean.value.tolist() == pytest.approx([0.25, 0.65])
    assert encoder.mean.low is not None
    assert encoder.mean.low[0] == pytest.approx(float(interval.low), abs=0.02)
    assert encoder.mean.low[1] - encoder.mean.low[0] == pytest.approx(0.4, abs=0.02)
    assert curve("lstm", "none").mean.value.tolist() == pytest.approx([0.9 * 0.125, 0.9 * 0.325])
    assert curve("encoder", "none").frames.tolist() == [2000, 6000]
    of_both = curve("random_encoder", "")
    assert of_both.mean.value.tolist() == pytest.approx([0.5 * 0.75 * 0.25, 0.5 * 0.75 * 0.65])
    assert curve("encoder", "relic", "effective_rank").mean.value.tolist() == [12.0, 12.0]
    assert not [one for one in found if (one.representation, one.quantity) == ("pixels", "r2")]


def test_a_run_that_was_probed_once_is_in_the_table_and_in_no_curve(
    tmp_path: Path, write_run: WriteRun, probing: Probed
) -> None:
    once = write_run(tmp_path / "freeway-s0", "Freeway", 0)
    append_probing(once, probing(0.2, 8000))
    assert read(("one", tmp_path)).probe_curves() == []

    twice = write_run(tmp_path / "freeway-s1", "Freeway", 1)
    for env_frames in (4000, 8000):
        append_probing(twice, probing(0.6, env_frames))
    found = read(("one", tmp_path))
    encoder = found.probe_curves()[0]

    assert cells(found.tables()[0])[0] == ["Freeway encoder, F1", "0.40"]
    assert (encoder.representation, encoder.quantity) == ("encoder", "f1")
    assert encoder.mean.value.tolist() == [0.6, 0.6]
    assert (encoder.mean.low, encoder.mean.high) == (None, None)


def test_a_damaged_file_is_named_and_the_rest_is_shown(
    tmp_path: Path, write_run: WriteRun, arms
) -> None:
    bad = write_run(tmp_path / "relic/Pong-s0", "Pong", 0)
    (bad / ROBUSTNESS_FILE).write_text("no table\n1\n")
    report = read_report([], [], labelled=arms[:1])

    assert heat_of(report.judged) is not None
    (line,) = [line for line in report.warnings if "robustness" in line]
    assert line.startswith("Left out of robustness: relic Pong-s0: ")
    assert "line 2 is damaged" in line


def test_a_damaged_file_in_a_folder_whose_name_is_no_text_costs_no_report(
    tmp_path: Path, write_run: WriteRun
) -> None:
    bad = write_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff/pong-s0")), "Pong", 0)
    (bad / ROBUSTNESS_FILE).write_text("no table\n1\n")

    written = write_report([bad.parent], tmp_path / "out", [])

    assert "is damaged" in written.page.read_text()


def test_a_run_without_its_clean_score_is_named(tmp_path: Path, write_run: WriteRun) -> None:
    run = saved(write_run(tmp_path / "Pong-s0", "Pong", 0), corrupted("shift", 3, 0.5))

    found = read(("all", run))

    assert (found.tables(), found.csv()) == ([], "")
    assert found.failures == ("all Pong-s0: robustness.csv has no row without a corruption",)


def test_the_section_is_in_every_file_of_the_report(
    tmp_path: Path, write_run: WriteRun, probing: Probed
) -> None:
    rows = (CLEAN, corrupted("shift", 3, 0.5), elsewhere(1, 0, 3.0))
    run = saved(write_run(tmp_path / "run", "Freeway", 0), *rows)
    for env_frames in (4000, 8000):
        append_probing(run, probing(0.5, env_frames))
    folder = tmp_path / "report"
    written = write_report([run], folder, [])

    pictures = {
        f"{name}.{suffix}" for name in ("robustness", "probes") for suffix in ("png", "svg")
    }
    assert pictures | {"robustness.csv"} <= {file.name for file in written.files}
    for name in ("report.html", "table.md"):
        text = (folder / name).read_text()
        assert "Robustness: clean and corrupted" in text
        assert "Robustness: other modes" in text
    page = (folder / "report.html").read_text()
    assert "Robustness: score kept" in page
    assert "Robustness: probes over training" in page
    assert len((folder / "robustness.csv").read_text().splitlines()) == 1 + len(rows)


def test_a_mean_over_games_weighs_every_game_the_same() -> None:
    found = mean_over_games({"Pong": [0.0, 0.0, 0.0], "Boxing": [1.0, 1.0, 1.0, 1.0]})

    assert float(found.value) == 0.5
    assert (found.low, found.high) == (0.5, 0.5)
    assert np.isclose(float(mean_over_games({"Pong": [1.0, 2.0]}).value), 1.5)
    assert mean_over_games({"Pong": [1.0, 2.0]}).low is None
