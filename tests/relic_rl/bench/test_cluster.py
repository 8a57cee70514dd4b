"""The sizing model: what each part of a run on a cluster allows."""

import pytest

from relic_rl.bench.cluster import ACTORS, Rates, bounds, predicted
from relic_rl.config import resolve

RATES = Rates(
    actor_seconds=2e-3, ingest_seconds=1e-5, learner_seconds=1e-4, step_bytes=500.0
)  # a core acts 500 steps/s, one ingests 100,000, the learner wants 10,000


def test_each_part_allows_what_its_cost_of_a_step_says_and_actors_add_up() -> None:
    found = bounds(RATES, actors=4)

    assert found == {
        "actors": pytest.approx(4 * 500),
        "ingest": pytest.approx(100_000),
        "network": pytest.approx(10e9 / 8 / 500),
        "learner": pytest.approx(10_000),
    }
    assert bounds(RATES, actors=256)["actors"] == pytest.approx(64 * found["actors"])


def test_the_slowest_part_decides_and_is_named() -> None:
    config = resolve("laptop", {"run.frames": "4_000_000"}).config
    measured = {
        f"actors_{n}": {"ray": {"cores_used": 1.5, "steps_per_second": 500.0}} for n in ACTORS
    }

    found = predicted(config, RATES, measured)

    assert found["predicted_over_measured_1"] == pytest.approx(1.0)  # one actor's core
    assert found["predicted_over_measured_4"] == pytest.approx(1.5 / 2.01e-3 / 500)  # all cores
    assert found["actors_256_bound"] == "learner"
    assert found["actors_256_steps_per_second"] == pytest.approx(10_000)
    assert found["actors_256_without_learning_bound"] == "ingest"
    assert found["actors_256_without_learning_steps_per_second"] == pytest.approx(100_000)
    assert found["sweep_57_hours"] == pytest.approx(1_000_000 * 2.11e-3 / 3600)
