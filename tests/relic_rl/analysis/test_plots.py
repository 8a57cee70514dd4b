from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

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


def test_the_grid_shows_training_where_runs_were_evaluated_at_their_end_alone(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    arms = [
        Series(label, (read_run(write_run(tmp_path / label, scores=scores)),), ())
        for label, scores in (("none", (3.0,)), ("relic", (4.0,)))
    ]
    on_the_way = Series("long", (read_run(write_run(tmp_path / "long", scores=(1.0, 2.0))),), ())

    def long_lines(series: list[Series]) -> int:
        (axis,) = learning_grid(series).axes
        return sum(len(line.get_xdata()) > 2 for line in axis.lines)

    assert len(arms[0].runs[0].episodes.frames) > 2
    assert long_lines(arms) == 2
    assert long_lines([*arms, on_the_way]) == 0


def test_the_aggregates_of_runs_evaluated_at_their_end_alone_are_a_point(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    ends = {"Pong": (6000, 14.6), "Breakout": (8000, 1.7)}  # human, and random play
    runs = tuple(
        read_run(write_run(tmp_path / game, game=game, frames=frames, scores=(score,)))
        for game, (frames, score) in ends.items()
    )

    for axis in aggregate_curves([Series("runs", runs, ())], {}).axes:
        (line,) = axis.lines
        assert (list(line.get_xdata()), list(line.get_ydata())) == ([8000.0], [50.0])


@pytest.mark.parametrize("arms", [2, 8])
def test_the_grids_legend_fits_into_a_narrow_picture(
    tmp_path: Path, write_run: Callable[..., Path], arms: int
) -> None:
    run = read_run(write_run(tmp_path / "pong"))
    figure = learning_grid([Series(f"arm=augmentation{i}", (run,), ()) for i in range(arms)])
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    inside, whole = legend.get_window_extent(), figure.bbox

    assert whole.x0 <= inside.x0 < inside.x1 <= whole.x1
    label = figure._supxlabel.get_window_extent()
    assert whole.x0 <= label.x0 < label.x1 <= whole.x1
    assert figure.axes[0].get_window_extent().height > 0.6 * figure.dpi  # room for a curve


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
