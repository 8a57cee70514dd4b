"""Hostile files and names: refused in one line, nothing executed, nothing written outside."""

import io
import pickle
import resource
import shutil
import struct
import tomllib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relic_rl import cli
from relic_rl.config import SECTIONS, field_types
from relic_rl.replay.segment import MAX_DECODED_BYTES, Segment, SegmentError

pytestmark = pytest.mark.slow

RunHere = Callable[..., tuple[int, str]]
Bomb = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the toy task, with one checkpoint."""
    run = tmp_path_factory.mktemp("hostile") / "sound"
    arguments = ("train", "toy_memory", "--preset", "smoke", "--frames", "1600")
    assert cli.main([*arguments, "--run.threads", "1", "--run-dir", str(run)]) == 0
    return run


@pytest.fixture
def run_here(
    run_here: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunHere:
    """Runs a command line in `tmp_path`/here: its status, and all that it said."""
    here = tmp_path / "here"
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)

    def run(*arguments: str) -> tuple[int, str]:
        status, out, err = run_here(*arguments)
        return status, out + err

    return run


def digest(folder: Path) -> dict[str, Any]:
    """Everything below a folder: kind, size, time and target."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_size,
            path.lstat().st_mtime_ns if not path.is_dir() else 0,
            path.readlink() if path.is_symlink() else None,
        )
        for path in folder.rglob("*")
    }


def is_one_line(text: str) -> bool:
    return text.startswith("relic-rl: ") and text.endswith("\n") and text.count("\n") == 1


# --- checkpoints ----------------------------------------------------------------------------------


def bombs(bomb: Bomb, mark: Path) -> Iterator[tuple[str, str, bytes]]:
    """(how, file of the checkpoint, its content)."""
    plain = pickle.dumps(bomb(mark), protocol=2)
    saved, packed = io.BytesIO(), io.BytesIO()
    torch.save({"online": {"weight": bomb(mark)}}, saved)
    np.savez(packed, allow_pickle=True, a0=np.array([bomb(mark)], dtype=object))
    for name in ("model.pt", "optimizer.pt", "arrays.npz", "state.json"):
        yield "a pickle", name, plain
    for name in ("model.pt", "optimizer.pt"):
        yield "a pickle saved by torch", name, saved.getvalue()
    yield "a pickle saved by numpy", "arrays.npz", packed.getvalue()
    huge = io.BytesIO()
    np.savez_compressed(huge, a0=np.zeros(2**28, np.uint8))
    yield "a 256 MiB array in 256 KiB", "arrays.npz", huge.getvalue()
    yield "nested JSON", "state.json", b"[" * 100_000


def test_bombs_as_checkpoint_files_are_refused_and_execute_nothing(
    sound: Path,
    forge: Callable[[Path], None],
    bomb: Bomb,
    tmp_path: Path,
    run_here: RunHere,
) -> None:
    mark = tmp_path / "exploded"
    refused = 0
    found = list(bombs(bomb, mark))
    for _, name, content in found:
        run = tmp_path / "here/run"
        shutil.copytree(sound, run)
        (checkpoint,) = (run / "checkpoints").iterdir()
        (checkpoint / name).write_bytes(content)
        forge(checkpoint)
        before = digest(checkpoint)
        for verb in ("resume", "evaluate"):
            status, text = run_here(verb, "run")
            assert (status, is_one_line(text)) == (1, True), (name, text)
        refused += 1
        assert digest(checkpoint) == before
        shutil.rmtree(run)

    assert not mark.exists()
    pickle.loads(pickle.dumps(bomb(mark)))  # it is a live one
    assert mark.exists()
    print(f"bombs as checkpoint files: {refused} of {len(found)} refused in one line, 0 executed")


WINDOW = "a window of 2 GiB"


