"""Which runs of a report count, which are only drawn, and which are not seeds of one column."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relic_rl import cli
from relic_rl.analysis import notes
from relic_rl.analysis.columns import make_columns
from relic_rl.analysis.report import write_report
from relic_rl.analysis.runs import read_run
from relic_rl.analysis.scores import aggregate
from relic_rl.analysis.series import Series, find_series
from relic_rl.records.folders import FolderLock
from relic_rl.sweep.manifest import Manifest
from relic_rl.sweep.request import Placement, SweepRequest

WriteRun = Callable[..., Path]
STOPPED = {"settings": {"run.frames": 16_000}}  # evaluated at 4,000 and 8,000 frames


def summary_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def warnings_of(series: list[Series], against: tuple[str, ...] = ()) -> list[str]:
    return notes.warnings(series, make_columns([one for one in series if one.runs], against))


# --- finished or not ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "unfinished"),
    [
        ({}, None),
        ({"run.frames": 8_001}, "stopped"),
        ({"run.frames": 16_000, "run.minutes": 2.0}, None),
        ({"run.frames": 16_000, "run.minutes": 2.5}, "stopped"),
        ({"evaluation.episodes": 10}, "stopped"),
    ],
)
def test_a_run_is_finished_by_the_whole_evaluation_after_its_budget_of_frames_or_minutes(
    tmp_path: Path, write_run: WriteRun, settings: dict[str, Any], unfinished: str | None
) -> None:
    run = read_run(write_run(tmp_path / "pong-1", settings=settings))  # 2 episodes at 2.0 minutes

    assert run.unfinished == unfinished


def test_a_run_under_way_without_a_budget_is_damaged(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "pong-1", settings={"evaluation.episodes": 10})
    config = run / "config.toml"
    config.write_text(config.read_text().replace("minutes = 0.0", ""))

    with pytest.raises(ValueError, match=r"config.toml or metadata.json .* 'run.minutes'"):
        read_run(run)


@pytest.mark.parametrize("seed", ["one", None, [1], float("inf")])
def test_a_run_with_a_seed_that_is_no_number_is_damaged(
    tmp_path: Path, write_run: WriteRun, seed: Any
) -> None:
    run = write_run(tmp_path / "pong-1")
    metadata = json.loads((run / "metadata.json").read_text())
    (run / "metadata.json").write_text(json.dumps({**metadata, "seed": seed}))

    with pytest.raises(ValueError, match=r"^config.toml or metadata.json cannot be read: "):
        read_run(run)


def test_an_unfinished_run_is_named_and_drawn_and_counts_nowhere(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"runs/pong-{seed}", seed=seed)
    pong, hero = tmp_path / "runs/pong-3", tmp_path / "runs/hero-1"
    write_run(pong, seed=3, scores=(-20.0, -21.0), **STOPPED)
    write_run(hero, "Hero", scores=(0.0, 9.0), **STOPPED)
    out = tmp_path / "out"

    page = write_report([tmp_path / "runs"], out, []).page.read_text()

    assert (
        "runs: not finished, so shown in the curves but not counted:"
        " hero-1 (8,000 frames), pong-3 (8,000 frames): stopped." in page
    )
    summary = summary_of(out)
    mean = aggregate({"Pong": [15.0, 15.0]}).mean
    assert summary["columns"]["runs"]["mean"] == pytest.approx(mean / 100)
    assert summary["series"]["runs"]["scores"] == {"Pong": [15.0, 15.0]}
    assert summary["series"]["runs"]["unfinished"] == {str(hero): "stopped", str(pong): "stopped"}
    assert not summary["provisional"]
    assert "Provisional" not in page
    with (out / "scores.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["1", "2"]
    assert "Pong, seed 3 (runs, not finished)" in page
    assert (out / "run_04.png").exists()


def test_a_report_without_a_finished_run_counts_the_last_evaluations_and_says_so_everywhere(
    tmp_path: Path, write_run: WriteRun
) -> None:
    run, out = write_run(tmp_path / "pong-1", **STOPPED), tmp_path / "out"

    assert cli.main(["report", str(run), "--out", str(out)]) == 0

    page, summary = (out / "report.html").read_text(), summary_of(out)
    for text in (page, (out / "table.md").read_text(), (out / "table.tex").read_text()):
        assert text.count("Provisional: no run has finished") >= 2
    assert page.index("Provisional") < page.index("<table>")
    assert (
        "not finished, but counted because no run has finished: pong-1 (8,000 frames): stopped."
        in page
    )
    assert "Pong, seed 1 (pong-1, not finished)" in page
    assert summary["provisional"]
    assert summary["series"]["pong-1"]["scores"] == {"Pong": [15.0]}
    with (out / "scores.csv").open(newline="") as file:
        assert [row["finished"] for row in csv.DictReader(file)] == ["False"]


def test_a_series_without_a_finished_run_has_curves_but_no_column_beside_one_that_has_some(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "begun/pong-1", **STOPPED)
    write_run(tmp_path / "done/pong-1")

    page = write_report(
        [tmp_path / "begun", tmp_path / "done"], tmp_path / "out", []
    ).page.read_text()

    assert summary_of(tmp_path / "out")["columns"].keys() == {"done"}
    assert "begun: no run counts, so there is no column." in page
    assert "Pong, seed 1 (begun, not finished)" in page


def test_runs_of_one_budget_of_minutes_are_no_oddity_however_far_each_came(
    tmp_path: Path, write_run: WriteRun
) -> None:
    budget = {"run.frames": 10**9, "run.minutes": 1.0}
    write_run(tmp_path / "runs/pong-1", settings=budget, frames=8000)
    write_run(tmp_path / "runs/hero-1", "Hero", settings=budget, frames=4000)

    lines = warnings_of(find_series([tmp_path / "runs"]).series)

    assert len(lines) == 1
    assert "all but Hero, Pong are missing" in lines[0]


@pytest.mark.parametrize(
    ("state", "why", "owned", "words"),
    [
        ("failed", "out of memory", None, "failed, out of memory"),
        (
            "queued",
            "stopped; the same command resumes it",
            None,
            "queued, stopped; the same command",
        ),
        ("running", "", None, "stopped"),
        ("running", "", "", "running"),
        ("failed", "out of memory", "runs/pong-s0", "running"),
        ("done", "", None, "stopped"),
    ],
)
@pytest.mark.parametrize("named", ["", "runs/pong-s0"])
def test_an_unfinished_run_of_a_sweep_stands_as_its_manifest_and_its_locks_say(
    tmp_path: Path,
    write_run: WriteRun,
    state: Any,
    why: str,
    owned: str | None,
    words: str,
    named: str,
) -> None:
    request = SweepRequest(("Pong",), (0,), "smoke", {})
    request.write(tmp_path, Placement())
    manifest = Manifest(tmp_path, request.runs())
    manifest.entries[0].state, manifest.entries[0].why = state, why
    manifest.write()
    write_run(tmp_path / "runs/pong-s0", seed=0, **STOPPED)
    owner = None if owned is None else FolderLock(tmp_path / owned, "run folder")

    (series,) = find_series([tmp_path / named]).series

    (run,) = series.unfinished
    assert run.unfinished is not None
    assert run.unfinished.startswith(words)
    if owner is not None:
        owner.close()


@pytest.mark.parametrize("action_set", ["minimal", "full"])
def test_actions_fewer_than_the_published_agents_have_are_pointed_out(
    tmp_path: Path, write_run: WriteRun, action_set: str
) -> None:
    write_run(tmp_path / "runs/a", settings={"env.action_set": action_set})
    series = find_series([tmp_path / "runs"]).series

    beside_published = " ".join(warnings_of(series, ("relic",)))

    assert ("all 18 actions" in beside_published) == (action_set == "minimal")
    assert "18 actions" not in " ".join(warnings_of(series))


@pytest.mark.parametrize("lives", [True, False])
def test_learning_from_lost_lives_is_pointed_out_beside_agents_that_did_not(
    tmp_path: Path, write_run: WriteRun, lives: bool
) -> None:
    write_run(tmp_path / "runs/a", settings={"learner.life_loss_ends_return": lives})
    series = find_series([tmp_path / "runs"]).series

    assert ("not told about lives" in " ".join(warnings_of(series, ("r2d2",)))) == lives
    assert "lives" not in " ".join(warnings_of(series))


@pytest.mark.parametrize(("frames", "warned"), [(8_700, False), (9_000, True)])
def test_columns_that_trained_for_other_lengths_are_pointed_out(
    tmp_path: Path, write_run: WriteRun, frames: int, warned: bool
) -> None:
    write_run(tmp_path / "short/a", frames=8_000)
    write_run(tmp_path / "long/a", frames=frames)

    lines = warnings_of(find_series([tmp_path / "short", tmp_path / "long"]).series)

    named = "trained for different lengths, in frames per run: short 8,000, long 9,000."
    assert any(named in line for line in lines) == warned


def test_the_protocol_is_that_of_the_last_evaluation_not_of_the_beginning(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "runs/a", seed=1)
    resumed = write_run(tmp_path / "runs/b", seed=2)
    table = (resumed / "evaluations.csv").read_text().splitlines()
    table[-1] = table[-1].replace("noop", "machado")
    (resumed / "evaluations.csv").write_text("\n".join(table) + "\n")

    assert read_run(resumed).protocol == "machado"
    with pytest.raises(ValueError, match=r"protocols differ: machado \(b\), noop \(a\)"):
        write_report([tmp_path / "runs"], tmp_path / "out")
