"""What a node does for a sweep, by itself: no cluster is needed to see it refuse, wait and stop."""

from dataclasses import replace
from pathlib import Path

from relic_rl.machine.versions import fingerprint
from relic_rl.sweep.ray_task import run_to_its_end
from relic_rl.sweep.request import PlannedRun

TOY = PlannedRun(
    folder="runs/toy-s0",
    game="toy_memory",
    seed=0,
    settings={"run.frames": "200", "replay.min_steps": "64"},
    varied={},
)


def test_a_run_is_trained_with_the_threads_of_its_place_and_then_left_alone(tmp_path: Path) -> None:
    placed = {**TOY.settings, "run.threads": "1", "env.threads": "1"}
    run = replace(TOY, settings=placed)
    expected = fingerprint(TOY.game)

    assert run_to_its_end(tmp_path, run, "smoke", expected) == (0, "")
    config = (tmp_path / TOY.folder / "config.toml").read_text()
    assert config.count("threads = 1") == 2
    assert (tmp_path / "logs" / "runs" / "toy-s0.log").exists()


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    run = PlannedRun("runs/x-s0", "toy_memory", 0, {"replay.capacity_steps": "10"}, {})

    status, why = run_to_its_end(tmp_path, run, "smoke", fingerprint("toy_memory"))

    assert status == 2
    assert why.startswith("replay.capacity_steps is 10: use 410 or more")


def test_a_node_of_another_version_starts_nothing(tmp_path: Path) -> None:
    expected = fingerprint(TOY.game) | {"torch": "0.1"}

    status, why = run_to_its_end(tmp_path, TOY, "smoke", expected)

    assert status == 1
    assert why.startswith("a node of the cluster does not fit this sweep: torch is ")
    assert list(tmp_path.iterdir()) == []


def test_a_node_without_the_shared_folder_says_so(tmp_path: Path) -> None:
    status, why = run_to_its_end(tmp_path / "no", TOY, "smoke", fingerprint(TOY.game))

    assert (status, why.endswith("sweeps need a shared folder")) == (1, True)
