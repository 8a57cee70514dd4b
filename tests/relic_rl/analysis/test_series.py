"""Which runs are found, through whatever lies among them, and which of them share a column."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import relic_rl
from relic_rl import config as configuration
from relic_rl.analysis import notes
from relic_rl.analysis.report import read_report, write_report
from relic_rl.analysis.series import FREE, Found, find_series
from relic_rl.config import Config
from relic_rl.sweep.manifest import Manifest
from relic_rl.sweep.request import Placement, SweepRequest

WriteRun = Callable[..., Path]
CHECKOUT = Path(relic_rl.__file__).parents[1]
RELIC, NONE = ({"representation.arm": arm} for arm in ("relic", "none"))


def labels(found: Found) -> dict[str, list[str]]:
    return {one.label: [run.name for run in one.evaluated] for one in found.series}


# --- what lies among the runs ---------------------------------------------------------------------


def test_a_run_reached_by_two_paths_counts_once(tmp_path: Path, write_run: WriteRun) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "pong-s1")
    (runs / "latest").symlink_to("pong-s1")
    (runs / "all").symlink_to(".")
    (tmp_path / "elsewhere").symlink_to("runs")

    for given in (
        [runs],
        [runs, tmp_path / "elsewhere"],
        [tmp_path / "elsewhere", runs],
        [runs, runs / "pong-s1"],
        sorted(runs.iterdir()),
    ):
        found = find_series(given)
        assert list(labels(found).values()) == [["pong-s1"]], given
        assert (found.series[0].failed, found.left_out) == ((), ()), given


def test_a_link_to_a_folder_of_runs_elsewhere_is_followed(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "disk/pong-s1")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/big").symlink_to(tmp_path / "disk")

    assert labels(find_series([tmp_path / "runs"])) == {"runs": ["pong-s1"]}


def test_hidden_folders_and_links_that_lead_nowhere_or_in_circles_are_passed_over(
    tmp_path: Path, write_run: WriteRun
) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "pong-s1")
    write_run(runs / ".ipynb_checkpoints/pong-s1-checkpoint")
    (runs / "gone").symlink_to("nowhere")
    (runs / "circle").symlink_to("circle")
    (runs / "notes.txt").write_text("mine")

    found = find_series([runs])

    assert labels(found) == {"runs": ["pong-s1"]}
    assert found.left_out == ()


def test_a_file_and_an_empty_folder_among_those_given_are_named(
    tmp_path: Path, write_run: WriteRun
) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "pong-s1")
    (runs / "notes.txt").write_text("mine")
    (runs / "empty").mkdir()
    (runs / "gone").symlink_to("nowhere")

    page = read_report(sorted(runs.iterdir())).texts()["report.html"]

    assert f"Left out: {runs}/empty, {runs}/gone, {runs}/notes.txt: no run folder" in page


@pytest.mark.parametrize("given", [["runs"], ["runs/locked", "runs/pong-s1"]])
def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_reported(
    tmp_path: Path, write_run: WriteRun, given: list[str]
) -> None:
    write_run(tmp_path / "runs/pong-s1")
    write_run(tmp_path / "runs/locked/pong-s2", seed=2)
    code = "import sys; from relic_rl import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "report", *given, "--out", "out"]
    if os.geteuid() == 0:  # whom no mode of a folder holds up, but for this
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv here, and root reads everything")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    (tmp_path / "runs/locked").chmod(0)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    (tmp_path / "runs/locked").chmod(0o755)

    assert (done.returncode, done.stderr) == (0, "")
    assert "warning: Left out: runs/locked: cannot be read, Permission denied." in done.stdout


def test_folders_may_be_called_anything(tmp_path: Path, write_run: WriteRun) -> None:
    names = ["_best", "$x$", "a|b", "2^9", "a_b", "<i>", "\udcff", "a\nb"]
    for name in names:
        for seed in (1, 2):  # so many runs that there is no picture of each
            write_run(tmp_path / name / f"pong-s{seed}", seed=seed)
    out = tmp_path / "out"

    written = write_report([tmp_path / name for name in names], out, [])

    shown = {"\udcff": "?", "a\nb": "a?b"}
    for name in (shown.get(name, name) for name in names):
        assert any(line.startswith(f"{name}: 1 of 57 games") for line in written.warnings), name
        escaped = name.replace("<", "&lt;").replace(">", "&gt;")
        for file in ("games.svg", "profile.svg", "aggregates.svg", "curves.svg"):
            # matplotlib's comment beside the glyphs
            assert f"<!-- {escaped}" in (out / file).read_text(), (file, name)
    table = (out / "table.md").read_text()
    heads = [line for line in table.splitlines() if line.startswith("|  |")]
    assert [line.replace(r"\|", "").count("|") for line in heads] == [2 + len(names)]


def test_two_folders_of_one_name_are_told_apart_by_the_way_there(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for place in ("old", "new"):
        write_run(tmp_path / place / "runs/pong-s1")

    found = find_series([tmp_path / "old/runs", tmp_path / "new/runs"])

    assert labels(found) == {"old/runs": ["pong-s1"], "new/runs": ["pong-s1"]}


# --- who shares a column --------------------------------------------------------------------------


def test_runs_of_different_settings_in_one_folder_are_columns_named_by_the_difference(
    tmp_path: Path, write_run: WriteRun
) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "a", settings=RELIC)
    write_run(runs / "b", settings=NONE)
    write_run(runs / "c", seed=2, settings=NONE)

    assert labels(find_series([runs])) == {"arm=relic": ["a"], "arm=none": ["b", "c"]}
    assert "arm=relic" in read_report([runs]).texts()["report.html"]
    assert labels(find_series([runs / "a", runs / "b"])) == {"arm=relic": ["a"], "arm=none": ["b"]}


def test_runs_that_differ_by_a_setting_that_one_lacks_are_told_apart_by_their_names(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name)
    with (tmp_path / "b/config.toml").open("a") as file:
        file.write("\n[newer]\nknob = 3\n")

    assert labels(find_series([tmp_path])) == {"paper (a)": ["a"], "paper (b)": ["b"]}


def test_beside_other_folders_the_columns_of_one_have_its_name_first(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "mine/a", settings=RELIC)
    write_run(tmp_path / "mine/b", settings=NONE)
    write_run(tmp_path / "yours/a")

    found = find_series([tmp_path / "mine", tmp_path / "yours"])

    assert list(labels(found)) == ["mine arm=relic", "mine arm=none", "yours"]


def test_runs_of_two_presets_are_named_by_them(tmp_path: Path, write_run: WriteRun) -> None:
    runs = tmp_path / "runs"
    for name, preset, settings in (
        ("a", "laptop", {"network.lstm": 8, "network.hidden": 8}),
        ("b", "paper", {"network.lstm": 512, **RELIC}),
        ("c", "paper", {"network.lstm": 512, **NONE}),
    ):
        config = write_run(runs / name, settings=settings) / "config.toml"
        config.write_text(config.read_text().replace('"paper"', f'"{preset}"'))

    assert list(labels(find_series([runs]))) == ["laptop", "paper, arm=relic", "paper, arm=none"]


def test_of_many_differences_three_are_named(tmp_path: Path, write_run: WriteRun) -> None:
    other: dict[str, Any] = {
        f"network.{name}": 8 for name in ("frame_stack", "features", "lstm", "hidden")
    }
    write_run(tmp_path / "runs/a")
    write_run(tmp_path / "runs/b", settings={**other, "learner.n_steps": 1})

    first, second = labels(find_series([tmp_path / "runs"]))

    assert first.endswith(", and 2 more")
    assert first.count("=") == second.count("=") == 3


def test_budgets_part_runs_only_where_a_game_and_seed_is_there_twice(
    tmp_path: Path, write_run: WriteRun
) -> None:
    short, long = ({"run.frames": 10**9, "run.minutes": minutes} for minutes in (1.0, 2.0))
    write_run(tmp_path / "apart/a", seed=1, settings=short)
    write_run(tmp_path / "apart/b", seed=2, settings=long)
    write_run(tmp_path / "twice/a", seed=1, settings=short)
    write_run(tmp_path / "twice/b", seed=1, settings=long)

    assert labels(find_series([tmp_path / "apart"])) == {"apart": ["a", "b"]}
    assert labels(find_series([tmp_path / "twice"])) == {
        "minutes=1.0": ["a"],
        "minutes=2.0": ["b"],
    }


@pytest.mark.parametrize(
    ("settings", "counted"),
    [({}, "b"), ({"run.frames": 16_000, "evaluation.episodes": 2}, "a")],
)
def test_of_the_same_run_done_twice_the_last_that_finished_counts_and_the_other_is_named(
    tmp_path: Path, write_run: WriteRun, settings: dict[str, Any], counted: str
) -> None:
    budget = {"run.minutes": 2.0} if settings else {}
    write_run(tmp_path / "runs/a", started="2026-11-01T10:00:00", settings={**settings, **budget})
    later = write_run(
        tmp_path / "runs/b", started="2026-11-02T10:00:00", settings={**settings, **budget}
    )
    if settings:  # stopped before its two minutes
        table = later / "evaluations.csv"
        table.write_text(table.read_text().replace("8000,2.0", "8000,1.9"))

    (series,) = find_series([tmp_path / "runs"]).series

    assert [run.name for run in series.evaluated] == [counted]
    other = "a" if counted == "b" else "b"
    why = "of the same game and seed, finished or began later, and counts instead"
    assert series.failed == (f"{other}: {counted}, {why}",)


def test_settings_of_place_length_and_judgement_are_free_within_a_series(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "runs/a", seed=1)
    for seed, free in enumerate(
        (
            {"run.threads": 1, "run.minutes": 9.0, "env.threads": 1},
            {"evaluation.every_minutes": 0, "actor.actors": 8, "run.engine": "threads"},
            {"run.engine": "ray", "learner.diagnostics_every_updates": 7},
        ),
        start=2,
    ):
        write_run(tmp_path / f"runs/{seed}", seed=seed, settings=free)

    (series,) = find_series([tmp_path / "runs"]).series

    assert notes.mixtures([series]) == []


def test_what_is_free_within_a_series_are_settings_that_there_are() -> None:
    names = configuration.values(Config())

    assert [free for free in FREE if not any(name.startswith(free) for name in names)] == []


def test_an_unfinished_run_with_other_settings_is_no_seed_of_a_series_either(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "runs/a", seed=1)
    write_run(tmp_path / "runs/b", seed=2, settings={"run.frames": 10**9, "network.lstm": 8})

    assert labels(find_series([tmp_path / "runs"])) == {"lstm=512": ["a"], "lstm=8": ["b"]}


def test_two_folders_may_have_settings_of_their_own(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path / "one/pong-1", settings=RELIC)
    write_run(tmp_path / "two/pong-1", settings=NONE)

    found = find_series([tmp_path / "one", tmp_path / "two"])

    assert list(labels(found)) == ["one", "two"]
    assert notes.mixtures(found.series) == []


def test_columns_of_a_sweep_stand_in_the_order_that_was_asked_for(
    tmp_path: Path, write_run: WriteRun
) -> None:
    asked = {"representation.arm": ("relic", "none", "byol")}
    request = SweepRequest(("Pong",), (0,), "smoke", asked)
    request.write(tmp_path, Placement())
    Manifest(tmp_path, request.runs()).write()
    for arm in asked["representation.arm"]:
        write_run(tmp_path / f"arm={arm}/pong-s0", seed=0, settings={"representation.arm": arm})

    assert list(labels(find_series([tmp_path]))) == ["arm=relic", "arm=none", "arm=byol"]


def test_a_sweep_whose_manifest_names_no_folder_of_a_run_is_reported(
    tmp_path: Path, write_run: WriteRun
) -> None:
    request = SweepRequest(("Pong",), (0,), "smoke", {})
    request.write(tmp_path, Placement())
    (tmp_path / "manifest.jsonl").write_text('{"run": "", "state": "queued", "why": ""}\n')
    write_run(tmp_path / "runs/pong-s0", seed=0)

    assert labels(find_series([tmp_path]))["runs"] == ["pong-s0"]


# --- --label --------------------------------------------------------------------------------------


def test_labels_name_columns_and_gather_folders_which_then_count_nowhere_else(
    tmp_path: Path, write_run: WriteRun
) -> None:
    runs = tmp_path / "runs"
    for seed in (1, 2, 3):
        write_run(runs / f"pong-{seed}", seed=seed)

    labelled = [("mine", runs / "pong-1"), ("mine", runs / "pong-2")]

    assert labels(find_series([runs], labelled)) == {
        "runs": ["pong-3"],
        "mine": ["pong-1", "pong-2"],
    }
    assert labels(find_series([], labelled)) == {"mine": ["pong-1", "pong-2"]}


def test_a_label_pools_other_settings_only_on_demand_and_with_a_warning(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for seed, settings in ((1, RELIC), (2, NONE)):
        write_run(tmp_path / f"runs/{seed}", seed=seed, settings=settings)
    labelled, out = [("all", tmp_path / "runs")], tmp_path / "out"
    expected = r"settings differ within all: representation.arm none \(2\), relic \(1\)"

    with pytest.raises(ValueError, match=f"^{expected}: not comparable; --allow-mixed"):
        write_report([], out, labelled=labelled)
    assert not out.exists()

    page = read_report([], labelled=labelled, allow_mixed=True).texts()["report.html"]
    assert "<p>Mixed: settings differ within all" in page


def test_of_many_settings_that_differ_under_a_label_a_few_are_named(
    tmp_path: Path, write_run: WriteRun
) -> None:
    other: dict[str, Any] = {
        f"network.{name}": 8 for name in ("frame_stack", "features", "lstm", "hidden")
    }
    write_run(tmp_path / "runs/a", seed=1)
    write_run(tmp_path / "runs/b", seed=2, settings={**other, "learner.n_steps": 1})

    (line,) = notes.mixtures(find_series([], [("all", tmp_path / "runs")]).series)

    assert line.endswith("network.hidden 512 (a), 8 (b); and 1 more")


def test_one_game_and_seed_under_a_label_with_two_settings_is_refused_by_both_folders(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(tmp_path / "runs/a", settings=RELIC)
    write_run(tmp_path / "runs/b", settings=NONE)

    with pytest.raises(ValueError, match=r"all has Pong with seed 1 twice, in .*a and .*b"):
        find_series([], [("all", tmp_path / "runs")])


def test_two_columns_of_one_name_are_refused(tmp_path: Path, write_run: WriteRun) -> None:
    for folder in ("runs", "other"):
        write_run(tmp_path / folder / "pong-1")

    with pytest.raises(ValueError, match="two columns are named runs"):
        find_series([tmp_path / "runs"], [("runs", tmp_path / "other")])
