"""One run of a sweep as a process: what it does with a folder that holds something already."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from relic_rl.machine.capacity import core_ids
from relic_rl.records.run_folder import existing_run
from relic_rl.records.run_status import read_status
from relic_rl.sweep.local_backend import LocalBackend, Slot
from relic_rl.sweep.request import PlannedRun
from relic_rl.sweep.run_process import RunProcess

TOY = PlannedRun(
    folder="runs/toy_memory-s0",
    game="toy_memory",
    seed=0,
    settings={
        "run.frames": "400",
        "run.threads": "1",
        "run.metrics_every_updates": "2",
        "replay.min_steps": "64",
        "evaluation.episodes": "1",
    },
    varied={},
)


def start(sweep: Path, run: PlannedRun = TOY) -> RunProcess:
    return RunProcess(sweep, run, "smoke", prepare=lambda: None)


def said(process: RunProcess) -> str:
    return process.log.read_text()


def metrics(run: Path) -> list[int]:
    rows = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["updates"] for row in rows]


def digest(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def killed(wait_until: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed before its first checkpoint; tests must not change it."""
    run = tmp_path_factory.mktemp("killed") / TOY.folder
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "relic_rl.cli", "train", TOY.game, "--preset", "smoke"),
            *(f"--{name}={value}" for name, value in TOY.settings.items()),
            *("--run-dir", str(run)),
        ],
        stdout=subprocess.DEVNULL,
    )
    wait_until((run / "config.toml").exists)
    process.kill()
    process.wait()
    assert not (run / "checkpoints").exists()
    return run


@pytest.fixture
def broken_off(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / TOY.folder))


def test_modules_of_the_callers_folder_are_not_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("agents", "envs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a stranger')\n")
    (tmp_path / "random.py").write_text("raise ImportError('a stranger')\n")
    monkeypatch.chdir(tmp_path)
    process = start(Path("sweep"))

    assert process.wait() == 0, said(process)
    assert read_status(Path("sweep") / TOY.folder).finished


def test_why_a_run_failed_is_readable_in_any_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "läufe"
    (sweep / TOY.folder).mkdir(parents=True)
    (sweep / TOY.folder / "episodes.csv").write_text("somebody's\n")
    monkeypatch.setenv("PYTHONIOENCODING", "iso-8859-1")  # as in a terminal of eight bits
    process = start(sweep)

    assert process.wait() == 1
    assert f"{sweep}/{TOY.folder}" in process.why()


def test_a_run_that_is_killed_says_by_what_and_what_it_said_last(
    wait_until: Callable[..., None], tmp_path: Path
) -> None:
    process = start(tmp_path)
    wait_until(lambda: "starting 4 environments" in said(process))
    psutil.Process(process._process.pid).kill()

    assert process.wait() == -signal.SIGKILL
    assert process.why().startswith("killed by SIGKILL, after: ")


def test_a_run_whose_log_was_removed_says_its_exit_status(tmp_path: Path) -> None:
    (tmp_path / TOY.folder).mkdir(parents=True)
    (tmp_path / TOY.folder / "episodes.csv").write_text("somebody's\n")
    process = start(tmp_path)
    process.wait()
    shutil.rmtree(tmp_path / "logs")

    assert process.why() == "exit status 1"


def test_a_run_that_somebody_owns_is_left_to_its_owner(broken_off: Path, tmp_path: Path) -> None:
    owner = existing_run(broken_off)
    before = digest(broken_off)
    process = start(tmp_path)

    assert process.wait() == 1
    assert process.why().startswith(f"run folder {broken_off} is in use by process {os.getpid()}")
    assert digest(broken_off) == before
    owner.close()


def test_a_run_that_broke_off_before_its_first_checkpoint_starts_again(
    broken_off: Path, tmp_path: Path
) -> None:
    process = start(tmp_path)

    assert process.wait() == 0
    assert "it ended before its first checkpoint and starts again" in said(process)
    assert read_status(broken_off).finished
    updates = metrics(broken_off)
    assert updates == list(range(2, 2 * len(updates) + 1, 2))


@pytest.mark.slow  # test_checkpoint has the same of a checkpoint's store
def test_a_run_that_died_between_the_two_renames_of_a_checkpoint_goes_on_from_it(
    tmp_path: Path,
) -> None:
    run = tmp_path / TOY.folder
    assert start(tmp_path).wait() == 0
    before = metrics(run)
    *others, last = sorted((run / "checkpoints").iterdir())
    for path in others:
        shutil.rmtree(path)
    last.rename(last.with_name(f".replaced-{last.name}"))
    settings = (run / "config.toml").read_text()
    assert "frames = 400\n" in settings
    (run / "config.toml").write_text(settings.replace("frames = 400\n", "frames = 500\n"))
    process = start(tmp_path)

    assert process.wait() == 0
    assert "resuming toy_memory, seed 0" in said(process)
    assert "400 frames" in said(process)
    assert metrics(run)[: len(before)] == before
    assert read_status(run).finished


def test_runs_take_free_places_and_keep_to_the_cores_of_theirs(tmp_path: Path) -> None:
    core = frozenset({min(core_ids())})
    slots = [Slot(core, threads, gpu) for threads, gpu in ((1, "5"), (2, "7"))]
    backend = LocalBackend(tmp_path, "smoke", slots)
    runs = [replace(TOY, folder=f"runs/toy_memory-s{seed}", seed=seed) for seed in range(3)]

    def place_of(process: RunProcess) -> tuple[str, str]:
        child = psutil.Process(process._process.pid)
        assert child.cpu_affinity() == sorted(core)
        given = child.environ()
        return given["OMP_NUM_THREADS"], given["CUDA_VISIBLE_DEVICES"]

    first, second = backend.start(runs[0]), backend.start(runs[1])
    assert [place_of(first), place_of(second)] == [("1", "5"), ("2", "7")]
    second._process.kill()
    second._process.wait()
    third = backend.start(runs[2])
    assert place_of(third) == ("2", "7")
    for process in (first, third):
        process._process.kill()
        process._process.wait()
