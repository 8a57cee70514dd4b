"""The picture of probes over training."""

import numpy as np
from matplotlib.colors import to_hex

from relic_rl.analysis.plots.probe_curves import probe_curves
from relic_rl.analysis.plots.style import COLOURS
from relic_rl.analysis.probe_tables import QUANTITIES, ProbeCurve
from relic_rl.analysis.scores import Estimate

FRAMES = np.array([1000.0, 2000.0])


def curve(
    label: str, name: str = "encoder", quantity: str = "f1", level: float = 0.5, *, spread=None
) -> ProbeCurve:
    value = np.full(2, level)
    bounds = (None, None) if spread is None else (value - spread, value + spread)
    return ProbeCurve("Pong", quantity, name, label, FRAMES, Estimate(value, *bounds))


def test_a_panel_shows_each_arm_in_its_colour_and_a_band_where_there_is_one() -> None:
    shown = [curve("b", spread=0.1), curve("c"), curve("", "random_encoder", spread=0.1)]

    figure = probe_curves(shown, ["a", "b", "c"])

    panel = figure.axes[0]
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(QUANTITIES.values())
    assert [to_hex(line.get_color()) for line in panel.lines][:2] == list(COLOURS[1:3])
    assert [to_hex(band.get_facecolor()[0]) for band in panel.collections] == [COLOURS[1]]
    assert panel.get_ylabel() == "Pong"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "b",
        "c",
        "encoder",
        "control: untrained encoder",
    ]


def test_a_single_arm_is_named_by_what_was_probed_alone() -> None:
    (legend,) = probe_curves([curve("runs"), curve("runs", "lstm")], ["runs"]).legends

    assert [text.get_text() for text in legend.get_texts()] == ["encoder", "LSTM"]


def test_an_r2_far_below_zero_does_not_flatten_the_others() -> None:
    shown = [curve("one", quantity="r2"), curve("", "pixels", "r2", level=-90.0)]

    bottom, top = probe_curves(shown, ["one"]).axes[1].get_ylim()

    assert -0.3 < bottom < 0.5 < top <= 1.0


def test_a_panel_of_nothing_but_r2_far_below_zero_shows_it() -> None:
    bottom, top = (
        probe_curves([curve("one", quantity="r2", level=-3.0)], ["one"]).axes[1].get_ylim()
    )

    assert bottom < -3.0 < top
