"""Checkpoints: exact, kept in twos, and never lost to a crash, a full disk or a damaged file."""

import errno
import hashlib
import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.sequences import SequenceOptions
from relic_rl.records.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.options import ReplayOptions
from relic_rl.replay.segment import Segment, SegmentName

STEPS = 4
Forge = Callable[[Path], None]


def make_replay(capacity_steps: int = 400) -> ReplayBuffer:
    return ReplayBuffer(
        ReplayOptions(capacity_steps),
        SequenceOptions(STEPS, burn_in_steps=0, unroll_steps=STEPS, n_steps=2),
        frame_stack=2,
        rng=np.random.default_rng(3),
    )


STATE: dict[str, Any] = {
    "numbers": {"int": 2**62 - 1, "negative": -3, "float": 0.1 + 0.2, "tiny": 5e-324},
    "text": "ε-greedy\n",
    "nothing": None,
    "flags": [True, False],
    "nested": [{"a": [1, [2, {"b": 3.5}]]}, []],
    "numpy": np.float64(1 / 3),
    "arrays": {
        "uint8": np.arange(256, dtype=np.uint8).reshape(2, 128),
        "float32": np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
        "int64": np.array([[-(2**63)], [2**63 - 1]]),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(7.25, np.float32),
    },
}


class Run:
    """A run folder with its store, its replay and a model that grows with each save."""

    def __init__(self, folder: Path, make_segment: Callable[..., Segment]) -> None:
        self.folder = folder
        self.store = CheckpointStore(folder)
        self.replay = make_replay()
        self._make_segment = make_segment

    def fill(self, episodes: range) -> None:
        """One segment an episode, each of other numbers."""
        for episode in episodes:
            rng = np.random.default_rng(episode)
            segment = self._make_segment(
                SegmentName(0, 0, 0, episode, 0),
                rng.integers(0, 256, (1 + STEPS + 1, 5, 4)).astype(np.uint8),
                actions=rng.integers(0, 18, STEPS),
                rewards=rng.normal(size=STEPS).astype(np.float32),
                recurrent_state=rng.normal(size=(2, 3)).astype(np.float32),
                td_max=1.0 + episode,
                td_sum=2.0 + episode,
                created_env_steps=STEPS * episode,
            )
            self.replay.insert(segment)

    def save(self, frames: int, *, state: dict[str, Any] | None = None) -> Path:
        weight = torch.full((3, 2), float(frames))
        return self.store.save(
            env_frames=frames,
            model={"online": {"weight": weight}},
            optimizer={"main": {"state": {0: {"step": torch.tensor(frames)}}, "rate": [0.5]}},
            state={"frames": frames} if state is None else state,
            replay=self.replay,
        )

    def load(self) -> Checkpoint:
        return CheckpointStore(self.folder).load()

    def resume(self) -> Checkpoint:
        """Goes on as a new process would."""
        checkpoint = self.load()
        self.store = CheckpointStore(self.folder, checkpoint)
        self.replay = make_replay()
        self.replay.load_state(checkpoint.state["replay"], checkpoint.segments)
        return checkpoint

    def segment_files(self) -> dict[str, tuple[int, int, str]]:
        """Inode, time and hash of each."""
        return {
            path.name: (
                path.stat().st_ino,
                path.stat().st_mtime_ns,
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in (self.folder / "segments").iterdir()
        }

    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "checkpoints").iterdir())


@pytest.fixture
def run(tmp_path: Path, make_segment: Callable[..., Segment]) -> Run:
    return Run(tmp_path, make_segment)


@pytest.fixture
def saved_twice(run: Run) -> Run:
    """Checkpoints 100 and 200, each with segments of its own."""
    run.fill(range(5))
    run.save(100)
    run.fill(range(5, 9))
    run.save(200)
    return run


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    else:
        assert type(one) is type(other)
        assert one == other


# --- round trip -----------------------------------------------------------------------------------


def test_a_nested_state_comes_back_bit_for_bit(run: Run) -> None:
    run.fill(range(3))
    run.save(100, state=STATE)
    state = dict(run.load().state)
    state.pop("replay")

    assert_same(state, STATE | {"numpy": 1 / 3})


def test_tensors_come_back_bit_for_bit_and_the_path_is_named(run: Run) -> None:
    path = run.save(100)
    checkpoint = run.load()

    assert checkpoint.path == path == run.folder / "checkpoints/000000000100"
    assert torch.equal(checkpoint.model["online"]["weight"], torch.full((3, 2), 100.0))
    assert checkpoint.optimizer["main"]["rate"] == [0.5]
    assert torch.equal(checkpoint.optimizer["main"]["state"][0]["step"], torch.tensor(100))


