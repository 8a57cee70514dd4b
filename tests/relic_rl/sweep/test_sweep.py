"""Sweeps as a user meets them: real processes, real runs of the toy task, real signals."""

import csv
import errno
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from envs.games import GAME_SETS
from relic_rl import cli, commands
from relic_rl import config as configuration
from relic_rl.analysis.series import find_series
from relic_rl.errors import UsageError, UserError
from relic_rl.machine.resources import gpu_memory_bytes, memory_bytes
from relic_rl.records.folders import FolderLock, is_in_use
from relic_rl.records.run_folder import existing_run
from relic_rl.records.run_status import RunStatus, read_status
from relic_rl.records.sweep_folder import names_of
from relic_rl.sweep.local_backend import carried, share
from relic_rl.sweep.manifest import Entry, Manifest, read_states
from relic_rl.sweep.ray_backend import Needs
from relic_rl.sweep.request import Placement, SweepRequest
from relic_rl.sweep.status import RunInSweep, State, SweepStatus

COMMAND = [sys.executable, "-m", "relic_rl.cli", "sweep"]
TINY = (
    *("--preset", "smoke", "--replay.min_steps", "64", "--evaluation.episodes", "1"),
    *("--max-parallel", "2"),
)
RunHere = Callable[..., tuple[int, str, str]]


def states(folder: Path) -> dict[str, str]:
    return {run: state for run, (state, _) in read_states(folder).items()}


def evaluated_frames(run: Path) -> list[int]:
    with (run / "evaluations.csv").open(newline="") as file:
        return [int(row["env_frames"]) for row in csv.DictReader(file)]


def digest(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.name != "lock"
    }


# --- what was asked, and what follows -------------------------------------------------------------


def request(**settings: tuple[str, ...]) -> SweepRequest:
    named = {name.replace("__", "."): values for name, values in settings.items()}
    return SweepRequest(("Freeway", "MsPacman"), (0, 7), "smoke", named)


def test_without_a_grid_each_game_and_seed_has_one_folder_under_runs() -> None:
    runs = request(actor__lanes=("4",)).runs()

    assert [run.folder for run in runs] == [
        *("runs/freeway-s0", "runs/ms_pacman-s0", "runs/freeway-s7", "runs/ms_pacman-s7")
    ]
    assert all(run.settings == {"actor.lanes": "4"} and run.varied == {} for run in runs)


def test_a_grid_has_a_folder_for_each_combination_named_by_what_varies() -> None:
    runs = request(
        representation__arm=("relic", "none"),
        learner__learning_rate=("1e-3", "0.0001"),
        representation__learning_rate=("1", "2"),
        actor__lanes=("4",),
    ).runs()
    labels = {run.folder.partition("/")[0] for run in runs}

    assert len(runs) == 2 * 2 * 8
    assert len({run.folder for run in runs}) == len(runs)
    assert len(labels) == 8
    assert "arm=relic,learner.learning_rate=0.001,representation.learning_rate=2.0" in labels
    assert runs[0].varied.keys() == {
        *("representation.arm", "learner.learning_rate", "representation.learning_rate")
    }


def test_status_tells_apart_two_settings_of_one_name(tmp_path: Path, run_here: RunHere) -> None:
    asked = request(
        representation__arm=("relic", "none"),
        learner__learning_rate=("1e-3", "1e-4"),
        representation__learning_rate=("1", "2"),
    )
    asked.write(tmp_path, Placement())
    status, out, _ = run_here("status", str(tmp_path))

    assert status == 0
    words = out.splitlines()[0].split()
    assert words[2:5] == ["arm", "learner.learning_rate", "representation.learning_rate"]


def test_a_value_that_is_asked_for_twice_is_refused_however_it_is_written() -> None:
    with pytest.raises(UsageError, match=r"learning_rate=0\.001 is asked for twice"):
        request(learner__learning_rate=("1e-3", "0.001")).runs()


