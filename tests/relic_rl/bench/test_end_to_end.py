"""What is made of measurements; the parts themselves measure, and are not tested."""

import pytest

from relic_rl.bench import end_to_end


def test_a_machine_too_slow_for_the_last_part_is_told_so_and_others_get_shares() -> None:
    row = {
        **{"window_seconds": 10.0, "steps_per_second": 100.0, "updates_per_second": 5.0},
        **{"environment_seconds": 2.0, "inference_seconds": 1.0, "learning_seconds": 6.0},
        **{"sampling_seconds": 0.5, "replay_ratio": 8.0},
    }
    slow = end_to_end._results([], 8.0)
    fast = end_to_end._results([row, row | {"steps_per_second": 130.0}], 8.0)

    assert slow == {"steps_per_second": "too slow to measure: under 50 updates in 12 seconds"}
    assert fast["steps_per_second"] == pytest.approx(115.0)
    assert fast["busy_fraction"] == pytest.approx(0.9)
    assert fast["recording_fraction"] == 0.0  # no row has it
    assert "gpu_busy_fraction" not in fast


def test_the_last_part_says_how_busy_a_gpu_was_on_average() -> None:
    row = {"window_seconds": 10.0, "steps_per_second": 100.0, "updates_per_second": 5.0}
    rows = [row | {"replay_ratio": 4.0, "gpu_busy_fraction": busy} for busy in (0.9, 0.2, 0.4)]

    assert end_to_end._results(rows, 4.0)["gpu_busy_fraction"] == pytest.approx(0.5)