def test_the_replay_draws_on_as_if_never_interrupted(saved_twice: Run) -> None:
    straight = saved_twice.replay
    saved_twice.resume()
    resumed = saved_twice.replay

    assert resumed is not straight
    assert (resumed.steps, resumed.bytes, len(resumed)) == (36, straight.bytes, 9)
    for _ in range(5):
        one, other = straight.sample(4), resumed.sample(4)
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.weights, other.weights)


# --- what is kept ---------------------------------------------------------------------------------


def test_the_last_two_are_kept(run: Run) -> None:
    for frames in (100, 200, 300, 1_000_000_000_000 - 1):
        run.save(frames)

    assert run.checkpoints() == ["000000000300", "999999999999"]
    assert run.load().state["frames"] == 999_999_999_999


def test_the_same_moment_saved_twice_is_one_checkpoint_the_later(run: Run) -> None:
    run.save(100, state={"written": 1})
    run.save(100, state={"written": 2})

    assert run.checkpoints() == ["000000000100"]
    assert run.load().state["written"] == 2


def test_segments_are_appended_once_and_never_rewritten_over_resumes_too(saved_twice: Run) -> None:
    first = saved_twice.segment_files()
    saved_twice.resume()
    saved_twice.fill(range(9, 12))
    saved_twice.save(300)
    saved_twice.save(400)
    last = saved_twice.segment_files()

    assert sorted(first) == ["000000000000.seg", "000000000005.seg"]
    assert sorted(last) == [*sorted(first), "000000000009.seg"]
    assert {name: last[name] for name in first} == first
    assert len(saved_twice.load().segments) == 12


def test_files_whose_segments_are_all_evicted_are_removed(run: Run) -> None:
    run.replay = make_replay(capacity_steps=10 * STEPS)
    run.fill(range(6))
    run.save(100)
    run.fill(range(6, 12))  # evicts 0 and 1: 2 to 5 still need the first file
    run.save(200)
    kept = sorted(run.segment_files())
    run.fill(range(12, 18))  # evicts the rest of it
    run.save(300)
    still = sorted(run.segment_files())
    run.save(400)

    assert kept == ["000000000000.seg", "000000000006.seg"]
    assert still == [*kept, "000000000012.seg"]  # the checkpoint before has them all
    assert sorted(run.segment_files()) == ["000000000006.seg", "000000000012.seg"]
    assert {s.name.episode for s in run.load().segments} == set(range(8, 18))


