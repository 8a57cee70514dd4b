import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relic_rl.replay.sum_tree import MAX_PRIORITY, SumTree

PROPERTY = settings(deadline=None, max_examples=40, derandomize=True)

PRIORITIES = st.one_of(st.just(0.0), st.floats(0, MAX_PRIORITY), st.floats(1e-6, 1e3))
BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 40), PRIORITIES), max_size=8), min_size=1, max_size=8
)


def naive_sample(priorities, uniforms):
    """Inverts the cumulative distribution with a plain loop."""
    drawn = []
    for value in np.asarray(uniforms) * sum(priorities):
        index = 0
        while value >= priorities[index]:
            value -= priorities[index]
            index += 1
        drawn.append(index)
    return drawn


@PROPERTY
@given(batches=BATCHES)
def test_the_tree_holds_what_a_plain_array_holds(batches):
    tree, array = SumTree(), np.zeros(64)

    for batch in batches:
        tree.set([index for index, _ in batch], [priority for _, priority in batch])
        for index, priority in batch:  # one by one: the last of equal indices counts
            array[index] = priority

        np.testing.assert_array_equal(tree.get(np.arange(64)), array)
        np.testing.assert_allclose(tree.total, array.sum(), rtol=1e-12)


@PROPERTY
@given(priorities=st.lists(st.integers(0, 5), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_draws_invert_the_cumulative_distribution(priorities, seed):
    priorities[0] += 1  # integers: no rounding, so the naive twin must agree exactly
    tree = SumTree()
    tree.set(np.arange(len(priorities)), priorities)
    uniforms = np.random.default_rng(seed).integers(0, 1024, 50) / 1024

    assert tree.sample(uniforms).tolist() == naive_sample(priorities, uniforms)


def test_draws_by_hand():
    tree = SumTree()
    tree.set([0, 1, 3], [1.0, 2.0, 1.0])
    # Cumulative: index 0 to 1, index 1 to 3, index 2 to 3 (never), index 3 to 4; divided by 4:
    # [0, 0.25) -> 0, [0.25, 0.75) -> 1, [0.75, 1) -> 3.

    assert tree.sample([0.0, 0.24, 0.25, 0.74, 0.75, 0.99]).tolist() == [0, 0, 1, 1, 3, 3]


@PROPERTY
@given(
    priorities=st.lists(PRIORITIES, min_size=1, max_size=70),
    uniforms=st.lists(st.floats(0, 1, exclude_max=True), max_size=20),
)
def test_a_priority_of_zero_is_never_drawn_whatever_the_rounding(priorities, uniforms):
    tree = SumTree()
    tree.set(np.arange(len(priorities)), priorities)
    edges = [0.0, np.nextafter(1.0, 0.0)]
    if not tree.total:
        return

    drawn = tree.sample(uniforms + edges)

    assert (tree.get(drawn) > 0).all()


def test_draws_are_as_frequent_as_their_priorities():
    rng = np.random.default_rng(1)
    priorities = rng.random(100) ** 3
    tree = SumTree()
    tree.set(np.arange(100), priorities)

    counts = np.bincount(tree.sample(rng.random(200_000)), minlength=100)

    expected = 200_000 * priorities / priorities.sum()
    likely = expected >= 5
    chi_square = ((counts - expected) ** 2 / expected)[likely].sum()
    degrees = likely.sum() - 1
    assert chi_square < degrees + 4 * np.sqrt(2 * degrees)  # mean + 4 standard deviations


def test_a_million_updates_leave_no_rounding_behind():
    rng = np.random.default_rng(2)
    tree = SumTree()
    for _ in range(2_000):
        tree.set(rng.integers(0, 256, 500), rng.random(500) * 10.0 ** rng.integers(-8, 9, 500))
    fresh = SumTree()

    fresh.set(np.arange(256), tree.get(np.arange(256)))

    assert fresh.total == tree.total
    uniforms = rng.random(1_000)
    np.testing.assert_array_equal(fresh.sample(uniforms), tree.sample(uniforms))
    tree.set(np.arange(256), 0.0 * np.ones(256))
    assert tree.total == 0.0


def test_growth_changes_no_draw():
    small, large = SumTree(), SumTree()
    large.set([1000], [0.0])
    for tree in (small, large):
        tree.set([0, 2], [1.5, 0.25])
        tree.set([300], [0.7])
    uniforms = np.random.default_rng(3).random(200)

    assert small.total == large.total
    np.testing.assert_array_equal(small.sample(uniforms), large.sample(uniforms))


@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf, 2 * MAX_PRIORITY])
def test_bad_priorities_are_refused_and_nothing_is_changed(bad):
    tree = SumTree()
    tree.set([0, 1], [1.0, 2.0])

    with pytest.raises(ValueError, match="priorities must lie in"):
        tree.set([0, 1], [5.0, bad])

    assert tree.get([0, 1]).tolist() == [1.0, 2.0]


def test_misuse_is_refused():
    tree = SumTree()

    with pytest.raises(ValueError, match="index -1 is negative"):
        tree.set([-1], [1.0])
    with pytest.raises(ValueError, match="2 indices but 1 priorities"):
        tree.set([0, 1], [1.0])
    with pytest.raises(ValueError, match="every priority is 0"):
        tree.sample([0.5])
    tree.set([0], [1.0])
    with pytest.raises(ValueError, match=r"not in \[0, 1\)"):
        tree.sample([1.0])
