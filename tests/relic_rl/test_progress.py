"""When a run is finished; how one stands is tested where it is shown: sweeps, reports."""

import pytest

from relic_rl.progress import is_finished


@pytest.mark.parametrize(
    ("minutes", "evaluation", "expected"),
    [
        (0.0, {}, False),
        (0.0, {"env_frames": 1000, "minutes": 1.0, "episodes": 10}, True),
        (0.0, {"env_frames": 999, "minutes": 1.0, "episodes": 10}, False),
        (0.0, {"env_frames": 1000, "minutes": 1.0, "episodes": 3}, False),
        (5.0, {"env_frames": 999, "minutes": 5.0, "episodes": 10}, True),
        (5.0, {"env_frames": 999, "minutes": 4.9, "episodes": 10}, False),
        (5.0, {"env_frames": 1000, "minutes": 4.9, "episodes": 10}, True),
    ],
)
def test_a_run_is_finished_by_a_whole_evaluation_after_its_frames_or_minutes(
    minutes: float, evaluation: dict[str, float], expected: bool
) -> None:
    settings = {"run.frames": 1000, "run.minutes": minutes, "evaluation.episodes": 10}

    assert is_finished(settings, evaluation) is expected
