"""The lanes of other modes, held against the vector environment in the default one."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from envs.atari import AtariLanes
from envs.flavoured import FlavouredLanes, find_flavours
from envs.games import ATARI57
from envs.interface import Flavour
from envs.protocol import PROTOCOLS, EpisodeProtocol
from envs.resizing import shrunk


def capped(protocol: str, frames: int) -> EpisodeProtocol:
    return dataclasses.replace(PROTOCOLS[protocol], max_episode_frames=frames)


def make(game: str, flavour: Flavour | None = None, **changes: Any) -> FlavouredLanes:
    arguments = {"lanes": 1, "seed": 3, "protocol": PROTOCOLS["noop"], **changes}
    flavour = flavour or find_flavours(ATARI57[game]).default
    return FlavouredLanes(ATARI57[game], flavour, **arguments)


def assert_equals_vector_path(
    game: str, protocol: EpisodeProtocol, steps: int, lanes: int = 2, action_set: str = "full"
) -> list[int]:
    """Plays both alike, and compares all that they say; returns how often what happened."""
    vector = AtariLanes(game, lanes, 3, protocol, action_set=action_set, reseed_steps=0)
    single = make(game, lanes=lanes, protocol=protocol, action_set=action_set)
    assert single.spec == vector.spec
    np.testing.assert_array_equal(single.reset(), vector.reset())
    np.testing.assert_array_equal(single.noop_frames, vector.noop_frames)
    rng = np.random.default_rng(0)
    happened = np.zeros(4, int)
    for _ in range(steps):
        actions = rng.integers(vector.spec.actions, size=lanes)
        one, two = single.step(actions), vector.step(actions)
        assert one.episodes == two.episodes
        for field in ("frames", "rewards", "terminated", "truncated", "life_lost", "final_frames"):
            mine, theirs = getattr(one, field), getattr(two, field)
            assert mine.dtype == theirs.dtype, field
            np.testing.assert_array_equal(mine, theirs, field)
        happened += [
            int(np.count_nonzero(what))
            for what in (one.rewards, one.terminated, one.truncated, one.life_lost)
        ]
    single.close()
    vector.close()
    return happened.tolist()


@pytest.mark.parametrize(
    ("game", "protocol"),
    [
        ("Pong", "noop"),
        ("Skiing", "machado"),
        ("NameThisGame", "noop"),
        ("Berzerk", "machado"),
        ("DoubleDunk", "machado"),
    ],
)
def test_the_default_mode_equals_the_vector_path_frame_by_frame(game: str, protocol: str) -> None:
    _, _, truncated, _ = assert_equals_vector_path(game, capped(protocol, 80), steps=45)

    assert truncated == 4


def test_it_equals_the_vector_path_through_lost_lives_and_lost_games() -> None:
    rewarded, terminated, _, lives = assert_equals_vector_path(
        "Breakout", PROTOCOLS["noop"], steps=200, action_set="minimal"
    )

    assert min(rewarded, terminated, lives) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("game", ATARI57)
def test_the_default_mode_of_every_game_equals_the_vector_path(game: str) -> None:
    assert_equals_vector_path(game, capped("noop", 800), steps=300)
    assert_equals_vector_path(game, capped("machado", 800), steps=220, action_set="minimal")


@pytest.mark.slow
@pytest.mark.parametrize("game", ATARI57)
def test_every_flavour_of_every_game_plays_with_the_agents_actions(game: str) -> None:
    modes, difficulties = find_flavours(ATARI57[game])
    spec = make(game).spec
    for mode, difficulty in itertools.product(modes, difficulties):
        lanes = make(game, Flavour(mode, difficulty))
        assert lanes.spec == spec
        lanes.reset()
        for action in range(spec.actions):
            assert lanes.step(np.array([action])).frames.shape == (1, 84, 84)


def played(lanes: FlavouredLanes, steps: int = 60) -> tuple[list[Any], float]:
    """All frames, and the sum of the rewards."""
    rng = np.random.default_rng(0)
    frames, points = [lanes.reset()], 0.0
    for _ in range(steps):
        result = lanes.step(rng.integers(lanes.spec.actions, size=lanes.lanes))
        frames.append(result.frames)
        points += float(result.rewards.sum())
    return frames, points


def test_a_mode_is_another_game_and_the_same_on_repeat() -> None:
    lanes = make("Freeway", Flavour(3, 0))
    first, again = played(lanes)[0], played(lanes)[0]
    usual, harder = (played(make("Freeway", Flavour(*flavour)))[0] for flavour in ((0, 0), (3, 1)))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, usual)
    assert not np.array_equal(first, harder)


def test_a_lane_depends_neither_on_its_neighbours_nor_on_another_seed() -> None:
    protocol = capped("machado", 120)
    alone = make("Assault", protocol=protocol)
    among = make("Assault", protocol=protocol, lanes=2)
    other = make("Assault", protocol=protocol, seed=4)
    first = alone.reset()
    assert (first[0] == among.reset()[0]).all()
    other.reset()
    rng = np.random.default_rng(0)
    differs = False
    for _ in range(50):
        actions = rng.integers(18, size=2)
        one, two = alone.step(actions[:1]), among.step(actions)
        np.testing.assert_array_equal(one.frames[0], two.frames[0])
        assert one.episodes == two.episodes[:1]
        differs |= not np.array_equal(other.step(actions[:1]).frames, one.frames)
    assert differs


def test_a_lane_plays_the_same_beside_one_that_rests() -> None:
    protocol = capped("machado", 120)
    resting, busy = (make("Assault", protocol=protocol, lanes=2) for _ in range(2))
    np.testing.assert_array_equal(resting.reset(), busy.reset())
    resting.rest(0)
    rng, last = np.random.default_rng(0), None
    for _ in range(50):
        actions = rng.integers(18, size=2)
        one, two = resting.step(actions), busy.step(actions)
        np.testing.assert_array_equal(one.frames[1], two.frames[1])
        assert one.episodes == [record for record in two.episodes if record.lane == 1]
        assert last is None or np.array_equal(one.frames[0], last)
        last = one.frames[0]


def test_a_film_shows_what_lane_0_plays() -> None:
    lanes = make("Freeway", Flavour(2, 1), protocol=PROTOCOLS["machado"], lanes=2)
    screen = lanes.screen()
    seen = lanes.reset()
    screen.begin()
    filmed, scored = 0.0, 0.0
    for _ in range(60):
        pictures, points = screen.step(1)  # up
        result = lanes.step(np.array([1, 1]))
        filmed, scored = filmed + points, scored + float(result.rewards[0])
        gray = [np.rint(p @ [0.2989, 0.587, 0.114]).astype(np.uint8) for p in pictures[-2:]]
        shown = shrunk(np.maximum(*gray)[None], 84, 84)[0]
        np.testing.assert_array_equal(shown, result.frames[0])

    assert (len(pictures), pictures[0].shape) == (4, (210, 160, 3))
    assert filmed == scored
    assert (seen != result.frames).any()


@pytest.mark.parametrize(
    ("game", "modes", "difficulties"),
    [
        ("Pong", (0, 1), (0, 1, 2, 3)),
        ("Centipede", (22, 86), (0,)),
        ("Assault", (0,), (0,)),
        ("Freeway", tuple(range(8)), (0, 1)),  # as in Farebrother et al.
    ],
)
def test_a_games_modes_are_those_that_ale_py_lists(
    game: str, modes: tuple[int, ...], difficulties: tuple[int, ...]
) -> None:
    flavours = find_flavours(ATARI57[game])

    assert flavours == (modes, difficulties)
    assert flavours.default == (modes[0], difficulties[0])


def test_bad_actions_and_a_missing_reset_are_refused() -> None:
    lanes = make("Pong")

    with pytest.raises(RuntimeError, match="never reset"):
        lanes.step(np.array([0]))
    lanes.reset()
    with pytest.raises(ValueError, match="action 18 in lane 0"):
        lanes.step(np.array([18]))
    lanes.close()
    with pytest.raises(RuntimeError, match="closed"):
        lanes.step(np.array([0]))
    with pytest.raises(RuntimeError, match="closed"):
        lanes.reset()
