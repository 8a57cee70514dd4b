from fractions import Fraction

import pytest

from relic_rl.runtime.limiter import RateLimiter


def run(limiter: RateLimiter, moments: int, lanes: int) -> tuple[int, int]:
    """A single thread: acts if it may, else updates; returns environment steps and updates."""
    steps = updates = 0
    for _ in range(moments):
        if limiter.may_update:
            limiter.updated()
            updates += 1
        elif limiter.may_act:
            limiter.acted(lanes)
            steps += lanes
    return steps, updates


@pytest.mark.parametrize("ratio", [0.1, 0.8, 1.0, 3.7, 40.0])
@pytest.mark.parametrize("lanes", [1, 16, 256])
def test_the_ratio_is_held_exactly_over_a_long_run(ratio: float, lanes: int) -> None:
    limiter = RateLimiter(replay_ratio=ratio, steps_per_update=320)
    steps, updates = run(limiter, 20_000, lanes)

    # In exact arithmetic: every update that the steps allow was made, but at most the last few.
    allowed = steps * Fraction(str(ratio)) / 320
    lead = lanes * Fraction(str(ratio)) / 320
    assert updates > 0
    assert -Fraction(1, 10**6) <= allowed - updates < 1 + lead
    assert limiter.replay_ratio == updates * 320 / steps


def test_a_fast_actor_waits_for_the_learner() -> None:
    # An update is 8 steps' worth: after 8 of them the actor stops, until the learner has been.
    limiter = RateLimiter(replay_ratio=1.0, steps_per_update=8)
    acted = 0
    while limiter.may_act:
        limiter.acted(2)
        acted += 2

    assert acted == 8
    assert limiter.may_update
    limiter.updated()
    assert limiter.may_act
    assert not limiter.may_update


def test_a_fast_learner_waits_for_the_actor() -> None:
    limiter = RateLimiter(replay_ratio=4.0, steps_per_update=8)
    limiter.acted(10)  # 40 trained steps are allowed: 5 updates
    updates = 0
    while limiter.may_update:
        limiter.updated()
        updates += 1

    assert updates == 5
    assert limiter.may_act


def test_actors_may_lead_by_as_many_updates_as_told() -> None:
    limiter = RateLimiter(replay_ratio=1.0, steps_per_update=10, max_lead_updates=3)
    acted = 0
    while limiter.may_act:
        limiter.acted(1)
        acted += 1

    assert acted == 30


@pytest.mark.parametrize("ratio", [0.03, 0.8, 1 / 3, 7.1])
@pytest.mark.parametrize("lead", [1, 4])
def test_somebody_may_always_go_on(ratio: float, lead: int) -> None:
    limiter = RateLimiter(replay_ratio=ratio, steps_per_update=80, max_lead_updates=lead)
    for moment in range(5_000):
        assert limiter.may_act or limiter.may_update
        if limiter.may_update and (moment % 3 or not limiter.may_act):
            limiter.updated()
        else:
            limiter.acted(1 + moment % 16)


def test_a_restored_limiter_goes_on_where_the_other_was() -> None:
    limiter, other = (RateLimiter(replay_ratio=0.7, steps_per_update=80) for _ in range(2))
    run(limiter, 1_001, 16)
    other.load_state(limiter.state())

    assert other.owed_updates == limiter.owed_updates
    assert run(other, 501, 16) == run(limiter, 501, 16)


def test_the_ratio_before_any_step_is_zero() -> None:
    limiter = RateLimiter(replay_ratio=0.8, steps_per_update=80)

    assert limiter.replay_ratio == 0.0
    assert limiter.may_act
    assert not limiter.may_update
