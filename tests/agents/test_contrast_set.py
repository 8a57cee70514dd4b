from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from agents.representation.contrast_set import contrast_set

ROWS = 8


def runs(*bounds: tuple[int, int]) -> Tensor:
    """bool[ROWS, B]: a column of steps in [first, end) for each pair."""
    is_step = torch.zeros(ROWS, len(bounds), dtype=torch.bool)
    for column, (first, end) in enumerate(bounds):
        is_step[first:end, column] = True
    return is_step


def chosen(
    is_step: Tensor, k: int, generator: torch.Generator, *, on_host: bool = True
) -> tuple[Tensor, Tensor]:
    batch = SimpleNamespace(is_step=is_step, is_step_on_host=is_step if on_host else None)
    return contrast_set(cast(Any, batch), lambda rows: rows, k, generator)


def choose(is_step: Tensor, k: int, seed: int = 0) -> list[tuple[int, int]]:
    generator = torch.Generator().manual_seed(seed)
    rows, sequences = chosen(is_step, k, generator)
    return list(zip(rows.tolist(), sequences.tolist(), strict=True))


@pytest.mark.parametrize("k", [1, 2, 3, 7, 8, 50])
def test_every_place_is_a_step_and_none_comes_twice(k: int) -> None:
    is_step = runs((0, 8), (2, 8), (0, 3), (5, 6))
    for seed in range(50):
        places = choose(is_step, k, seed)

        assert all(is_step[place] for place in places)
        assert len(set(places)) == len(places) == sum(min(k, n) for n in (8, 6, 3, 1))


def test_every_step_is_chosen_equally_often() -> None:
    is_step = runs((0, 8), (2, 8), (0, 3))
    draws, k = 4000, 2
    counts = torch.zeros(ROWS, 3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(draws):
        counts[chosen(is_step, k, generator)] += 1

    expected = is_step * k / is_step.sum(dim=0)
    torch.testing.assert_close(counts / draws, expected, rtol=0.0, atol=0.04)


def test_places_of_a_sequence_are_spread_evenly() -> None:
    for seed in range(50):
        rows = sorted(row for row, _ in choose(runs((0, 8)), 4, seed))

        assert [later - earlier for earlier, later in pairwise(rows)] == [2] * 3


def test_as_many_as_there_are_steps_takes_all_of_them() -> None:
    is_step = runs((0, 8), (3, 5))
    everything = [tuple(place) for place in is_step.nonzero().tolist()]
    for k in (8, 100):
        for seed in range(20):
            assert sorted(choose(is_step, k, seed)) == everything


def test_a_sequence_without_steps_has_no_place() -> None:
    assert {sequence for _, sequence in choose(runs((0, 0), (4, 8)), 2)} == {1}


def test_same_seed_same_places_other_seed_others() -> None:
    is_step = runs(*[(0, 8)] * 6)

    assert choose(is_step, 2, seed=1) == choose(is_step, 2, seed=1)
    assert choose(is_step, 2, seed=1) != choose(is_step, 2, seed=2)


def test_draws_do_not_depend_on_how_many_are_chosen() -> None:
    after = []
    for k in (1, 5):
        generator = torch.Generator().manual_seed(3)
        chosen(runs((0, 8), (0, 2)), k, generator)
        after.append(generator.get_state())

    assert torch.equal(*after)


def test_less_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="stacks_per_sequence is 0, must be >= 1"):
        chosen(runs((0, 8)), 0, torch.Generator())


def test_without_a_count_every_sequence_has_as_many_places_and_a_short_one_some_twice() -> None:
    is_step = runs((0, 8), (2, 4), (5, 6), (0, 0))
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]

    rows, sequences = chosen(is_step, 3, draws[0], on_host=False)
    some = chosen(is_step, 3, draws[1])

    assert torch.bincount(sequences).tolist() == [3, 3, 3, 3]
    of_steps = is_step.any(dim=0)[sequences]
    assert is_step[rows[of_steps], sequences[of_steps]].all()
    found = {*zip(rows[of_steps].tolist(), sequences[of_steps].tolist(), strict=True)}
    assert found == {*zip(*(part.tolist() for part in some), strict=True)}
