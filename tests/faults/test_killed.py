"""SIGKILL and SIGTERM at random instants: every run resumes and ends as if never disturbed."""

import hashlib
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from relic_rl.records.checkpoint import CheckpointStore
from relic_rl.records.metrics import reproducible

pytestmark = pytest.mark.slow

INTERVAL_SECONDS = 0.5
PERIOD = ("--run.checkpoint_every_minutes", str(INTERVAL_SECONDS / 60))
ENDLESS = ("--frames", "1000000000")
CHECKPOINT_FILES = {"manifest.json", "model.pt", "optimizer.pt", "state.json", "arrays.npz"}
RUN_FILES = {
    *("config.toml", "metadata.json", "metrics.jsonl", "episodes.csv", "evaluations.csv"),
    *("log.txt", "lock", "checkpoints", "segments", "curves.png", "curves.svg"),
}


def is_writing(run: Path) -> bool:
    """Whether a checkpoint is, or was when the process died, half written."""
    try:
        return any(path.name.startswith(".") for path in (run / "checkpoints").iterdir())
    except FileNotFoundError:
        return False


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name) for path in (run / "checkpoints").glob("[0-9]*"))


def rows(run: Path) -> list[dict[str, Any]]:
    """Of metrics.jsonl, but for a last line cut short by the kill."""
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def lost_seconds(run: Path) -> tuple[float, float]:
    """Of the training time logged when the process died, what the newest checkpoint lacks.

    Also how much of it went into writing checkpoints: the next is due an interval after the last
    was begun, so one that takes longer to write than that is followed by a step, and by the next.
    """
    saved = CheckpointStore(run).load(read_only=True).state["progress"]["minutes"]
    lost = [row for row in rows(run) if row["minutes"] > saved]
    if not lost:
        return 0.0, 0.0
    writing = sum(row.get("checkpoint_seconds", 0.0) for row in lost)
    return 60 * (lost[-1]["minutes"] - saved), writing


def assert_no_stray_files(run: Path) -> None:
    assert {path.name for path in run.iterdir()} <= RUN_FILES
    kept = sorted((run / "checkpoints").iterdir())
    assert len(kept) == 2
    assert all({path.name for path in folder.iterdir()} == CHECKPOINT_FILES for folder in kept)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in kept]
    named = {entry["name"] for manifest in manifests for entry in manifest["segments"]}
    assert {path.name for path in (run / "segments").iterdir()} == named


def fingerprint(run: Path) -> dict[str, str]:
    """Hashes of what two equal runs share."""
    newest = max((run / "checkpoints").iterdir())
    found = {
        name: hashlib.sha256((newest / name).read_bytes()).hexdigest()
        for name in ("model.pt", "optimizer.pt")
    }
    found["metrics"] = str([reproducible(row) for row in rows(run)])
    return found


@pytest.mark.parametrize(("game", "kills"), [("toy_memory", 75), ("pong", 25)])
def test_a_run_killed_again_and_again_resumes_every_time_and_loses_an_interval_at_most(
    launcher: Any, tmp_path: Path, game: str, kills: int
) -> None:
    rng = random.Random(game)
    run = tmp_path / "run"
    process = launcher.train(game, run, *ENDLESS, *PERIOD)
    process.wait_until(lambda: bool((run / "checkpoints").is_dir() and checkpoints(run)), 0.01)
    resumed = killed_writing = 0
    losses = []
    for kill in range(kills):
        if kill % 2:  # at any instant, that of its own start and restore included
            time.sleep(rng.uniform(0.0, 6 * INTERVAL_SECONDS))
        else:  # somewhere in the writing of a checkpoint
            process.wait_until(lambda: is_writing(run))
            time.sleep(rng.uniform(0.0, 0.01))
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.text
        killed_writing += is_writing(run)
        newest = checkpoints(run)[-1]
        losses.append(lost_seconds(run))

        process = launcher.start("resume", "run")
        process.wait_for_text("resuming", "relic-rl:")
        resumed += f"{newest:,} frames" in process.text
    process.wait_until(lambda: checkpoints(run)[-1] > newest, 0.01)
    process.kill(signal.SIGTERM)
    assert process.wait() == 0, process.text
    total = checkpoints(run)[-1] + 2000
    assert launcher.run("resume", "run", "--frames", str(total))[0] == 0

    straight = launcher.train(game, tmp_path / "straight", "--frames", str(total))
    assert straight.wait() == 0, straight.text

    lost = [seconds / INTERVAL_SECONDS for seconds, _ in losses]
    print(
        f"SIGKILL, {game}: {resumed} of {kills} resumed, {killed_writing} killed while a "
        f"checkpoint was written, largest loss {max(lost):.2f} intervals of {INTERVAL_SECONDS} "
        f"s, mean {sum(lost) / kills:.2f}; after {total:,} frames equal to the run never killed"
    )
    assert resumed == kills
    assert killed_writing >= 0.3 * kills
    for seconds, writing in losses:  # and the step at hand, on a busy machine
        assert seconds <= INTERVAL_SECONDS + writing + 0.5
    assert_no_stray_files(run)
    assert fingerprint(run) == fingerprint(tmp_path / "straight")


def test_a_run_terminated_at_any_instant_leaves_in_order_and_resumes(
    launcher: Any, tmp_path: Path
) -> None:
    rng = random.Random(1)
    run = tmp_path / "run"
    stops = 50
    process = launcher.train("pong", run, *ENDLESS, *PERIOD)
    in_order = 0
    seconds = []
    frames = 0
    for _ in range(stops):
        process.wait_for_text("frames")
        time.sleep(rng.uniform(0.0, 2.0))
        started = time.monotonic()
        process.kill(signal.SIGTERM)
        status = process.wait()
        seconds.append(time.monotonic() - started)
        last = process.text.splitlines()[-1]
        loading = status == -signal.SIGTERM and last.startswith("starting")  # nothing was lost
        in_order += loading or (status == 0 and "stopped" in last)
        left = checkpoints(run)[-1] if (run / "checkpoints").is_dir() else 0
        assert left >= frames
        frames = left
        process = launcher.start("resume", "run")
    process.wait_for_text(f"{frames:,} frames")
    process.kill(signal.SIGTERM)
    assert process.wait() == 0
    assert launcher.run("resume", "run", "--frames", str(frames + 2000))[0] == 0

    print(
        f"SIGTERM, pong: {in_order} of {stops} left with status 0 and were resumed; slowest exit "
        f"{max(seconds):.2f} s, mean {sum(seconds) / stops:.2f} s"
    )
    assert in_order == stops
    assert max(seconds) < 20
    assert [row["updates"] for row in rows(run)] == list(range(2, 2 * len(rows(run)) + 1, 2))
    assert_no_stray_files(run)
