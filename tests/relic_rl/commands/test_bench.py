import json
from pathlib import Path

import pytest

from relic_rl.bench import run as measuring
from relic_rl.commands import bench


def test_what_was_measured_is_in_the_file_when_a_later_part_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> dict[str, float]:
        raise RuntimeError("out of everything")

    monkeypatch.setattr(measuring, "PARTS", {"first": lambda _: {"rate": 2.5}, "second": fails})
    file = tmp_path / "bench.json"
    with pytest.raises(RuntimeError, match="out of everything"):
        bench.run(settings={}, json_file=file)

    assert json.loads(file.read_text())["first"] == {"rate": 2.5}
