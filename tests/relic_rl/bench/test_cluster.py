"""The sizing model: what each part of a run on a cluster allows."""

import pytest

from relic_rl.bench.cluster import Rates, bounds

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
