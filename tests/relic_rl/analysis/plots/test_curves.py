from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from envs.games import ATARI57
from relic_rl.analysis.plots.curves import aggregate_curves, learning_curve, learning_grid
from relic_rl.analysis.runs import Curve, Run, read_run
from relic_rl.analysis.scores import ROW_LABELS
from relic_rl.analysis.series import Series

ONE_LANE = {"actor.lanes": 1}


def test_learning_curve_shows_evaluations_human_and_random(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    run = read_run(write_run(tmp_path / "pong-1"))

    figure = learning_curve(run)

    for axis, x in zip(figure.axes, ([4000, 8000], [1.0, 2.0]), strict=True):
        levels = [tuple(line.get_ydata()) for line in axis.lines]
        assert (ATARI57["Pong"].human,) * 2 in levels
        assert (ATARI57["Pong"].random,) * 2 in levels
        (curve,) = [line for line in axis.lines if line.get_label() == "evaluation"]
        assert list(curve.get_xdata()) == x
        assert list(curve.get_ydata()) == [-20.0, 15.0]


def test_a_running_mean_is_drawn_once_there_are_episodes_enough_for_one(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    few = read_run(write_run(tmp_path / "pong-1", settings=ONE_LANE))  # of 12 episodes
    curve = Curve(*(np.arange(50.0) for _ in range(3)))
    many = replace(few, episodes=curve)

    def labels(run: Run) -> list[str]:
        return [str(line.get_label()) for line in learning_curve(run).axes[0].lines]

    assert not any("mean of" in label for label in labels(few))
    assert "training, mean of 2 episodes" in labels(many)
    lanes = replace(many, settings={**many.settings, "actor.lanes": 8})
    assert "training, mean of 8 episodes" in labels(lanes)
    for run in (few, many):  # every mark is in the legend
        assert {"training episode", "evaluation"} <= set(labels(run))


def test_the_running_mean_of_lanes_that_end_together_is_one_point(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    run = read_run(write_run(tmp_path / "pong-1", settings={"actor.lanes": 20}))
    x, scores = np.repeat([1000.0, 2000.0, 3000.0], 20), np.arange(60.0)
    x += np.tile(np.linspace(-4.0, 0.0, 20), 3)
    axis, _ = learning_curve(replace(run, episodes=Curve(x, x, scores))).axes

    (line,) = [line for line in axis.lines if line.get_label() == "training, mean of 20 episodes"]
    assert list(line.get_xdata()) == [1000.0, 2000.0, 3000.0]
    assert list(line.get_ydata()) == [9.5, 29.5, 49.5]


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
        Series(
            label, (read_run(write_run(tmp_path / label, scores=scores, settings=ONE_LANE)),), ()
        )
        for label, scores in (("none", (3.0,)), ("relic", (4.0,)), ("long", (1.0, 2.0)))
    ]
    on_the_way = arms.pop()

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


def test_a_published_level_below_every_run_is_in_the_picture(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    run = read_run(write_run(tmp_path / "pong-1"))
    below = dict.fromkeys(ROW_LABELS, -300.0)

    for axis in aggregate_curves([Series("runs", (run,), ())], {"poor": below}).axes:
        assert axis.get_ylim()[0] < -300.0


def test_a_series_without_frames_that_all_its_runs_passed_is_named_as_such(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    early, late = (
        read_run(write_run(tmp_path / f"pong-{seed}", seed=seed, scores=scores, frames=frames))
        for seed, scores, frames in ((0, (2.0, 3.0), 8000), (1, (2.0,), 9000))
    )

    figure = aggregate_curves([Series("runs", (early, late), ())], {})

    (text,) = [text.get_text() for text in figure.legends[0].get_texts()]
    assert text == "runs: no frames that all runs passed"
    assert not len(figure.axes[0].lines[0].get_xdata())


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


def test_the_mean_over_seeds_begins_where_all_of_them_have_been_evaluated(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    a, b = (
        read_run(write_run(tmp_path / f"pong-{seed}", seed=seed, scores=(2.0, 4.0), frames=frames))
        for seed, frames in ((0, 8000), (1, 12_000))
    )

    (axis,) = learning_grid([Series("runs", (a, b), ())]).axes

    # Of evaluations at 4,000 and 8,000 frames, and at 6,000 and 12,000: linear between.
    (mean,) = [line for line in axis.lines if list(line.get_xdata()) == [6000, 8000]]
    assert list(mean.get_ydata()) == pytest.approx([(3 + 2) / 2, (4 + 2 + 2 / 3) / 2])


def test_the_mean_over_seeds_evaluated_at_their_end_alone_is_a_point(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    a, b = (
        read_run(write_run(tmp_path / f"pong-{seed}", seed=seed, scores=(score,), frames=frames))
        for seed, frames, score in ((0, 8000, 2.0), (1, 12_000, 4.0))
    )

    (axis,) = learning_grid([Series("runs", (a, b), ())]).axes

    points = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    assert ([12_000], [3.0]) in points
