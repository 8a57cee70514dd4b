"""Checkpoints: everything that an exact resume needs, written so that no crash can spoil the last.

    RUN/checkpoints/<env_frames>/  manifest.json  model.pt  optimizer.pt  state.json  arrays.npz
    RUN/segments/<serial>.seg      the replay's segments, appended once and never rewritten

A checkpoint is staged in a hidden folder, every file is fsynced, the manifest with all hashes comes
last, and a rename makes it visible. Two are kept. Loading verifies every byte before it is used; a
damaged checkpoint is set aside, named in the log, and the previous one is taken. No pickle is read:
tensors by `torch.load(weights_only=True)`, arrays with `allow_pickle=False`, the rest is JSON. What
is compressed is refused: we compress nothing but segments, and a small file must not become a huge
array.
"""

import hashlib
import io
import itertools
import json
import logging
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from relic_rl.errors import UserError
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.segment import Segment, SegmentError

SCHEMA = 2
"""1 held frame stacks apart from the running segments, and no settings."""
KEPT_CHECKPOINTS = 2
MANIFEST_FILE = "manifest.json"
_FILES = {"model.pt", "optimizer.pt", "state.json", "arrays.npz"}
_SEGMENT_LENGTH = struct.Struct("<I")
_ARRAY = "__array__"
_STAGING, _REPLACED, _DAMAGED = ".staging-", ".replaced-", "damaged-"
# All that a reader may raise on bytes that we did not write.
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError),
    zipfile.BadZipFile,
)

_log = logging.getLogger(__name__)


class CheckpointError(UserError):
    """No checkpoint can be loaded, or one could not be written."""


class Checkpoint(NamedTuple):
    """A verified checkpoint, read."""

    path: Path
    model: dict[str, dict[str, torch.Tensor]]
    optimizer: dict[str, dict[str, Any]]
    state: dict[str, Any]
    """What was given to `save`: nested dicts of numbers, text, lists and arrays."""
    segments: list[Segment]
    """At least those that were in the replay."""
    segment_files: list[dict[str, Any]]
    """What the manifest says of the files that they are in."""


