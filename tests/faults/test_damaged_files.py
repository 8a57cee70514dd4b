"""Flipped bits, cut and missing files: each is detected, and nothing wrong is ever resumed."""

import logging
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relic_rl.records.checkpoint import CheckpointError, CheckpointStore

pytestmark = pytest.mark.slow

FRAMES = (4_800, 6_400, 8_000)
Harm = Callable[[Path, random.Random], None]


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


@pytest.fixture(scope="module")
def sound(one_launcher: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of Pong with two checkpoints over three files of segments."""
    one_launcher.folder = tmp_path_factory.mktemp("sound")
    run = one_launcher.folder / "sound"
    assert one_launcher.train("pong", run, "--frames", str(FRAMES[0])).wait() == 0
    for frames in FRAMES[1:]:
        status, text = one_launcher.run("resume", "sound", "--frames", str(frames))
        assert status == 0, text
    return run


def targets(run: Path) -> list[Path]:
    """The files that the newest checkpoint needs."""
    newest = max((run / "checkpoints").iterdir())
    return [*sorted(newest.iterdir()), *sorted((run / "segments").iterdir())]


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints hold the same: files are equal, and so are the segments."""
    return [s.data for s in one.segments] == [s.data for s in other.segments] and all(
        (one.path / name).read_bytes() == (other.path / name).read_bytes()
        for name in ("model.pt", "optimizer.pt", "state.json", "arrays.npz")
    )


@pytest.mark.parametrize(
    ("harm", "count"), [(flip, 200), (cut, 50), (remove, 20)], ids=["flips", "cuts", "missing"]
)
def test_damage_is_detected_and_the_state_before_it_used_or_the_run_refused(
    launcher: Any,
    sound: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    harm: Harm,
    count: int,
) -> None:
    rng = random.Random(count)
    before = tmp_path / "before"  # the run as if the newest checkpoint had never been
    shutil.copytree(sound, before)
    shutil.rmtree(max((before / "checkpoints").iterdir()))
    previous = CheckpointStore(before).load()
    outcomes: Counter[str] = Counter()
    for number in range(count):
        run = tmp_path / "harmed"
        shutil.copytree(sound, run)
        target = rng.choice(targets(run))
        harm(target, rng)
        caplog.clear()
        try:
            with caplog.at_level(logging.WARNING):
                checkpoint = CheckpointStore(run).load()
        except CheckpointError as error:
            is_clear = "holds no sound checkpoint" in str(error) and "\n" not in str(error)
            outcomes["refused" if is_clear else f"unclear: {error}"] += 1
        else:
            undetected = checkpoint.path.name == f"{FRAMES[-1]:012d}"
            right = not undetected and same(checkpoint, previous) and "damaged" in caplog.text
            outcomes["previous used" if right else f"wrong: {target}"] += 1
        if number % (count // 10) == 0:
            outcomes["through the command line"] += 1
            shutil.rmtree(run)
            shutil.copytree(sound, run)
            harm(target, rng)
            process = launcher.start("resume", "harmed", "--frames", "1000000000")
            process.wait_for_text("resuming", "relic-rl:")
            if "relic-rl:" not in process.text:  # else it leaves by itself
                process.kill(signal.SIGTERM)
            status, text = process.wait(), process.text
            # Its status is not asked for: the signal may have come while it was restoring.
            was_used = f"{FRAMES[-2]:,} frames" in text and "no sound checkpoint" not in text
            was_refused = status == 1 and text.count("\n") == 1 and "no sound checkpoint" in text
            assert was_used or was_refused, (target, text)
        shutil.rmtree(run)

    detected = outcomes["previous used"] + outcomes["refused"]
    print(
        f"{harm.__name__}: {detected} of {count} detected; the previous checkpoint used in "
        f"{outcomes['previous used']}, refused in {outcomes['refused']} (a segment file that both "
        f"need); {outcomes['through the command line']} more through `relic-rl resume`"
    )
    assert detected == count, outcomes
