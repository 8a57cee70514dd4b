"""The memory of games beside their lanes: the table, and that the bytes are the lane's own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.atari import AtariLanes
from envs.emulator import Emulator
from envs.games import ATARI57, find_game
from envs.protocol import PROTOCOLS
from envs.ram import CATEGORIES, ram_variables
from envs.registry import ENVIRONMENTS
from envs.toy import MemoryLanes


def byte_of(game: str, variable: str) -> int:
    return {v.name: v.byte for v in ram_variables()[game]}[variable]


def test_the_table_has_the_22_games_and_312_variables_of_atari_ari() -> None:
    table = ram_variables()

    assert len(table) == 22
    assert set(table) < set(ATARI57)
    assert sum(map(len, table.values())) == 312
    for variables in table.values():
        assert len({v.name for v in variables}) == len(variables)
        assert {v.category for v in variables} <= set(CATEGORIES)
        assert all(0 <= v.byte < 128 for v in variables)


def test_variables_are_where_the_source_has_them_ranges_counted_from_0() -> None:
    categories = [v.category for v in ram_variables()["Pong"]]

    assert [categories.count(c) for c in CATEGORIES] == [2, 2, 2, 2, 0]
    assert byte_of("Pong", "ball_x") == 49
    assert byte_of("Breakout", "block_bit_map_29") == 29
    assert byte_of("Seaquest", "diver_or_enemy_missile_x_3") == 74


def test_an_environment_says_what_is_known_of_its_memory() -> None:
    assert ENVIRONMENTS["Pong"].ram_variables == ram_variables()["Pong"]
    assert ENVIRONMENTS["RoadRunner"].ram_variables == ()


@pytest.mark.parametrize("protocol", ["noop", "machado"])
def test_the_memory_is_that_of_the_lanes_through_the_ends_of_episodes(protocol: str) -> None:
    # A step of the reference is made by hand from the seed, the no-ops and the actions.
    lanes = AtariLanes("breakout", 2, 5, protocol, action_set="minimal", reseed_steps=0)
    lanes.reset()
    ram = lanes.ram()
    sticky = PROTOCOLS[protocol].sticky_probability
    reference = Emulator(find_game("breakout"), sticky, "minimal")

    def start(lane: int) -> NDArray[np.uint8]:
        seed, noops = int(lanes.state()["seeds"][lane]), int(lanes.noop_frames[lane])
        reference.start(seed, noops)
        return reference.ale.getRAM()

    rng = np.random.default_rng(0)
    assert (ram.read()[1] == start(1)).all()
    ends = 0
    for _ in range(400):
        actions = rng.integers(lanes.spec.actions, size=2)
        result = lanes.step(actions)
        ram.follow(actions, result)
        if result.terminated[1]:
            ends += 1
            expected = start(1)
        else:
            for _ in range(4):
                reference.ale.act(reference.actions[actions[1]])
            expected = reference.ale.getRAM()
        assert (ram.read()[1] == expected).all()
    assert ends


def test_the_byte_of_pong_s_paddle_is_where_the_paddle_is_seen() -> None:
    lanes = AtariLanes("pong", 1, 0, "noop", action_set="minimal", reseed_steps=0)
    lanes.reset()
    ram = lanes.ram()
    rng = np.random.default_rng(1)
    told, seen = [], []
    for _ in range(400):
        actions = rng.integers(6, size=1)
        result = lanes.step(actions)
        ram.follow(actions, result)
        frames = result.frames[0]
        paddle = np.flatnonzero(frames[14:77, 74] > 120)  # the column of the agent's paddle
        if len(paddle):
            told.append(int(ram.read()[0, byte_of("Pong", "player_y")]))
            seen.append(paddle.mean())
    assert len(told) > 300
    assert np.corrcoef(told, seen)[0, 1] > 0.99


def test_actions_that_lead_elsewhere_are_noticed() -> None:
    lanes = AtariLanes("freeway", 1, 0, "noop", action_set="minimal", reseed_steps=0)
    lanes.reset()
    ram = lanes.ram()
    up, wait = np.array([1]), np.array([0])

    result = lanes.step(up)
    while not result.rewards.any():
        ram.follow(wait, result)
        result = lanes.step(up)
    with pytest.raises(RuntimeError, match="the game is another one"):
        ram.follow(wait, result)


def test_a_toy_tells_its_cue_and_its_steps() -> None:
    env = MemoryLanes(3, seed=0, blank_frames=2)
    frames = env.reset()
    ram = env.ram()
    cues = (frames[:, 0, -1] > 0).astype(np.uint8)  # cue 1 lights the right half

    assert (ram.read() == np.stack([cues, np.zeros(3, np.uint8)], 1)).all()
    result = env.step(np.zeros(3, np.int64))
    ram.follow(np.zeros(3, np.int64), result)
    assert (ram.read() == np.stack([cues, np.ones(3, np.uint8)], 1)).all()