class CheckpointStore:
    """The checkpoints and segment files of one run folder.

    Args:
      run_dir: the run folder; the caller holds its lock.
      resumed: the checkpoint that the run continues from: its segments are on the disk already.
    """

    def __init__(self, run_dir: Path, resumed: Checkpoint | None = None) -> None:
        self._checkpoints = run_dir / "checkpoints"
        self._segments = run_dir / "segments"
        # Of the newest checkpoint, oldest first.
        self._segment_files = resumed.segment_files if resumed is not None else []

    def save(
        self,
        *,
        env_frames: int,
        model: dict[str, dict[str, torch.Tensor]],
        optimizer: dict[str, dict[str, Any]],
        state: dict[str, Any],
        replay: ReplayBuffer,
    ) -> Path:
        """Writes a checkpoint and removes what none of the kept ones needs.

        Args:
          env_frames: names the checkpoint.
          model: state dicts of the networks.
          optimizer: state dicts of the optimizers.
          state: nested dicts of numbers, text, lists and arrays; the replay's index is added.
          replay: its new segments are appended.

        Raises:
          CheckpointError: the disk is full or the folder cannot be written; the previous
            checkpoint is untouched.
        """
        final = self._checkpoints / f"{env_frames:012d}"
        staging = final.with_name(f"{_STAGING}{final.name}")
        replaced = final.with_name(f"{_REPLACED}{final.name}")
        try:
            self._checkpoints.mkdir(exist_ok=True)
            self._segments.mkdir(exist_ok=True)
            self._clear_leftovers()
            staging.mkdir()
            replay_state, fresh = replay.snapshot(self._next_serial())
            first = replay.next_serial - len(fresh)
            segment_files = self._append_segments(fresh, first, replay.oldest_serial)
            _write_files(staging, model, optimizer, {**state, "replay": replay_state})
            _write_manifest(staging, segment_files)
            if final.exists():  # the same moment again: at a run's end
                final.rename(replaced)
            staging.rename(final)
            self._segment_files = segment_files  # whatever fails from here on, it is visible
            _sync_folder(self._checkpoints)
            shutil.rmtree(replaced, ignore_errors=True)
        except OSError as error:
            with suppress(OSError):  # what cannot be taken back may still name segment files
                self._clear_leftovers()
                self._remove_unneeded_segments()
            raise CheckpointError(
                f"cannot write checkpoint {final}: {error.strerror or error}; free some space "
                "or mend the folder: the previous checkpoint is intact"
            ) from error
        self._prune()
        return final

    def load(self, *, read_only: bool = False) -> Checkpoint:
        """Reads the newest sound checkpoint; damaged newer ones are logged and set aside.

        Args:
          read_only: change nothing in the folder, because a run may own it, and leave the replay's
            segments unread: for evaluation.

        Raises:
          CheckpointError: there is none.
        """
        if not read_only:
            self._clear_leftovers()
        damage: dict[Path, str] = {}
        for path in reversed(self._all()):
            try:
                checkpoint = self._read(path, with_segments=not read_only)
            except _DAMAGE as error:
                damage[path] = " ".join(str(error).split())
                continue
            for damaged, problem in damage.items():
                _log.warning(
                    "damaged checkpoint %s: %s; %s is used instead",
                    *(damaged.name, problem, path.name),
                )
                if not read_only:
                    _set_aside(damaged)
            if not read_only:
                self._segment_files = checkpoint.segment_files
                self._prune()
            return checkpoint
        raise CheckpointError(
            f"{self._checkpoints} holds no sound checkpoint"
            + "".join(f" ({path.name}: {problem})" for path, problem in [*damage.items()][:1])
            + ": start a new run in another folder"
        )

    @property
    def is_empty(self) -> bool:
        """Whether none was ever finished: a run that ended before its first has lost nothing."""
        return not any(
            path.name.removeprefix(_DAMAGED).removeprefix(_REPLACED).isdigit()
            for path in _entries(self._checkpoints)
        )

    def _all(self) -> list[Path]:
        return sorted(path for path in _entries(self._checkpoints) if path.name.isdigit())

    def _clear_leftovers(self) -> None:
        """Removes what a crash or a full disk left half done, or takes it back."""
        for path in _entries(self._checkpoints):
            if path.name.startswith(_STAGING):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(_REPLACED):
                final = path.with_name(path.name.removeprefix(_REPLACED))
                if final.exists():
                    shutil.rmtree(path, ignore_errors=True)
                else:  # between the two renames
                    path.rename(final)

    def _next_serial(self) -> int:
        if not self._segment_files:
            return 0
        last = self._segment_files[-1]
        return int(last["first_serial"]) + int(last["count"])

    def _append_segments(
        self, fresh: list[Segment], first: int, oldest: int
    ) -> list[dict[str, Any]]:
        kept = [f for f in self._segment_files if f["first_serial"] + f["count"] > oldest]
        if not fresh:
            return kept
        path = self._unused_file(first)
        digest = hashlib.sha256()
        with path.open("xb") as file:
            for segment in fresh:
                data = segment.data
                for part in (_SEGMENT_LENGTH.pack(len(data)), data):
                    digest.update(part)
                    file.write(part)
            _sync_file(file)
        _sync_folder(self._segments)
        entry = {
            "name": path.name,
            "first_serial": first,
            "count": len(fresh),
            "sha256": digest.hexdigest(),
        }
        return [*kept, entry]

    def _unused_file(self, first: int) -> Path:
        """A segment file that no checkpoint can name: what a failed save left is passed over."""
        path = self._segments / f"{first:012d}.seg"
        for attempt in itertools.count(1):
            if not path.exists():
                break
            path = path.with_name(f"{first:012d}-{attempt}.seg")
        return path

    def _read(self, path: Path, *, with_segments: bool) -> Checkpoint:
        manifest = _read_manifest(path)
        if manifest["files"].keys() != _FILES:
            raise ValueError(f"{MANIFEST_FILE} names other files than {', '.join(sorted(_FILES))}")
        for name, sha256 in manifest["files"].items():
            if _hash(path / name) != sha256:
                raise ValueError(f"{name} does not match its hash")
        segments: list[Segment] = []
        for entry in manifest["segments"] if with_segments else []:
            segments += _read_segments(self._segments / Path(entry["name"]).name, entry["sha256"])
        for name in ("arrays.npz", "model.pt", "optimizer.pt"):
            _expect_uncompressed(path / name)
        with np.load(path / "arrays.npz", allow_pickle=False) as arrays:
            state = _joined(json.loads((path / "state.json").read_text()), dict(arrays))
        return Checkpoint(
            path=path,
            model=_load_tensors(path / "model.pt"),
            optimizer=_load_tensors(path / "optimizer.pt"),
            state=state,
            segments=segments,
            segment_files=manifest["segments"],
        )

    def _prune(self) -> None:
        for path in self._all()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(path, ignore_errors=True)
        self._remove_unneeded_segments()

    def _remove_unneeded_segments(self) -> None:
        """Removes segment files that no checkpoint names."""
        needed = set()
        for path in self._all():
            try:
                needed |= {entry["name"] for entry in _read_manifest(path)["segments"]}
            except _DAMAGE as error:
                _log.warning("checkpoint %s: %s; segment files are kept", path.name, error)
                return
        for path in self._segments.glob("*.seg"):
            if path.name not in needed:
                with suppress(OSError):
                    path.unlink()


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _set_aside(path: Path) -> None:
    aside = path.with_name(f"{_DAMAGED}{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)


def _expect_uncompressed(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
            raise ValueError(f"{path.name} is compressed, which ours never are")


def _write_files(
    folder: Path, model: dict[str, Any], optimizer: dict[str, Any], state: dict[str, Any]
) -> None:
    for name, tensors in (("model.pt", model), ("optimizer.pt", optimizer)):
        content = io.BytesIO()  # torch says RuntimeError, not OSError, where the disk is full
        torch.save(tensors, content)
        with (folder / name).open("wb") as file:
            file.write(content.getbuffer())
            _sync_file(file)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    text = json.dumps(_split(state, arrays))
    with (folder / "state.json").open("w", encoding="utf-8") as file:
        file.write(text)
        _sync_file(file)
    with (folder / "arrays.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        _sync_file(file)


def _write_manifest(folder: Path, segment_files: list[dict[str, Any]]) -> None:
    files = {path.name: _hash(path) for path in sorted(folder.iterdir())}
    body = {"schema": SCHEMA, "files": files, "segments": segment_files}
    document = {**body, "sha256": _hash_of(body)}
    with (folder / MANIFEST_FILE).open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        _sync_file(file)
    _sync_folder(folder)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{MANIFEST_FILE} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{MANIFEST_FILE} is not of schema {SCHEMA}")
    if document.pop("sha256", None) != _hash_of(document):
        raise ValueError(f"{MANIFEST_FILE} does not match its hash")
    return document


def _read_segments(path: Path, sha256: str) -> Iterator[Segment]:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"segment file {path.name} does not match its hash")
    at = 0
    while at < len(data):
        try:
            (length,) = _SEGMENT_LENGTH.unpack_from(data, at)
            at += _SEGMENT_LENGTH.size
            yield Segment.from_bytes(data[at : at + length])
        except (struct.error, SegmentError) as error:
            raise ValueError(f"segment file {path.name}: {error}") from error
        at += length


def _load_tensors(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # its reader raises pickle's errors, struct's and its own
        raise ValueError(f"{path.name} holds no plain tensors: {type(error).__name__}") from error


def _split(tree: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The tree as JSON can hold it; its arrays go into `arrays`, a reference stays."""
    if isinstance(tree, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = tree
        return {_ARRAY: name}
    if isinstance(tree, dict):
        return {str(key): _split(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_split(value, arrays) for value in tree]
    return tree.item() if isinstance(tree, np.generic) else tree


def _joined(tree: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(tree, dict):
        if tree.keys() == {_ARRAY}:
            return arrays[tree[_ARRAY]]
        return {key: _joined(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_joined(value, arrays) for value in tree]
    return tree


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _sync_file(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
