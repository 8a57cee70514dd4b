"""The sizing model: the slowest part decides, and it is named."""

import pytest

from relic_rl.bench.sizing import Rates, predict_run, predict_run_here

RATES = Rates(
    actor_seconds=2e-3, ingest_seconds=1e-5, learner_seconds=1e-4, step_bytes=500.0
)  # a core acts 500 steps/s, one ingests 100,000, the learner wants 10,000


def test_few_actors_are_the_bound_and_more_of_them_add_up() -> None:
    one, four = (predict_run(RATES, actors=actors) for actors in (1, 4))

    assert (one.bound, four.bound) == ("actors", "actors")
    assert four.steps_per_second == pytest.approx(4 * one.steps_per_second) == pytest.approx(2000)


def test_beyond_what_the_learner_takes_actors_add_nothing() -> None:
    assert predict_run(RATES, actors=20).steps_per_second == pytest.approx(10_000)
    more = predict_run(RATES, actors=256)
    assert (more.bound, more.steps_per_second) == ("learner", pytest.approx(10_000))


def test_without_learning_ingest_or_the_network_is_the_bound() -> None:
    wide = predict_run(RATES, actors=256, learns=False)
    narrow = predict_run(RATES, actors=256, learns=False, network_bytes_per_second=10e6)

    assert (wide.bound, wide.steps_per_second) == ("ingest", pytest.approx(100_000))
    assert (narrow.bound, narrow.steps_per_second) == ("network", pytest.approx(20_000))


def test_shared_cores_also_carry_the_ingest() -> None:
    shared = predict_run(RATES, actors=4, actor_cores=2, learns=False)

    assert (shared.bound, shared.steps_per_second) == ("cores", pytest.approx(2 / 2.01e-3))


def test_parts_that_take_turns_add_up_and_beside_each_other_the_slower_decides() -> None:
    # A step is acted in 1 ms and learned from, at an update of 40 ms for 20 steps, in 2 ms.
    parts = {"acting_steps_per_second": 1_000.0, "update_seconds": 0.04, "updates_per_step": 0.05}

    assert predict_run_here(**parts, in_turn=True) == pytest.approx(1_000 / 3)
    assert predict_run_here(**parts, in_turn=False) == pytest.approx(500)