def test_no_name_leads_out_of_the_folder() -> None:
    hostile = SweepRequest(("../../x",), (0,), "smoke", {"run.device": ("cpu", "../../etc")})

    with pytest.raises(UsageError, match=r"run\.device"):
        hostile.runs()


def test_a_request_comes_back_from_its_file_and_names_what_differs(tmp_path: Path) -> None:
    first = request(representation__arm=("relic", "none"))
    first.write(tmp_path, Placement())
    again = SweepRequest.read(tmp_path)

    assert again == first
    assert first.difference(again) is None
    assert first.difference(request()) == (
        "representation.arm relic none there, as in the preset here"
    )
    other_seeds = SweepRequest(first.games, (0,), first.preset, first.settings)
    assert first.difference(other_seeds) == "seeds 0 7 there, 0 here"
    sets = [SweepRequest(one.games, (0,), first.preset, {}) for one in GAME_SETS.values()]
    assert sets[0].difference(sets[1]) == "games all there, atari100k here"


def test_how_a_number_is_written_makes_no_other_sweep() -> None:
    first = request(learner__learning_rate=("1e-4", "3e-4"), run__minutes=("60.0",))
    same = request(learner__learning_rate=("0.0001", "3e-4"), run__minutes=("60",))
    other = request(learner__learning_rate=("1e-4", "3e-4"), run__minutes=("61",))

    assert first.difference(same) is None
    assert first.difference(other) == "run.minutes 60.0 there, 61 here"


def test_a_sweep_goes_on_where_it_was_begun_unless_told_otherwise(tmp_path: Path) -> None:
    request().write(tmp_path, Placement("ray", "10.0.0.1:6379", 7))
    begun = SweepRequest.read(tmp_path).placement

    assert begun == Placement("ray", "10.0.0.1:6379", 7)
    assert begun.changed(max_parallel=3) == Placement("ray", "10.0.0.1:6379", 3)
    assert begun.changed(backend="local") == Placement("local", None, 7)
    with pytest.raises(UsageError, match="--ray-address goes with --backend ray"):
        Placement().changed(ray_address="auto")


def test_a_sweep_file_edited_to_nonsense_is_refused_by_the_line_at_fault(tmp_path: Path) -> None:
    request().write(tmp_path, Placement(max_parallel=7))
    file = tmp_path / "sweep.toml"
    assert "max_parallel = 7" in file.read_text()
    file.write_text(file.read_text().replace("max_parallel = 7", "max_parallel = 0"))

    with pytest.raises(UserError, match=r"sweep\.toml: placement\.max_parallel: .*greater than"):
        SweepRequest.read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"Freeway"', '"Freewheel"', "unknown game 'Freewheel'"),
        (
            'games = [\n    "Freeway",\n    "MsPacman",\n]',
            'games = "Freeway"',
            r"sweep\.toml: games: ",
        ),
        (
            'games = [\n    "Freeway",\n    "MsPacman",\n]',
            "games = []",
            "it has no games or no seeds",
        ),
        ("    7,", "    -7,", r"seed in .*sweep\.toml is -7, must be in"),
        ("    7,", "    'x',", r"sweep\.toml: seeds\.1: "),
        ('preset = "smoke"', "", r"sweep\.toml: preset: field required"),
        ("[settings]", "[setings]", r"sweep\.toml: settings: field required"),
    ],
)
def test_what_a_sweep_file_asks_for_must_be_possible(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    request().write(tmp_path, Placement())
    file = tmp_path / "sweep.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))

    with pytest.raises(UserError, match=words):
        SweepRequest.read(tmp_path)


def test_a_damaged_line_of_the_manifest_is_left_out(tmp_path: Path) -> None:
    runs = request().runs()
    manifest = Manifest(tmp_path, runs)
    manifest.entries = [Entry(run, "failed", "a reason, \n in lines") for run in runs]
    manifest.write()
    file = tmp_path / "manifest.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:20], '{"run": 3}', *lines[2:]]) + "\n")

    found = [(entry.state, entry.why) for entry in Manifest(tmp_path, runs).entries]

    failed = ("failed", "a reason, \n in lines")
    assert found == [failed, ("queued", ""), failed, failed]


def test_a_run_knows_its_sweep_and_its_name_in_it(tmp_path: Path) -> None:
    request().write(tmp_path, Placement())

    assert names_of(tmp_path / "runs/pong-s0") == ("pong-s0", tmp_path.name)
    assert names_of(tmp_path / "arm=none/pong-s0") == ("arm=none/pong-s0", tmp_path.name)
    assert names_of(tmp_path / "pong-s0") == ("pong-s0", None)


def test_as_many_runs_at_once_as_cores_or_memory_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration.resolve("smoke", {"run.device": "cpu"}).config
    needed = memory_bytes(config)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def carried_with(cores: int, runs_in_memory: float) -> int:
        memory = SimpleNamespace(available=int(runs_in_memory * needed))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        return carried([config])

    assert carried_with(cores=8, runs_in_memory=100) == 8
    assert carried_with(cores=8, runs_in_memory=3.9) == 3
    assert carried_with(cores=2, runs_in_memory=0.5) == 1


@pytest.mark.cuda
def test_several_runs_share_a_gpu_as_cores_and_its_memory_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configuration.resolve("workstation", {}).config
    needed = gpu_memory_bytes(config)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**40))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def carried_with(cores: int, runs_in_gpu: float) -> int:
        free = int(runs_in_gpu * needed)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, free))
        return carried([config])

    assert 2**30 < needed < 4 * 2**30
    assert carried_with(cores=16, runs_in_gpu=10) == 3
    assert carried_with(cores=16, runs_in_gpu=2.5) == 2
    assert carried_with(cores=2, runs_in_gpu=10) == 1


