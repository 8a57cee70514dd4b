import itertools
from collections.abc import Callable

import pytest

from relic_rl.runtime.handoff import Handoff


def test_items_come_in_the_order_they_were_made() -> None:
    numbers = itertools.count()
    handoff: Handoff[int] = Handoff(2)
    handoff.thread("maker", lambda: next(numbers)).start()

    assert [handoff.take() for _ in range(50)] == list(range(50))
    handoff.close()


def test_a_maker_waits_when_nobody_takes(wait_until: Callable[..., None]) -> None:
    made: list[int] = []
    handoff: Handoff[int] = Handoff(3)

    def make() -> int:
        made.append(0)
        return len(made)

    thread = handoff.thread("maker", make)
    thread.start()
    wait_until(lambda: len(made) >= 4)  # three wait, one is in its hands

    thread.join(0.2)

    assert thread.is_alive()
    assert len(made) == 4
    handoff.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_maker_that_has_nothing_now_is_asked_again() -> None:
    answers = iter([1, None, None, 2])
    handoff: Handoff[int] = Handoff(1)
    handoff.thread("maker", lambda: next(answers)).start()

    assert [handoff.take(), handoff.take()] == [1, 2]
    handoff.close()


def test_what_ends_a_maker_comes_after_what_it_made() -> None:
    answers = iter([1, 2])
    handoff: Handoff[int] = Handoff(5)
    thread = handoff.thread("maker", lambda: next(answers))
    thread.start()

    assert [handoff.take(), handoff.take()] == [1, 2]
    with pytest.raises(StopIteration):
        handoff.take()
    thread.join(10)
    assert not thread.is_alive()
