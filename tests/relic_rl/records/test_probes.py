"""The record of probes: written, read, probed again, damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relic_rl.errors import UserError
from relic_rl.records.probes import (
    PROBES_FILE,
    Probing,
    append_probing,
    drop_later_probings,
    read_probings,
)

MakeProbing = Callable[..., Probing]


def test_what_was_written_is_read_by_frames_and_the_last_of_a_checkpoint_counts(
    tmp_path: Path,
    make_probing: MakeProbing,
) -> None:
    late, early, again = make_probing(env_frames=8000), make_probing(), make_probing(seed=1)
    for one in (late, early, again):
        append_probing(tmp_path, one)

    assert read_probings(tmp_path) == [again, late]


def test_a_run_that_nobody_probed_has_none(tmp_path: Path) -> None:
    assert read_probings(tmp_path) == []


@pytest.mark.parametrize("text", ['{"game": "Po\n', "[]\n", '{"game": "Pong"}\n', "3\n"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / PROBES_FILE).write_text(text)

    with pytest.raises(UserError, match=rf"{PROBES_FILE} is damaged"):
        read_probings(tmp_path)


def test_half_a_last_line_is_no_line_and_does_not_spoil_the_next(
    tmp_path: Path, make_probing: MakeProbing
) -> None:
    append_probing(tmp_path, make_probing())
    with (tmp_path / PROBES_FILE).open("ab") as file:
        file.write(b'{"game": "Po')

    assert read_probings(tmp_path) == [make_probing()]
    append_probing(tmp_path, make_probing(env_frames=8000))
    assert read_probings(tmp_path) == [make_probing(), make_probing(env_frames=8000)]


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, make_probing: MakeProbing
) -> None:
    (tmp_path / PROBES_FILE).mkdir()

    with pytest.raises(UserError, match=rf"cannot write .*{PROBES_FILE}"):
        append_probing(tmp_path, make_probing())


def test_a_line_that_the_disk_has_no_room_for_leaves_the_file_as_it_was(
    tmp_path: Path, make_probing: MakeProbing, files_limited_to: Any
) -> None:
    append_probing(tmp_path, make_probing())
    size = (tmp_path / PROBES_FILE).stat().st_size
    with (
        files_limited_to(size + 10),
        pytest.raises(UserError, match=rf"cannot write .*{PROBES_FILE}"),
    ):
        append_probing(tmp_path, make_probing(env_frames=8000))
    append_probing(tmp_path, make_probing(env_frames=9000))

    assert read_probings(tmp_path) == [make_probing(), make_probing(env_frames=9000)]


def test_what_is_later_is_dropped_and_a_damaged_line_is_left_to_its_reader(
    tmp_path: Path, make_probing: MakeProbing
) -> None:
    assert drop_later_probings(tmp_path, 0) == 0  # there is none
    for env_frames in (4000, 8000, 12000):
        append_probing(tmp_path, make_probing(env_frames=env_frames))
    assert drop_later_probings(tmp_path, 8000) == 12000
    assert drop_later_probings(tmp_path, 8000) == 8000
    assert [one.env_frames for one in read_probings(tmp_path)] == [4000, 8000]

    with (tmp_path / PROBES_FILE).open("ab") as file:
        file.write(b"{\n\xff\n")
    drop_later_probings(tmp_path, 4000)
    assert len((tmp_path / PROBES_FILE).read_bytes().splitlines()) == 3
    with pytest.raises(UserError, match="damaged"):
        read_probings(tmp_path)
