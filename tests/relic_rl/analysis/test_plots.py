from collections.abc import Callable
from pathlib import Path

import numpy as np

from relic_rl.analysis.plot_style import COLOURS
from relic_rl.analysis.plots import aggregate_curves, learning_grid, profile, score_bars
from relic_rl.analysis.runs import Series, read_run
from relic_rl.analysis.scores import Estimate


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


def test_the_grid_draws_an_unfinished_run_but_keeps_it_out_of_the_mean_over_seeds(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    scores = ((0.0, 10.0), (0.0, 20.0), (0.0, -20.0))
    a, b, unfinished = (
        read_run(write_run(tmp_path / f"pong-{seed}", seed=seed, scores=scores[seed]))
        for seed in range(3)
    )

    (axis,) = learning_grid([Series("runs", (a, b), (), (unfinished,))]).axes

    ends = [line.get_ydata()[-1] for line in axis.lines if list(line.get_xdata()) == [4000, 8000]]
    assert sorted(ends) == [-20.0, 10.0, 15.0, 20.0]


def test_every_picture_shows_all_series_however_many_there_are(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    run = read_run(write_run(tmp_path / "pong"))
    labels = [f"arm {number}" for number in range(len(COLOURS) + 2)]
    series = [Series(label, (run,), ()) for label in labels]
    thresholds = np.array([0.0, 1.0])

    figures = {
        "bars": score_bars({label: {"Pong": 3.0} for label in labels}, {}),
        "curves": learning_grid(series),
        "profile": profile(
            thresholds, {label: Estimate(np.array([1.0, 0.5]), None, None) for label in labels}, {}
        ),
        "aggregates": aggregate_curves(series, {}),
    }

    for name, figure in figures.items():
        (legend,) = figure.legends
        shown = " ".join(text.get_text() for text in legend.get_texts())
        assert all(label in shown for label in labels), name