@pytest.mark.parametrize("parallel", [1, 2, 3, 5, 8, 11])
def test_slots_share_the_cores_evenly_and_without_overlap(
    monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    cores = {0, 2, 3, 5, 8, 9, 12, 13}
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    slots = [slot.cores for slot in share(parallel, uses_gpu=False)]
    sizes = [len(slot) for slot in slots]

    assert len(slots) == parallel
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert set().union(*slots) == cores
    if parallel <= len(cores):
        assert sum(sizes) == len(cores)


def test_a_node_of_a_cluster_holds_as_many_runs_as_its_scarcest_resource() -> None:
    needs = Needs(cpus=2, gpus=1, memory_bytes=4 << 30)

    assert needs.fit({"CPU": 8.0, "GPU": 3.0, "memory": float(9 << 30)}) == 2
    assert needs.fit({"CPU": 8.0, "GPU": 1.0, "memory": float(90 << 30)}) == 1
    assert needs.fit({"CPU": 3.0, "GPU": 3.0, "memory": float(90 << 30)}) == 1
    assert needs.fit({"CPU": 8.0, "memory": float(9 << 30)}) == 0


def test_a_run_on_a_cluster_is_given_what_the_most_demanding_of_the_sweep_needs() -> None:
    small, large = (
        configuration.resolve("smoke", settings).config
        for settings in (
            {"run.device": "cpu"},
            {"run.device": "cpu", "run.threads": 3, "replay.capacity_steps": 900_000},
        )
    )
    cluster: Any = SimpleNamespace(ray=SimpleNamespace(cluster_resources=dict))

    for configs in ((small, large), (large, small)):
        assert Needs.of(configs, cluster) == Needs(3, 0, memory_bytes(large))


def test_gpus_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")

    assert [place.gpu for place in share(3, uses_gpu=True)] == ["4", "6", "4"]
    assert [place.gpu for place in share(3, uses_gpu=False)] == [None, None, None]


def test_slots_under_a_quota_share_it_and_are_confined_to_no_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")

    slots = share(3, uses_gpu=False)

    assert [slot.environment for slot in slots] == 3 * [{"OMP_NUM_THREADS": "2"}]
    assert {slot.cores for slot in slots} == {frozenset(range(64))}
    crowd = share(11, uses_gpu=False)  # of 8: a slot has a thread at least
    assert {slot.environment["OMP_NUM_THREADS"] for slot in crowd} == {"1"}


# --- a sweep that meets a failure -----------------------------------------------------------------

FOUR = (
    *("--games", "toy_memory", "breakout", "--seeds", "0", "1", "--frames", "800"),
    *("--evaluation.epsilon", "1"),  # at random Breakout's episodes are short
)
FAILING = "runs/toy_memory-s1"


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A sweep of four with one failure: its folder, stdout and stderr."""
    folder = tmp_path_factory.mktemp("sweep") / "four"
    (folder / "runs").mkdir(parents=True)
    (folder / FAILING).write_text("in the way")
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        assert cli.main(["sweep", str(folder), *FOUR, *TINY]) == 1
    return folder, out.getvalue(), err.getvalue()


def test_one_failure_is_named_and_stops_none_of_the_others(failed: tuple[Path, str, str]) -> None:
    folder, out, err = failed

    assert err.count("\n") == 1
    assert f"1 of 4 runs failed, first {FAILING}: cannot make run folder" in err
    assert "3 of 4 runs are done" in out
    assert states(folder) == {
        "runs/breakout-s0": "done",
        "runs/toy_memory-s0": "done",
        "runs/breakout-s1": "done",
        FAILING: "failed",
    }
    assert evaluated_frames(folder / "runs/breakout-s1") == [800]
    assert "training Breakout, seed 1" in (folder / "logs/runs/breakout-s1.log").read_text()


def test_a_run_that_fails_after_its_last_evaluation_is_done_and_its_error_is_said(
    tmp_path: Path, run_here: RunHere
) -> None:
    folder, name = tmp_path / "sweep", "runs/toy_memory-s0"
    (folder / name / "policy.safetensors").mkdir(parents=True)  # where a file is to be
    asked = ("sweep", str(folder), "--games", "toy_memory", "--frames", "800", *TINY)

    status, out, err = run_here(*asked, "--keep", "policy")

    assert (status, err.count("\n")) == (1, 1)
    assert f"{name} is done after" in out
    assert "it could not tidy up: cannot write" in out
    assert "1 of 1 runs ended with an error after their last evaluation" in err
    assert states(folder) == {name: "done"}


def test_three_that_fail_at_once_in_a_row_leave_the_others_waiting(
    tmp_path: Path, run_here: RunHere
) -> None:
    folder = tmp_path / "sweep"
    for seed in (0, 1, 2):
        (folder / f"logs/runs/toy_memory-s{seed}.log").mkdir(parents=True)
    asked = ("--games", "toy_memory", "--seeds", "0", "1", "2", "3", "4")

    status, _, err = run_here("sweep", str(folder), *asked, *TINY)

    assert (status, err.count("\n")) == (1, 1)
    assert "3 of 5 runs failed, first runs/toy_memory-s0: cannot be started" in err
    assert "2 were not started, as the last failed at once; --retry-failed" in err
    assert list(states(folder).values()) == ["failed"] * 3 + ["queued"] * 2


def test_a_run_folder_that_may_not_be_looked_into_ends_no_sweep(
    tmp_path: Path, run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holds_run(path: Path) -> bool:
        if path.name == "toy_memory-s0":
            raise PermissionError(errno.EACCES, "Permission denied")
        return False

    folder = tmp_path / "sweep"
    (folder / "logs/runs/toy_memory-s1.log").mkdir(parents=True)  # a failure of another kind
    monkeypatch.setattr("relic_rl.sweep.runs.holds_run", holds_run)

    asked = ("--games", "toy_memory", "--seeds", "0", "1")
    status, _, err = run_here("sweep", str(folder), *asked, *TINY)

    assert (status, err.count("\n")) == (1, 1)
    assert "2 of 2 runs failed, first runs/toy_memory-s0: cannot be started: [Errno 13]" in err


def test_status_shows_every_run_and_why_one_failed(
    failed: tuple[Path, str, str], run_here: RunHere
) -> None:
    for watch in ((), ("--watch",)):  # of a sweep at rest, which ends by itself
        status, out, err = run_here("status", str(failed[0]), *watch)
        rows = [line.split() for line in out.splitlines()]

        assert (status, err) == (0, "")
        assert ["Breakout", "1", "800"] in [row[:3] for row in rows]
        assert [row[-1] for row in rows if row[:2] == ["Breakout", "1"]] == ["done"]
        assert re.search(r"toy_memory +1 +failed +cannot make run folder", out)
        assert re.search(r"Breakout +0 +800 +\d+\.\d +\d+\.0 +-?\d+\.\d % +done", out)
        assert "4 runs: 3 done, 1 failed" in out


@pytest.mark.parametrize("end", ["the sweep's", "a job array's", "Ctrl-C"])
def test_status_keeps_showing_a_sweep_until_its_end_or_an_interrupt(
    failed: tuple[Path, str, str],
    tmp_path: Path,
    run_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    folder = Path(shutil.copytree(failed[0], tmp_path / "copy"))
    sweep_at_work = FolderLock(folder, "sweep")
    run_at_work = existing_run(folder / "runs/breakout-s0")
    if end == "a job array's":  # runs without a sweep's process
        sweep_at_work.close()
    looks = iter((False, False, True))

    def looked(seconds: float) -> None:
        if not next(looks):
            return
        run_at_work.close()
        if end == "Ctrl-C":
            raise KeyboardInterrupt  # as in a sleep
        if end == "the sweep's":
            sweep_at_work.close()

    monkeypatch.setattr(commands.status.time, "sleep", looked)
    status, out, err = run_here("status", str(folder), "--watch")

    assert (status, err, [*looks]) == (0, "", [])
    at_end = "2 done, 1 running, 1 failed" if end == "Ctrl-C" else "3 done, 1 failed"
    assert out.count("4 runs: ") == 1  # into a file only the last
    assert f"4 runs: {at_end}" in out


def test_status_prints_one_json_object(failed: tuple[Path, str, str], run_here: RunHere) -> None:
    status, out, err = run_here("status", str(failed[0]), "--json")
    found = json.loads(out)
    runs = {run["folder"]: run for run in found["runs"]}

    assert (status, err, found["is_active"], found["seconds_left"]) == (0, "", False, None)
    assert (
        runs["runs/breakout-s1"].items()
        >= {"game": "Breakout", "seed": 1, "env_frames": 800}.items()
    )
    assert (runs["runs/breakout-s1"]["state"], runs["runs/toy_memory-s1"]["state"]) == (
        "done",
        "failed",
    )
    assert "cannot make run folder" in runs["runs/toy_memory-s1"]["why"]


def test_forced_colours_do_not_redraw_a_sweep_in_a_file(
    failed: tuple[Path, str, str],
    run_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert "\x1b[" not in run_here("status", str(failed[0]), "--watch")[1]


def test_status_believes_the_runs_folders_more_than_the_manifest(
    failed: tuple[Path, str, str], tmp_path: Path, run_here: RunHere
) -> None:
    folder = Path(shutil.copytree(failed[0], tmp_path / "copy"))
    manifest = folder / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    stopped = [json.dumps({**line, "state": "queued", "why": "stopped"}) for line in lines]
    manifest.write_text("".join(f"{line}\n" for line in stopped))
    owned = existing_run(folder / "runs/breakout-s0")  # as by a `resume` by hand
    status, out, _ = run_here("status", str(folder))
    owned.close()

    assert status == 0
    assert "4 runs: 2 done, 1 running, 1 queued" in out
    assert out.count("stopped") == 1


def test_the_time_left_of_a_sweep_is_that_of_its_running_and_of_its_waiting_runs() -> None:
    done, begun = RunStatus(minutes=2.0), RunStatus(minutes=1.0, seconds_left=30.0)
    fresh = RunStatus()

    def left(*runs: tuple[State, RunStatus]) -> float | None:
        (planned,) = SweepRequest(("Pong",), (0,), "smoke", {}).runs()
        members = [RunInSweep(planned, state, "", status) for state, status in runs]
        return SweepStatus(members, is_active=True).seconds_left

    assert left(("done", done), ("queued", fresh)) is None
    assert left(("running", fresh), ("queued", fresh)) is None
    assert left(("running", begun), ("failed", fresh)) == 30.0
    assert left(("running", begun), ("queued", fresh)) == 30.0 + 90.0
    two = (("running", begun), ("running", fresh))
    assert left(*two, ("done", done), ("queued", fresh)) == (30.0 + 2 * 120.0) / 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*FOUR[:3], "--seeds", "0"], ["seeds 0 1 there, 0 here"]),
        (["--games", "boxing"], ["games Breakout toy_memory there, Boxing here"]),
        ([*FOUR, "--actor.lanes", "2"], ["actor.lanes as in the preset there, 2 here"]),
        ([*FOUR, "--run.threads", "1,"], ["run.threads", "comma"]),
        ([*FOUR, "--max-parallel", "0"], ["--max-parallel is 0"]),
        (["--games", "pogn"], ["pogn", "'Pong'"]),
        (["--seeds", "-1"], ["-1"]),
        (["--representation.arm", "relic", "nne"], ["representation.arm", "'nne'"]),
        (["--backend", "slurm"], ["backend", "slurm"]),
    ],
)
def test_another_command_on_the_same_folder_is_refused_in_one_line(
    failed: tuple[Path, str, str],
    run_here: RunHere,
    arguments: list[str],
    words: list[str],
) -> None:
    before = digest(failed[0])
    tiny = [] if "--max-parallel" in arguments else list(TINY)
    status, out, err = run_here("sweep", str(failed[0]), *arguments, *tiny)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert all(word in err for word in words), err
    assert digest(failed[0]) == before


def test_a_report_names_the_runs_that_have_no_score(failed: tuple[Path, str, str]) -> None:
    (series,) = find_series([failed[0]]).series

    assert series.label == "four"
    assert [(run.game, run.seed) for run in series.runs] == [("Breakout", 0), ("Breakout", 1)]
    assert any(
        line.startswith("toy_memory-s0: toy_memory has no human score") for line in series.failed
    )
    assert any("toy_memory-s1: failed, cannot make" in line for line in series.failed)


def test_the_same_command_leaves_what_is_done_and_retries_failures_on_request(
    failed: tuple[Path, str, str], tmp_path: Path, run_here: RunHere
) -> None:
    folder = Path(shutil.copytree(failed[0], tmp_path / "sweep"))
    before = digest(folder / "runs")

    status, _, err = run_here("sweep", str(folder), *FOUR, *TINY)
    assert (status, err.count("\n")) == (1, 1)
    assert digest(folder / "runs") == before

    (folder / FAILING).unlink()
    status, out, err = run_here("sweep", str(folder), "--retry-failed")
    assert (status, err) == (0, "")
    assert "4 of 4 runs are done" in out
    assert set(states(folder).values()) == {"done"}
    after = digest(folder / "runs")
    assert {name: after[name] for name in before if name != Path(FAILING).name} == {
        name: before[name] for name in before if name != Path(FAILING).name
    }


def test_a_folder_that_is_something_else_is_refused(tmp_path: Path, run_here: RunHere) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.toml").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "other/runs/pong-s0").mkdir(parents=True)
    (tmp_path / "other/runs/pong-s0/config.toml").write_text("")

    for name, word in (("run", "another origin"), ("file", "file"), ("other", "another origin")):
        status, out, err = run_here(
            "sweep", str(tmp_path / name), "--games", "pong", "--preset", "smoke"
        )
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert word in err
    for folder in ("run", "nothere"):
        status, out, err = run_here("status", str(tmp_path / folder))
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "no sweep" in err


def test_planning_in_both_ways_at_once_is_refused_and_takes_no_folder(
    tmp_path: Path, run_here: RunHere
) -> None:
    status, out, err = run_here(
        "sweep", str(tmp_path / "new"), "--dry-run", "--commands", "--games", "pong"
    )

    assert (status, out) == (2, "")
    assert err == "relic-rl: sweep: give --dry-run or --commands\n"
    assert not (tmp_path / "new").exists()


# --- a preset of the user's -----------------------------------------------------------------------

MINE = 'base = "smoke"\n[replay]\nmin_steps = 64\n[learner]\nbatch_sequences = 3\n'


def test_a_sweep_keeps_the_preset_it_was_begun_with_wherever_and_whenever_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_here: RunHere
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (here / "sweep/runs").mkdir(parents=True)
    (here / "mine.toml").write_text(MINE)
    late = here / "sweep/runs/toy_memory-s0"
    late.write_text("in the way")
    asked = ("--games", "toy_memory", "--seeds", "0", "--frames", "400")
    mine = ("--preset", "mine.toml", *asked, "--evaluation.episodes", "1", "--run.threads", "1")
    monkeypatch.chdir(here)
    assert run_here("sweep", "sweep", *mine)[0] == 1
    assert states(here / "sweep") == {"runs/toy_memory-s0": "failed"}

    (here / "mine.toml").write_text(MINE.replace("3", "4"))
    status, out, err = run_here("sweep", "sweep", *mine)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "is another sweep: preset mine.toml differs from its preset.toml" in err

    (here / "mine.toml").rename(here / "later.toml")
    (elsewhere / "mine.toml").write_text(MINE)
    late.unlink()
    monkeypatch.chdir(elsewhere)
    sweep_dir = str(here / "sweep")
    assert run_here("sweep", sweep_dir, *mine)[0] == 1  # the same contents: it may go on
    status, out, err = run_here("sweep", sweep_dir, "--retry-failed")
    assert (status, err) == (0, "")
    assert "batch_sequences = 3\n" in (late / "config.toml").read_text()
    assert "1 done" in run_here("status", sweep_dir)[1]


# --- a sweep that is killed -----------------------------------------------------------------------

LONG = (
    *("--games", "toy_memory", "--seeds", "0", "1", "--frames", "2000"),
    *("--run.checkpoint_every_minutes", "0.005"),
)


@pytest.fixture
def begun(
    wait_until: Callable[..., None], tmp_path: Path
) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts the long sweep in `tmp_path`/sweep, and waits until a run has a new checkpoint."""
    folder = tmp_path / "sweep"
    processes = []

    def begin() -> "subprocess.Popen[str]":
        before = checkpoints()
        process = subprocess.Popen(
            [*COMMAND, str(folder), *LONG, *TINY],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        wait_until(lambda: bool(checkpoints() - before), process)
        return process

    def checkpoints() -> set[Path]:
        return set(folder.glob("runs/*/checkpoints/0*/manifest.json"))

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def pending(pid: int) -> set[int]:
    """Signals that a suspended process has been sent."""
    (line,) = re.findall(r"^ShdPnd:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return {number for number in range(1, 65) if int(line, 16) >> (number - 1) & 1}


def test_a_killed_and_an_interrupted_sweep_go_on_to_each_run_exactly_once(
    begun: Callable[[], "subprocess.Popen[str]"],
    wait_until: Callable[..., None],
    tmp_path: Path,
    run_here: RunHere,
) -> None:
    folder = tmp_path / "sweep"
    killed = begun()
    status, out, err = run_here("sweep", str(folder))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"in use by process {killed.pid}" in err

    killed.send_signal(signal.SIGKILL)
    killed.wait()
    runs = sorted((folder / "runs").iterdir())
    wait_until(lambda: not any(map(is_in_use, runs)))  # they end with the sweep, in order
    assert "interrupted" in run_here("status", str(folder))[1]
    kept = {run.name: read_status(run) for run in runs}
    assert any(progress.env_frames for progress in kept.values())

    interrupted = begun()
    os.killpg(interrupted.pid, signal.SIGINT)  # as a terminal does: to all of the group
    out, err = interrupted.communicate(timeout=60)
    assert (interrupted.returncode, err) == (0, "")
    assert "stopped with checkpoints; the same command continues" in out
    assert any(f"runs/{name} resumes" in out for name in kept)
    # A run that was stopped as it started has said nothing.
    logs = [log.read_text().splitlines()[-1:] for log in folder.glob("logs/runs/*.log")]
    assert any(line.startswith("stopped with a checkpoint") for log in logs for line in log)
    assert "running" not in states(folder).values()
    assert not any(map(is_in_use, folder.glob("runs/*")))

    status, out, err = run_here("sweep", str(folder), *LONG, *TINY)
    assert (status, err) == (0, "")
    assert "2 of 2 runs are done" in out
    assert states(folder) == {f"runs/toy_memory-s{seed}": "done" for seed in range(2)}
    for run in folder.glob("runs/*"):
        rows = (run / "metrics.jsonl").read_text().splitlines()
        updates = [json.loads(row)["updates"] for row in rows]
        assert evaluated_frames(run) == [2_000]
        assert updates == list(range(5, 5 * len(updates) + 1, 5))
    assert not list(folder.glob("runs/*/checkpoints/damaged-*"))


@pytest.mark.slow
def test_a_sweep_that_stops_on_a_full_disk_names_what_has_no_new_checkpoint(
    begun: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = begun()
    for child in psutil.Process(process.pid).children():
        limits = (10_000, resource.RLIM_INFINITY)  # enough for logs, not for arrays
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, limits)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)

    assert (process.returncode, err.count("\n")) == (1, 1)
    assert "without a new checkpoint: cannot write checkpoint" in out
    assert "continues from the checkpoints before" in err
    assert "stopped with checkpoints" not in out
    assert {*states(tmp_path / "sweep").values()} == {"queued"}


@pytest.mark.slow
def test_a_run_that_is_killed_while_its_sweep_stops_is_named(
    begun: Callable[[], "subprocess.Popen[str]"], wait_until: Callable[..., None]
) -> None:
    process = begun()
    run = psutil.Process(process.pid).children()[0]
    run.suspend()  # or it would write its checkpoint first
    process.send_signal(signal.SIGINT)
    wait_until(lambda: signal.SIGTERM in pending(run.pid), process)
    run.kill()
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err.count("\n")) == (1, 1)
    assert "ended without a new checkpoint: killed by SIGKILL" in out
    assert "1 of 2 runs kept no checkpoint of their last moments" in err


@pytest.mark.slow
def test_a_run_that_somebody_else_stops_is_named_and_is_no_success(
    begun: Callable[[], "subprocess.Popen[str]"], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    process = begun()
    runs = tmp_path / "sweep/runs"
    wait_until(lambda: len(list(runs.glob("*/checkpoints"))) == 2, process)  # both listen
    psutil.Process(process.pid).children()[0].terminate()
    out, err = process.communicate(timeout=120)

    assert (process.returncode, err.count("\n")) == (1, 1)
    assert "1 of 2 runs are not done, first runs/toy_memory-s" in err
    assert "1 of 2 runs are done" in out
    assert "each run ends after 2,000 frames" in out


@pytest.mark.slow
def test_a_sweep_of_all_57_games_ends_with_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    result = subprocess.run(
        [*COMMAND, str(folder), "--frames", "800", "--evaluation.episodes", "1", *TINY[:4]],
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    (series,) = find_series([folder]).series

    assert (result.returncode, result.stderr) == (0, "")
    assert len(series.runs) == 57
    assert series.failed == ()
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "report")]) == 0
