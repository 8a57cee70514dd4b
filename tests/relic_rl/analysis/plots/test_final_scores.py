from collections.abc import Callable
from pathlib import Path

import numpy as np

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