def segment_bombs(data: bytes) -> Iterator[tuple[str, bytes]]:
    """A sound segment's bytes with other frames: (what is wrong, wire form, checksum right)."""
    header = struct.Struct("<4sHBB HHHh II 5qq fff")
    fields = list(header.unpack_from(data))
    compressed = fields[9]
    middle = data[header.size : len(data) - 4 - compressed]
    frames = fields[3] + fields[4] + bool(fields[2])
    size = frames * fields[5] * fields[6]

    def wire(content: bytes, **changed: int) -> bytes:
        new = list(fields)
        new[9] = len(content)
        for name, value in changed.items():
            new[{"height": 5, "width": 6}[name]] = value
        body = header.pack(*new) + middle + content
        return body + struct.pack("<I", zlib.crc32(body))

    zeros = bytes(2**20)
    unsized = zstandard.ZstdCompressor(level=19, write_content_size=False).compressobj()
    endless = b"".join([*(unsized.compress(zeros) for _ in range(1024)), unsized.flush()])
    yield "1 GiB that it does not announce", wire(endless)
    sized = zstandard.ZstdCompressor(level=19).compressobj(size=2**30)
    announced = b"".join([*(sized.compress(zeros) for _ in range(1024)), sized.flush()])
    yield "1 GiB that it announces", wire(announced)
    yield "1 GiB, and frames as large in its header", wire(announced, height=32768, width=32767)
    # Frame header: magic, descriptor (8-byte size, no single segment), window of 2 GiB, the size.
    lying = struct.pack("<IBBQ", 0xFD2FB528, 0xC0, 21 << 3, size)
    block = struct.pack("<I", 1 | 1 << 1 | size << 3)[:3] + b"\0"  # one byte, repeated
    yield WINDOW, wire(lying + block)


def test_zstd_bombs_as_segments_are_refused_without_the_memory_they_ask_for(
    sound: Path, forge: Callable[[Path], None], tmp_path: Path, run_here: RunHere
) -> None:
    (file,) = (sound / "segments").iterdir()
    whole = file.read_bytes()
    (length,) = struct.unpack_from("<I", whole)
    found = list(segment_bombs(whole[4 : 4 + length]))
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for what, data in found:
        with pytest.raises(SegmentError):
            Segment.from_bytes(data).decode_frames(1)
        if what == WINDOW:  # harmless until a part of it is asked for
            continue
        run = tmp_path / "here/run"
        shutil.copytree(sound, run)
        (run / "segments" / file.name).write_bytes(struct.pack("<I", len(data)) + data)
        (checkpoint,) = (run / "checkpoints").iterdir()
        forge(checkpoint)
        status, text = run_here("resume", "run", "--frames", "4000")
        assert (status, is_one_line(text)) == (1, True), (what, text)
        shutil.rmtree(run)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before) / 1024

    print(
        f"zstd bombs as segments: {len(found)} of {len(found)} refused in one line; peak memory "
        f"grew by {grown:.0f} MiB"
    )
    assert grown < MAX_DECODED_BYTES / 2**20 + 16


# --- names and links ------------------------------------------------------------------------------

NAMES = (
    *("../out", "a/../../out", "..", "../../../../../../tmp/out", "x" * 300, "a/" + "y" * 300),
    *(".hidden", "a b", "a\nb", "a;b", "$(touch out)", "a\\b", "ä", "*", "~", "-"),
)


@pytest.mark.parametrize("kind", ["run", "sweep", "game", "resumed"])
def test_names_cannot_leave_their_folder(tmp_path: Path, run_here: RunHere, kind: str) -> None:
    small = ("--preset", "smoke", "--frames", "400")
    before = digest(tmp_path)
    for name in NAMES:
        arguments = {
            "run": ("train", "toy_memory", *small, f"--run-dir={name}"),
            "sweep": ("sweep", name, "--games", "pong", *small),
            "game": ("train", name, *small, "--run-dir", "run"),
            "resumed": ("resume", name),
        }[kind]
        status, text = run_here(*arguments)
        assert status in (1, 2), (name, text)
        assert is_one_line(text), (name, text)
        assert digest(tmp_path) == before, name

    print(f"names of a {kind}: {len(NAMES)} of {len(NAMES)} refused in one line, nothing written")


