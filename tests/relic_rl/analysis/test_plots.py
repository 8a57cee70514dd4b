from collections.abc import Callable
from pathlib import Path

from relic_rl.analysis.plots import learning_grid
from relic_rl.analysis.runs import Series, read_run


def test_the_grid_of_curves_shows_the_longest_run_to_its_end(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    runs = [
        read_run(write_run(tmp_path / "pong", game="Pong", frames=9_000_000)),
        read_run(write_run(tmp_path / "boxing", game="Boxing", frames=8000, scores=(1.0, 9.0))),
    ]

    figure = learning_grid([Series("runs", tuple(runs), ())])

    left, right = figure.axes[0].get_xlim()
    assert left == 0
    assert 9_000_000 <= right < 11_000_000
