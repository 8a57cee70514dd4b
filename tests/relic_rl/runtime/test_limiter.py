from fractions import Fraction

import pytest

from relic_rl.runtime.limiter import RateLimiter


def run(limiter: RateLimiter, moments: int, lanes: int) -> tuple[int, int]:
    """A single thread: updates if it may, else acts; returns environment steps and updates."""
    steps = updates = 0
    for _ in range(moments):
        if limiter.may_update:
            limiter.updated()
            updates += 1
        else:
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


def test_a_fast_learner_waits_for_the_actor() -> None:
    limiter = RateLimiter(replay_ratio=4.0, steps_per_update=8)
    limiter.acted(10)  # 40 trained steps are allowed: 5 updates
    updates = 0
    while limiter.may_update:
        limiter.updated()
        updates += 1

    assert updates == 5


def test_a_restored_limiter_goes_on_where_the_other_was() -> None:
    limiter, other = (RateLimiter(replay_ratio=0.7, steps_per_update=80) for _ in range(2))
    run(limiter, 1_001, 16)
    other.load_state(limiter.state())

    assert other.state() == limiter.state()
    assert run(other, 501, 16) == run(limiter, 501, 16)


@pytest.mark.parametrize("ratio", [0.4, 0.8, 16.0])
def test_a_limiter_restored_with_another_ratio_owes_nothing_and_holds_the_new_one(
    ratio: float,
) -> None:
    limiter = RateLimiter(replay_ratio=8.0, steps_per_update=160)
    run(limiter, 10_000, 16)
    changed = RateLimiter(replay_ratio=ratio, steps_per_update=160)
    changed.load_state(limiter.state())

    assert changed.state() == RateLimiter(replay_ratio=ratio, steps_per_update=160).state()
    steps, updates = run(changed, 10_000, 16)
    assert abs(updates * 160 / steps - ratio) < 160 / steps + 0.01 * ratio


def test_the_ratio_before_any_step_is_zero() -> None:
    limiter = RateLimiter(replay_ratio=0.8, steps_per_update=80)

    assert limiter.replay_ratio == 0.0
    assert not limiter.may_update