def test_a_symbolic_link_as_run_folder_or_inside_one_is_refused(
    sound: Path, tmp_path: Path, run_here: RunHere
) -> None:
    here, outside = tmp_path / "here", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    shutil.copytree(sound, here / "real")
    (here / "link").symlink_to(here / "real")
    (here / "dangling").symlink_to(outside / "made")
    (here / "empty").symlink_to(outside)
    before = digest(tmp_path)
    small = ("--preset", "smoke", "--frames", "400")
    refused = [
        run_here(*arguments)
        for arguments in (
            ("resume", "link"),
            ("train", "toy_memory", "--run-dir", "empty", *small),
            ("train", "toy_memory", "--run-dir", "dangling", *small),
            ("sweep", "empty", "--games", "pong", *small),
        )
    ]
    assert digest(tmp_path) == before
    for name in ("checkpoints", "segments", "lock", "metrics.jsonl", "config.toml", "log.txt"):
        run = here / "run"
        shutil.copytree(sound, run)
        moved = outside / name
        (run / name).rename(moved)
        (run / name).symlink_to(moved)
        before = digest(tmp_path)
        refused.append(run_here("resume", "run", "--frames", "3200"))
        assert digest(tmp_path) == before
        shutil.rmtree(run)

    print(f"symbolic links: {len(refused)} of {len(refused)} refused in one line")
    for status, text in refused:
        assert (status, is_one_line(text)) == (1, True), text
        assert "symbolic link" in text


# --- configurations -------------------------------------------------------------------------------

odd_values = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    *(st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers())),
    *(st.dates(), st.just(10**400), st.just("x" * 300), st.just("../../etc/passwd")),
).filter(lambda value: value is not None)
odd_names = st.one_of(
    st.text(min_size=1, max_size=30), st.sampled_from(["lerning_rate", "__class__", "../x"])
)


@st.composite
def changes(draw: Any) -> tuple[str, str, str, Any]:
    """(what is done, section, field, value) to a document that was right."""
    section = draw(st.sampled_from(sorted(SECTIONS)))
    fields = [name for name in field_types() if name.startswith(f"{section}.")]
    field = draw(st.sampled_from(fields)).partition(".")[2]
    kind = draw(st.sampled_from(["unknown", "missing", "mistyped", "section", "flat"]))
    return kind, section, draw(odd_names) if kind == "unknown" else field, draw(odd_values)


def harmed(document: dict[str, Any], change: tuple[str, str, str, Any]) -> dict[str, Any]:
    kind, section, field, value = change
    new = {key: dict(v) if isinstance(v, dict) else v for key, v in document.items()}
    if kind in ("unknown", "mistyped"):
        new[section][field] = value
    elif kind == "missing":
        del new[section][field]
    elif kind == "section":
        new[f"{section}s"] = new.pop(section)
    else:
        new[section] = value
    return new


def test_configurations_with_unknown_missing_or_mistyped_keys_are_refused(
    sound: Path, tmp_path: Path, run_here: RunHere
) -> None:
    run = tmp_path / "here/run"
    shutil.copytree(sound, run)
    config = run / "config.toml"
    text = config.read_text()
    document = tomllib.loads(text)
    kinds: dict[str, int] = {}

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(changes())
    def is_refused(change: tuple[str, str, str, Any]) -> None:
        new = harmed(document, change)
        kind, section, field, value = change
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_budget = (kind, section) == ("mistyped", "run") and field in ("frames", "minutes")
        if new == document or (is_budget and is_number):  # a right number, and free to change
            return
        try:
            config.write_text(tomli_w.dumps(new), encoding="utf-8")
        except (TypeError, ValueError, UnicodeEncodeError):  # no TOML: not a file anybody can give
            return
        before = digest(run)
        status, said = run_here("resume", "run", "--frames", "2000")
        assert (status, is_one_line(said)) == (2, True), (change, said)
        # As a preset, which holds what differs from the defaults, it may be right.
        status, said = run_here("config", "toy_memory", "--preset", "run/config.toml")
        assert status == 0 or (status, is_one_line(said)) == (2, True), (change, said)
        assert digest(run).keys() == before.keys()
        kinds[change[0]] = kinds.get(change[0], 0) + 1

    is_refused()
    config.write_text(text)
    (run / "lock").unlink()

    print(
        f"configurations: {sum(kinds.values())} of {sum(kinds.values())} refused in one line "
        f"({', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))})"
    )
    assert run_here("resume", "run", "--frames", "2000")[0] == 0
    assert min(kinds.values()) >= 10


