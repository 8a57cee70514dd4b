"""The files of a checkpoint: written whole, and read only as far as their hashes say.

    manifest.json   hashes of the others, and of the segment files that the replay needs
    model.pt  optimizer.pt   state dicts
    state.json  arrays.npz   everything else: nested dicts of numbers and text; their arrays

No pickle is read: tensors by `torch.load(weights_only=True)`, arrays with `allow_pickle=False`, the
rest is JSON. What is compressed is refused: we compress nothing but segments, and a small file must
not become a huge array.
"""

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from relic_rl.errors import is_out_of_memory
from relic_rl.records.folders import write_whole
from relic_rl.replay.segment import Segment, SegmentError

SCHEMA = 2
"""1 held frame stacks apart from the running segments, and no settings."""
MANIFEST_FILE = "manifest.json"
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    zipfile.BadZipFile,
)
"""All that a reader may raise over bytes that nobody of ours wrote."""
_FILES = {"model.pt", "optimizer.pt", "state.json", "arrays.npz"}
_SEGMENT_LENGTH = struct.Struct("<I")
_ARRAY = "__array__"


class Contents(NamedTuple):
    """What a checkpoint's own files hold."""

    model: dict[str, dict[str, torch.Tensor]]
    optimizer: dict[str, dict[str, Any]]
    state: dict[str, Any]
    """Nested dicts of numbers, text, lists and arrays."""
    segment_files: list[dict[str, Any]]
    """What `write_segments` returned of every segment file that it needs."""


def write(folder: Path, contents: Contents) -> None:
    """Writes a checkpoint's files into an empty folder, the manifest last.

    Raises:
      OSError: the disk is full, or the folder cannot be written.
    """
    for name, tensors in (("model.pt", contents.model), ("optimizer.pt", contents.optimizer)):
        content = io.BytesIO()  # torch says RuntimeError, not OSError, where the disk is full
        torch.save(tensors, content)
        write_whole(folder / name, content.getbuffer())
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    write_whole(folder / "state.json", json.dumps(_split(contents.state, arrays)))
    with (folder / "arrays.npz").open("wb") as file:  # as large as a replay's open segments
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    files = {path.name: _hash(path) for path in sorted(folder.iterdir())}
    body = {"schema": SCHEMA, "files": files, "segments": contents.segment_files}
    document = {**body, "sha256": hash_of(body)}
    write_whole(folder / MANIFEST_FILE, json.dumps(document, indent=1))
    sync_folder(folder)


def read(folder: Path) -> Contents:
    """Reads a checkpoint's files, every byte of them checked.

    Raises:
      DAMAGE: they are not as `write` left them.
    """
    manifest = read_manifest(folder)
    if manifest["files"].keys() != _FILES:
        raise ValueError(f"{MANIFEST_FILE} names other files than {', '.join(sorted(_FILES))}")
    for name, sha256 in manifest["files"].items():
        if _hash(folder / name) != sha256:
            raise ValueError(f"{name} does not match its hash")
    for name in ("arrays.npz", "model.pt", "optimizer.pt"):
        _expect_uncompressed(folder / name)
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        state = _joined(json.loads((folder / "state.json").read_text()), dict(arrays))
    return Contents(
        model=_load_tensors(folder / "model.pt"),
        optimizer=_load_tensors(folder / "optimizer.pt"),
        state=state,
        segment_files=manifest["segments"],
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest: `files` by name to hash, and `segments`, the files that it needs.

    Raises:
      DAMAGE: it is not as `write` left it.
    """
    try:
        document = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{MANIFEST_FILE} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{MANIFEST_FILE} is not of schema {SCHEMA}")
    if document.pop("sha256", None) != hash_of(document):
        raise ValueError(f"{MANIFEST_FILE} does not match its hash")
    return document


def write_segments(path: Path, segments: Sequence[Segment], first_serial: int) -> dict[str, Any]:
    """Writes a new segment file; returns what a manifest says of it.

    Raises:
      OSError: the disk is full, or the folder cannot be written.
    """
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for segment in segments:
            for part in (_SEGMENT_LENGTH.pack(len(segment.data)), segment.data):
                digest.update(part)
                file.write(part)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return {
        "name": path.name,
        "first_serial": first_serial,
        "count": len(segments),
        "sha256": digest.hexdigest(),
    }


def read_segments(folder: Path, entry: dict[str, Any], oldest_serial: int) -> Iterator[Segment]:
    """Reads a segment file that a manifest names, one segment after the other.

    Args:
      folder: that it is in.
      entry: what the manifest says of it.
      oldest_serial: of those that are wanted.

    Raises:
      DAMAGE: it is not as `write_segments` left it.
    """
    path = folder / Path(entry["name"]).name
    if _hash(path) != entry["sha256"]:
        raise ValueError(f"segment file {path.name} does not match its hash")
    with path.open("rb") as file:
        for serial in range(entry["first_serial"], entry["first_serial"] + entry["count"]):
            try:
                (length,) = _SEGMENT_LENGTH.unpack(file.read(_SEGMENT_LENGTH.size))
                data = file.read(length)
                if serial >= oldest_serial:
                    yield Segment.from_bytes(data)
            except (struct.error, SegmentError) as error:
                raise ValueError(f"segment file {path.name}: {error}") from error


def sync_folder(path: Path) -> None:
    """Puts the names in a folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _expect_uncompressed(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
            raise ValueError(f"{path.name} is compressed, which ours never are")


def _load_tensors(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its reader raises pickle's errors, struct's and its own
        if is_out_of_memory(error) or isinstance(error, OSError):  # the file may be sound
            raise
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


def hash_of(document: Any) -> str:
    """Of what JSON can hold, in whatever order its keys come."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
