from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from relic_rl.analysis.plots.curves import aggregate_curves, learning_grid
from relic_rl.analysis.plots.final_scores import profile, score_bars
from relic_rl.analysis.plots.style import COLOURS
from relic_rl.analysis.runs import read_run
from relic_rl.analysis.scores import Estimate
from relic_rl.analysis.series import Series


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


def test_bars_are_as_long_as_the_scores_and_the_human_is_marked() -> None:
    scores = {"Pong": -3.05, "Freeway": 59.2}  # 50 % and 200 % of human

    (axis,) = score_bars({"ours": scores}, {"R2D2": {"Pong": 21.0, "Freeway": 32.5}}).axes

    assert names_beside(axis) == ["Pong", "Freeway"]
    assert [bar.get_width() for bar in bars_of(axis)] == pytest.approx([50.0, 200.0])
    assert any(np.allclose(line.get_xdata(), 100) for line in axis.lines)


def test_two_series_are_both_bars_with_their_numbers_the_first_above() -> None:
    # Of Freeway, random 0 and human 29.6, and of Pong, random -20.7 and human 14.6.
    first = {"Pong": -3.05, "Freeway": 59.2}
    second = {"Pong": 14.6, "Freeway": 14.8}

    (axis,) = score_bars({"zebra": first, "ape": second}, {}).axes

    assert names_beside(axis) == ["Pong", "Freeway"]
    widths = [bar.get_width() for bar in bars_of(axis)]
    assert widths == pytest.approx([50.0, 200.0, 100.0, 50.0])
    heights = [bar.get_y() for bar in bars_of(axis)]
    assert [heights[0] > heights[2], heights[1] > heights[3]] == [True, True]
    numbers = [text.get_text() for text in axis.texts]
    assert numbers == ["50.0 %", "200 %", "100 %", "50.0 %"]
    (legend,) = axis.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "zebra, at or above human",
        "zebra, below human",
        "ape, at or above human",
        "ape, below human",
    ]


def test_a_game_that_a_series_lacks_has_a_row_without_its_bar_or_mark() -> None:
    series = {"zebra": {"Pong": -3.05}, "ape": {"Freeway": 59.2}}

    (axis,) = score_bars(series, {"R2D2": {"Pong": 21.0}}).axes

    assert names_beside(axis) == ["Pong", "Freeway"]
    assert [bar.get_width() for bar in bars_of(axis)] == pytest.approx([50.0, 200.0])
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars_of(axis)] == [0, 1]
    (marks,) = (line for line in axis.lines if line.get_label() == "R2D2")
    assert list(marks.get_ydata()) == [0]


def names_beside(axis: Axes) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


def bars_of(axis: Axes) -> list[Rectangle]:
    return [patch for patch in axis.patches if isinstance(patch, Rectangle)]
