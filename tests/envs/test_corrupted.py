"""A corrupted environment on a real game: other pictures, the same game."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.atari import AtariLanes
from envs.corrupted import CorruptedEnv
from envs.corruptions import CORRUPTIONS
from envs.interface import StepResult, VectorEnv
from envs.protocol import PROTOCOLS


def make(lanes: int = 3) -> VectorEnv:
    return AtariLanes(
        "Breakout",
        lanes,
        0,
        PROTOCOLS["noop"],
        action_set="minimal",
        threads=1,
        reseed_steps=0,
    )


def play(env: VectorEnv, steps: int) -> Iterator[tuple[NDArray[np.uint8], StepResult | None]]:
    rng = np.random.default_rng(0)
    yield env.reset(), None
    for _ in range(steps):
        result = env.step(rng.integers(0, env.spec.actions, env.lanes))
        yield result.frames, result
    env.close()


@pytest.mark.parametrize("name", ["gaussian_noise", "shift", "frozen"])
def test_only_what_is_seen_changes_and_the_same_seed_shows_the_same(name: str) -> None:
    plain = list(play(make(), 60))
    one, two, other = (
        list(play(CorruptedEnv(make(), CORRUPTIONS[name], 3, seed=seed), 60)) for seed in (0, 0, 1)
    )

    for (clean, result), (seen, corrupted), (again, _) in zip(plain, one, two, strict=True):
        np.testing.assert_array_equal(seen, again)
        assert (result is None) == (corrupted is None)
        if result is not None and corrupted is not None:
            np.testing.assert_array_equal(result.rewards, corrupted.rewards)
            np.testing.assert_array_equal(result.life_lost, corrupted.life_lost)
        assert seen.shape == clean.shape
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(plain, one, strict=True))
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=True))


def test_a_shift_holds_for_an_episode_and_is_drawn_anew_for_the_next() -> None:
    env = CorruptedEnv(make(), CORRUPTIONS["shift"], 5, seed=0)
    places, ended = [], []
    for _, result in play(env, 700):
        places.append(env._episode.copy())
        ended.append(np.zeros(3, bool) if result is None else result.terminated)

    changed = np.array([(a != b).any(axis=1) for a, b in itertools.pairwise(places)])
    np.testing.assert_array_equal(changed, np.array(ended[1:]))
    assert changed.sum() >= 3


def test_a_frozen_picture_never_shows_an_episode_that_is_over() -> None:
    env = CorruptedEnv(make(), CORRUPTIONS["frozen"], 5, seed=0)
    clean, ended = list(play(make(), 350)), 0
    for (frames, result), (seen, _) in zip(clean, play(env, 350), strict=True):
        if result is not None and result.terminated.any():
            lanes = result.terminated
            np.testing.assert_array_equal(seen[lanes], frames[lanes])
            ended += 1

    assert ended >= 2