def test_the_newest_is_removed_last_so_that_no_older_one_is_taken_for_it(
    saved_twice: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relic_rl.records.checkpoint.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        saved_twice.store.remove(but_newest=False)

    assert saved_twice.checkpoints() == [".staging-000000000100", "000000000200"]


@pytest.mark.parametrize("reason", ["ESTALE", "EMFILE", "ENFILE", "EACCES", "ENOMEM", "ETIMEDOUT"])
def test_a_checkpoint_that_cannot_be_read_now_is_not_set_aside(
    saved_twice: Run, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(getattr(errno, reason), "not now")

    with monkeypatch.context() as patch:
        patch.setattr("relic_rl.records.checkpoint.checkpoint_files.read", refused)
        with pytest.raises(OSError, match="not now"):
            saved_twice.load()

    assert saved_twice.load().state["frames"] == 200


def test_a_checkpoint_for_which_there_is_too_little_memory_is_not_set_aside(
    saved_twice: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:  # torch's words
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
        )

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", too_large)
        with pytest.raises(RuntimeError, match="allocate memory"):
            saved_twice.load()

    assert saved_twice.load().state["frames"] == 200


def test_the_one_checkpoint_that_is_asked_for_is_named_where_it_is_damaged(
    saved_twice: Run,
) -> None:
    truncate(saved_twice.folder / "checkpoints/000000000100/model.pt")

    with pytest.raises(CheckpointError, match=r"checkpoint .*/000000000100 is damaged: model\.pt"):
        saved_twice.store.load(read_only=True, env_frames=100)


def test_what_a_crash_left_half_written_is_cleared_away(saved_twice: Run) -> None:
    staging = saved_twice.folder / "checkpoints/.staging-000000000300"
    staging.mkdir()
    (staging / "model.pt").write_bytes(b"half")
    (saved_twice.folder / "segments/000000000009.seg").write_bytes(b"half")
    checkpoint = saved_twice.resume()

    assert checkpoint.state["frames"] == 200
    assert saved_twice.checkpoints() == ["000000000100", "000000000200"]
    assert sorted(saved_twice.segment_files()) == ["000000000000.seg", "000000000005.seg"]


def test_reading_only_changes_nothing_and_leaves_segments_unread(saved_twice: Run) -> None:
    (saved_twice.folder / "checkpoints/.staging-000000000300").mkdir()
    (saved_twice.folder / "checkpoints/000000000200/model.pt").write_bytes(b"")
    before = sorted(str(path) for path in saved_twice.folder.rglob("*"))
    checkpoint = CheckpointStore(saved_twice.folder).load(read_only=True)

    assert checkpoint.state["frames"] == 100
    assert checkpoint.segments == []
    assert sorted(str(path) for path in saved_twice.folder.rglob("*")) == before


# --- damage ---------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


NEWEST = "checkpoints/000000000200"
FILES = (
    *(f"{NEWEST}/{name}" for name in ("manifest.json", "model.pt", "optimizer.pt")),
    *(f"{NEWEST}/{name}" for name in ("state.json", "arrays.npz")),
    "segments/000000000005.seg",
)


@pytest.mark.parametrize("harm", [truncate, flip_a_bit, empty, Path.unlink])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    saved_twice: Run, caplog: pytest.LogCaptureFixture, file: str, harm: Callable[[Path], None]
) -> None:
    harm(saved_twice.folder / file)
    with caplog.at_level(logging.WARNING):
        checkpoint = saved_twice.resume()

    assert checkpoint.state["frames"] == 100
    assert {segment.name.episode for segment in checkpoint.segments} == set(range(5))
    assert saved_twice.checkpoints() == ["000000000100", "damaged-000000000200"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "000000000200" in caplog.text
    assert Path(file).name in caplog.text.split("000000000200:")[1]

    saved_twice.fill(range(5, 8))
    saved_twice.save(300)

    assert saved_twice.load().state["frames"] == 300
    assert len(saved_twice.load().segments) == 8


def test_a_manifest_of_another_schema_is_not_guessed_at(saved_twice: Run, forge: Forge) -> None:
    path = saved_twice.folder / NEWEST / "manifest.json"
    document = json.loads(path.read_text()) | {"schema": 99}
    path.write_text(json.dumps(document))
    forge(saved_twice.folder / NEWEST)

    assert saved_twice.load().state["frames"] == 100


def test_without_a_sound_checkpoint_one_error_says_why(saved_twice: Run) -> None:
    for path in saved_twice.folder.glob("checkpoints/*/model.pt"):
        truncate(path)

    with pytest.raises(CheckpointError, match=r"no sound checkpoint .*model\.pt does not") as error:
        saved_twice.load()
    assert "\n" not in str(error.value)


def test_without_any_checkpoint_one_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint yet: a run writes one"):
        CheckpointStore(tmp_path).load()


def test_a_compressed_array_is_refused_because_a_small_file_may_become_a_huge_one(
    saved_twice: Run,
    forge: Forge,
) -> None:
    newest = saved_twice.folder / NEWEST
    with np.load(newest / "arrays.npz") as packed:
        arrays = dict(packed)
    np.savez_compressed(newest / "arrays.npz", **arrays)
    forge(newest)

    assert saved_twice.load().state["frames"] == 100


def test_a_crash_between_the_two_renames_of_a_replacement_loses_nothing(saved_twice: Run) -> None:
    newest = saved_twice.folder / NEWEST
    newest.rename(newest.with_name(f".replaced-{newest.name}"))
    newest.with_name(f".staging-{newest.name}").mkdir()

    assert not saved_twice.store.is_empty
    assert saved_twice.load().state["frames"] == 200
    assert saved_twice.checkpoints() == ["000000000100", "000000000200"]


def test_where_nothing_is_sound_everything_stays_where_it_is(saved_twice: Run) -> None:
    (saved_twice.folder / "segments/000000000000.seg").write_bytes(b"")  # both need it

    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        saved_twice.load()
    assert saved_twice.checkpoints() == ["000000000100", "000000000200"]
    assert not saved_twice.store.is_empty
    parameters = CheckpointStore(saved_twice.folder).load(read_only=True)  # for evaluation
    assert parameters.state["frames"] == 200


@pytest.mark.parametrize("writer", ["pickle", "torch", "numpy"])
def test_a_pickle_bomb_executes_nothing_even_with_the_right_hashes(
    saved_twice: Run, forge: Forge, bomb: Any, tmp_path_factory: pytest.TempPathFactory, writer: str
) -> None:
    mark = tmp_path_factory.mktemp("bomb") / "exploded"
    newest = saved_twice.folder / NEWEST
    if writer == "pickle":
        (newest / "model.pt").write_bytes(pickle.dumps(bomb(mark), protocol=2))
    elif writer == "torch":
        torch.save({"online": {"weight": bomb(mark)}}, newest / "model.pt")
    else:
        objects = np.array([bomb(mark)], dtype=object)
        np.savez(newest / "arrays.npz", allow_pickle=True, a0=objects)
    forge(newest)
    checkpoint = saved_twice.load()

    assert checkpoint.state["frames"] == 100
    assert not mark.exists()
    pickle.loads(pickle.dumps(bomb(mark)))  # it is a live one
    assert mark.exists()


def test_segments_that_somebody_removes_from_a_run_at_work_are_written_again(
    saved_twice: Run,
) -> None:
    (saved_twice.folder / "segments/000000000000.seg").unlink()
    saved_twice.fill(range(9, 11))
    saved_twice.save(300)

    assert saved_twice.load().state["frames"] == 300
    assert {segment.name.episode for segment in saved_twice.load().segments} == set(range(11))


# --- full disks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("full", ["segments", "checkpoints"])
def test_a_failed_write_leaves_the_old_one_and_the_next_goes_through(
    saved_twice: Run, files_limited_to: Any, full: str
) -> None:
    before = saved_twice.segment_files()
    more = 2 if full == "segments" else 0  # then the disk is full before any other file
    saved_twice.fill(range(9, 9 + more))

    with (
        files_limited_to(200),  # a part of the first file
        pytest.raises(CheckpointError, match="previous checkpoint is intact") as error,
    ):
        saved_twice.save(300)
    assert "\n" not in str(error.value)
    assert saved_twice.checkpoints() == ["000000000100", "000000000200"]
    assert saved_twice.segment_files() == before
    assert saved_twice.load().state["frames"] == 200

    saved_twice.save(300)

    assert saved_twice.load().state["frames"] == 300
    assert {name: saved_twice.segment_files()[name] for name in before} == before
    assert len(saved_twice.load().segments) == 9 + more


def test_a_failed_write_promises_no_checkpoint_where_the_folder_is_gone(saved_twice: Run) -> None:
    shutil.rmtree(saved_twice.folder)

    with pytest.raises(CheckpointError, match="mend the folder: there is none before it"):
        saved_twice.save(300)


@contextmanager
def failing(name: str, fails: Callable[..., bool]) -> Iterator[None]:
    """A disk that answers some calls of `os` with an input/output error."""
    real = getattr(os, name)

    def call(*arguments: Any) -> Any:
        if fails(*arguments):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, call)
        yield


def test_a_failure_after_the_checkpoint_is_visible_costs_none_of_its_segments(
    saved_twice: Run,
) -> None:
    folder = saved_twice.folder / "checkpoints"
    saved_twice.fill(range(9, 11))
    with (
        failing("fsync", lambda handle: Path(f"/proc/self/fd/{handle}").readlink() == folder),
        pytest.raises(CheckpointError, match="Input/output error"),
    ):
        saved_twice.save(300)
    assert saved_twice.checkpoints()[-1] == "000000000300"
    before = saved_twice.segment_files()

    saved_twice.fill(range(11, 13))
    saved_twice.save(400)

    assert {name: saved_twice.segment_files()[name] for name in before} == before
    assert len(saved_twice.load().segments) == 13
    flip_a_bit(folder / "000000000400/model.pt")
    checkpoint = saved_twice.load()
    assert checkpoint.state["frames"] == 300
    assert len(checkpoint.segments) == 11


def test_all_is_on_the_disk_before_a_checkpoint_has_its_name(
    saved_twice: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_twice.fill(range(9, 11))
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def fsync(handle: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        sync(handle)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"{path.name} is {Path(target).name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    saved_twice.save(300)

    assert done == [
        "sync 000000000009.seg",
        "sync segments",
        "sync .model.pt",  # hidden until it is whole
        "sync .optimizer.pt",
        "sync .state.json",
        "sync arrays.npz",
        "sync .manifest.json",
        "sync .staging-000000000300",
        ".staging-000000000300 is 000000000300",
        "sync checkpoints",
    ]


def test_a_replacement_that_cannot_be_taken_back_is_one_error_and_loses_nothing(
    saved_twice: Run,
) -> None:
    newest = saved_twice.folder / NEWEST
    with (
        failing("rename", lambda _, target: Path(target) == newest),
        pytest.raises(CheckpointError, match=r"cannot write checkpoint .*Input/output error"),
    ):
        saved_twice.save(200)

    assert saved_twice.load().state["frames"] == 200
    assert len(saved_twice.load().segments) == 9
    saved_twice.save(200)
    assert saved_twice.checkpoints() == ["000000000100", "000000000200"]


def test_a_segment_file_that_is_there_already_is_not_written_to(saved_twice: Run) -> None:
    oldest = saved_twice.folder / "checkpoints/000000000100/manifest.json"
    flip_a_bit(oldest)  # so that nobody can tell which segment files it names
    left = saved_twice.folder / "segments/000000000009.seg"
    left.write_bytes(b"whose?")
    saved_twice.fill(range(9, 11))
    path = saved_twice.save(300)

    names = [
        entry["name"] for entry in json.loads((path / "manifest.json").read_text())["segments"]
    ]
    assert left.name not in names
    assert len(saved_twice.load().segments) == 11
