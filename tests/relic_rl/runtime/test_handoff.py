import itertools
import threading
import time
from collections.abc import Callable

import pytest

from relic_rl.runtime.handoff import Handoff


def test_items_come_in_the_order_they_were_made() -> None:
    numbers = itertools.count()
    handoff: Handoff[int] = Handoff({"maker": lambda: next(numbers)}, 2)

    assert [handoff.take() for _ in range(50)] == list(range(50))
    handoff.close()


def test_a_maker_waits_when_nobody_takes(wait_until: Callable[..., None]) -> None:
    made: list[int] = []

    def make() -> int:
        made.append(0)
        return len(made)

    handoff: Handoff[int] = Handoff({"maker": make}, 3)
    assert handoff.take() == 1
    wait_until(lambda: len(made) >= 5)  # one is taken, three wait, one is in its hands

    time.sleep(0.2)

    assert len(made) == 5
    assert handoff.close() == set()


def test_a_maker_that_has_nothing_now_is_asked_again() -> None:
    answers = iter([1, None, None, 2])
    handoff: Handoff[int] = Handoff({"maker": lambda: next(answers)}, 1)

    assert [handoff.take(), handoff.take()] == [1, 2]
    handoff.close()


def test_what_ends_a_maker_comes_after_what_it_made() -> None:
    answers = iter([1, 2])
    handoff: Handoff[int] = Handoff({"maker": lambda: next(answers)}, 5)

    assert [handoff.take(), handoff.take()] == [1, 2]
    with pytest.raises(StopIteration):
        handoff.take()
    assert handoff.close() == set()


def test_a_maker_that_hangs_is_left_behind_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, released = iter([1]), threading.Event()
    handoff: Handoff[int] = Handoff({"maker": lambda: next(made, None) or released.wait()}, 1)
    monkeypatch.setattr("relic_rl.runtime.handoff.CLOSE_SECONDS", 0.1)
    assert handoff.take() == 1

    assert handoff.close() == {"maker"}

    assert "maker did not end within" in caplog.text
    released.set()