TOP = ("game", "seed", "preset")


@st.composite
def top_changes(draw: Any) -> tuple[str, str, Any]:
    """(what is done, top-level key, value) to a document that was right."""
    kind = draw(st.sampled_from(["unknown", "missing", "mistyped"]))
    name = draw(odd_names.filter(lambda name: name not in (*TOP, *SECTIONS)))
    key = name if kind == "unknown" else draw(st.sampled_from(TOP))
    return kind, key, draw(odd_values)


def top_harmed(document: dict[str, Any], change: tuple[str, str, Any]) -> dict[str, Any]:
    kind, key, value = change
    rest = {name: entry for name, entry in document.items() if name != key}
    return rest if kind == "missing" else {key: value, **rest}


def test_a_game_or_seed_that_is_missing_or_mistyped_is_refused_and_no_top_level_key_is_a_traceback(
    sound: Path, tmp_path: Path, run_here: RunHere
) -> None:
    run = tmp_path / "here/run"
    shutil.copytree(sound, run)
    config = run / "config.toml"
    document = tomllib.loads(config.read_text())
    counts = {"refused": 0, "not needed": 0}

    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(top_changes())
    @example(("missing", "game", 0))
    @example(("missing", "seed", 0))
    @example(("missing", "preset", 0))
    @example(("mistyped", "game", 3))
    @example(("mistyped", "game", "pogn"))
    @example(("mistyped", "game", []))
    @example(("mistyped", "game", {"name": "Pong"}))
    @example(("mistyped", "seed", "x"))
    @example(("mistyped", "seed", "0"))
    @example(("mistyped", "seed", 0.5))
    @example(("mistyped", "seed", False))
    @example(("mistyped", "seed", -1))
    @example(("mistyped", "seed", [0]))
    @example(("unknown", "config", 1))  # the name of an argument
    def is_one_line_or_harmless(change: tuple[str, str, Any]) -> None:
        new = top_harmed(document, change)
        _, key, value = change
        try:
            text = tomli_w.dumps(new)
        except (TypeError, ValueError):  # no TOML: not a file anybody can give
            return
        if (type(document.get(key)), document.get(key)) == (type(value), value):
            return
        for verb, needed in (("resume", ("game", "seed")), ("evaluate", ("game",))):
            config.write_text(text, encoding="utf-8", errors="replace")
            status, said = run_here(verb, "run")
            if key in needed or status:
                assert status in (1, 2), (verb, change, said)
                assert is_one_line(said), (verb, change, said)
            counts["refused" if status else "not needed"] += 1

    is_one_line_or_harmless()

    print(
        f"top-level keys: {counts['refused']} refused in one line, {counts['not needed']} without "
        "effect, no traceback"
    )
    assert counts["refused"] >= 100


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"\0" * 100, b"[" * 100_000, b"a = 1" + b"0" * 10_000, b"a = " + b"[" * 10_000],
)
def test_a_configuration_that_is_no_toml_is_refused(
    sound: Path, tmp_path: Path, run_here: RunHere, content: bytes
) -> None:
    run = tmp_path / "here/run"
    shutil.copytree(sound, run)
    (run / "config.toml").write_bytes(content)
    for arguments in (("resume", "run"), ("config", "--preset", "run/config.toml")):
        status, text = run_here(*arguments)

        assert (status, is_one_line(text)) == (2, True), text
        assert len(text) < 1000
