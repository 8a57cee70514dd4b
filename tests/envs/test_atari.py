import dataclasses
import io

import numpy as np
import pytest

from envs.atari import AtariLanes, RomError, rom_md5
from envs.episodes import episode_seed
from envs.games import ATARI57
from envs.protocol import PROTOCOLS

NOOP, MACHADO = PROTOCOLS["noop"], PROTOCOLS["machado"]


def play(env, steps, frames=None, action_seed=0):
    """The frames to act on first, and the results of `steps` random actions in every lane."""
    rng = np.random.default_rng(action_seed)
    first = env.reset() if frames is None else frames
    return first, [env.step(rng.integers(env.spec.actions, size=env.lanes)) for _ in range(steps)]


def assert_equal_play(one, other):
    assert (one[0] == other[0]).all()
    for a, b in zip(one[1], other[1], strict=True):
        assert a.episodes == b.episodes
        for field in ("frames", "rewards", "terminated", "truncated", "life_lost", "final_frames"):
            assert np.array_equal(getattr(a, field), getattr(b, field)), field


def is_equal_play(one, other):
    return all((a.frames == b.frames).all() for a, b in zip(one[1], other[1], strict=True))


def through_a_file(state):
    """The state after a round trip through an .npz file, where nothing is pickled."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return dict(loaded)


@pytest.mark.parametrize(
    ("game", "meanings"),
    [
        ("freeway", ("NOOP", "UP", "DOWN")),
        ("breakout", ("NOOP", "FIRE", "RIGHT", "LEFT")),
        ("pong", ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")),
    ],
)
def test_the_minimal_action_set_is_what_the_game_uses(game, meanings):
    env = AtariLanes(game, 1, 0, NOOP, action_set="minimal")

    assert env.spec.action_meanings == meanings
    assert env.spec.actions == len(meanings)


def test_the_cap_truncates_and_does_not_terminate():
    # 40 frames are 10 steps of 4.
    env = AtariLanes("seaquest", 2, 0, dataclasses.replace(NOOP, max_episode_frames=40))

    _, results = play(env, 30)

    assert [bool(result.truncated.all()) for result in results] == ([False] * 9 + [True]) * 3
    assert [bool(result.truncated.any()) for result in results] == ([False] * 9 + [True]) * 3
    assert not any(result.terminated.any() for result in results)
    assert [(e.lane, e.steps, e.frames, e.terminated) for e in results[9].episodes] == [
        (0, 10, 40, False),
        (1, 10, 40, False),
    ]


def test_the_last_frame_of_a_truncated_episode_is_the_one_that_followed_the_last_action():
    capped = AtariLanes("boxing", 1, 0, dataclasses.replace(NOOP, max_episode_frames=400))
    uncapped = AtariLanes("boxing", 1, 0, NOOP)

    last = play(capped, 100)[1][-1]
    expected = play(uncapped, 100)[1][-1]

    assert last.truncated[0]
    assert (last.final_frames == expected.frames).all()
    assert (last.final_frames != last.frames).any()


def test_a_lost_game_terminates_and_the_next_episode_has_begun():
    env = AtariLanes("breakout", 2, 0, NOOP, reseed_steps=0)

    _, results = play(env, 250)
    ends = [result for result in results if result.episodes]

    assert ends
    assert not any(result.truncated.any() for result in results)
    for end in ends:
        lanes = [episode.lane for episode in end.episodes]
        assert np.flatnonzero(end.terminated).tolist() == lanes
        assert all(episode.terminated for episode in end.episodes)
        assert (end.frames[lanes] != end.final_frames[lanes]).any()
        others = [lane for lane in range(2) if lane not in lanes]
        assert (end.frames[others] == end.final_frames[others]).all()


def test_four_of_five_lost_lives_are_told_and_the_fifth_is_the_end_of_the_game():
    env = AtariLanes("breakout", 2, 0, NOOP, reseed_steps=0)

    _, results = play(env, 250)
    for lane in range(2):
        lost = np.array([result.life_lost[lane] for result in results])
        over = np.array([result.terminated[lane] for result in results])
        assert not (lost & over).any()
        assert lost[: over.argmax()].sum() == 4


def test_a_life_that_is_lost_in_the_capped_step_is_told_as_the_cap_alone():
    results = play(AtariLanes("breakout", 1, 0, NOOP, reseed_steps=0), 250)[1]
    first = next(step for step, result in enumerate(results) if result.life_lost[0])
    cap = dataclasses.replace(NOOP, max_episode_frames=4 * (first + 1))

    last = play(AtariLanes("breakout", 1, 0, cap, reseed_steps=0), first + 1)[1][-1]

    assert (last.truncated[0], last.terminated[0], last.life_lost[0]) == (True, False, False)


def test_a_game_without_lives_loses_none():
    env = AtariLanes("pong", 2, 0, NOOP)

    assert not any(result.life_lost.any() for result in play(env, 100)[1])


def test_scores_are_the_sums_of_unclipped_rewards():
    env = AtariLanes("ms_pacman", 2, 0, dataclasses.replace(NOOP, max_episode_frames=1_200))

    _, results = play(env, 300)
    rewards = np.stack([result.rewards for result in results])
    (end,) = [result for result in results if result.episodes]

    assert rewards.max() >= 10
    assert [episode.score for episode in end.episodes] == rewards.sum(axis=0).tolist()


@pytest.mark.parametrize("protocol", [NOOP, MACHADO], ids=lambda protocol: protocol.name)
def test_same_seed_gives_the_same_play_and_another_seed_another(protocol):
    plays = [play(AtariLanes("pong", 2, seed, protocol), 60) for seed in (5, 5, 6)]

    assert_equal_play(plays[0], plays[1])
    assert not is_equal_play(plays[0], plays[2])


def test_sticky_actions_change_the_play():
    sticky = dataclasses.replace(MACHADO, sticky_probability=0.25)
    free = dataclasses.replace(MACHADO, sticky_probability=0.0)

    plays = [play(AtariLanes("pong", 1, 0, protocol), 60) for protocol in (sticky, free)]

    assert not is_equal_play(*plays)


def test_a_lane_depends_neither_on_its_neighbours_nor_on_the_threads():
    capped = dataclasses.replace(MACHADO, max_episode_frames=120)
    alone = AtariLanes("assault", 1, 3, capped, reseed_steps=50)
    among = AtariLanes("assault", 3, 3, capped, threads=2, reseed_steps=50)
    rng = np.random.default_rng(0)

    assert (alone.reset()[0] == among.reset()[0]).all()
    for _ in range(200):
        actions = rng.integers(18, size=3)
        one, three = alone.step(actions[:1]), among.step(actions)
        assert (one.frames[0] == three.frames[0]).all()
        assert one.rewards[0] == three.rewards[0]
        assert one.episodes == three.episodes[:1]


@pytest.mark.parametrize("protocol", [NOOP, MACHADO], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("reseed_steps", [0, 20_000])
def test_lanes_play_the_same_beside_lanes_that_rest_and_without_their_emulators(
    monkeypatch, reseed_steps, protocol
):
    monkeypatch.setattr("envs.atari.REMAKE_STEPS", 10)
    resting, busy = (
        AtariLanes("breakout", 5, 3, protocol, action_set="minimal", reseed_steps=reseed_steps)
        for _ in range(2)
    )
    assert (resting.reset() == busy.reset()).all()
    rng = np.random.default_rng(0)
    rests = {60: [0, 1, 3], 500: [4]}
    playing, emulators, ended = np.ones(5, bool), set(), 0
    for step in range(800):
        for lane in rests.get(step, []):
            resting.rest(lane)
            playing[lane] = False
            resting._wasted_steps += 2_000  # as if long ago: a move is worth it
        actions = rng.integers(4, size=5)
        one, two = resting.step(actions), busy.step(actions)
        for field in ("frames", "rewards", "terminated", "truncated", "life_lost", "final_frames"):
            assert np.array_equal(getattr(one, field)[playing], getattr(two, field)[playing]), field
        assert one.episodes == [record for record in two.episodes if playing[record.lane]]
        assert not one.rewards[~playing].any()
        ended += len(one.episodes)
        emulators.add(len(resting._emulated))

    assert emulators == {5, 2, 1}
    assert ended >= 5
    assert_equal_play(play(resting, 40), play(busy, 40))  # after a reset nobody rests


def test_lanes_are_not_moved_where_each_has_a_thread_of_its_own(monkeypatch):
    monkeypatch.setattr("envs.atari.REMAKE_STEPS", 1)
    env = AtariLanes("breakout", 2, 3, NOOP, action_set="minimal", threads=2)
    env.reset()
    env.rest(1)
    for _ in range(60):
        env.step(np.zeros(2, int))

    assert len(env._emulated) == 2


def test_lanes_are_not_moved_where_that_takes_longer_than_a_step_may(monkeypatch):
    monkeypatch.setattr("envs.atari.REMAKE_STEPS", 10)
    monkeypatch.setattr("envs.atari.MOST_MOVED_STEPS", 40)
    env = AtariLanes("breakout", 2, 3, NOOP, action_set="minimal")
    play(env, 40)
    env.rest(1)
    for _ in range(100):
        env.step(np.zeros(2, int))

    assert len(env._emulated) == 2


def test_a_state_wakes_lanes_that_rest():
    env = AtariLanes("breakout", 2, 3, NOOP, action_set="minimal")
    play(env, 30)
    state = env.state()
    frames = env.step(np.ones(2, int)).frames
    env.rest(0)
    env.rest(1)

    env.restore(state)
    assert (env.step(np.ones(2, int)).frames == frames).all()


def test_reset_starts_anew():
    env = AtariLanes("breakout", 2, 0, NOOP)

    assert_equal_play(play(env, 60), play(env, 60))


def test_no_ops_are_0_to_the_protocols_number_inclusive():
    def noop_frames(protocol):
        env = AtariLanes("pong", 6, 0, protocol)
        env.reset()
        return set(env.noop_frames.tolist())

    assert noop_frames(dataclasses.replace(NOOP, noop_max_frames=1)) == {0, 1}
    assert noop_frames(MACHADO) == {0}
    drawn = noop_frames(NOOP)
    assert min(drawn) >= 0
    assert max(drawn) <= 30
    assert len(drawn) > 3


def test_seeds_are_new_for_every_episode_or_after_so_many_steps():
    # Episodes of 10 steps: seeded afresh after 30 of them, that is, at every third episode.
    capped = dataclasses.replace(NOOP, max_episode_frames=40)

    def seeds(reseed_steps):
        results = play(AtariLanes("pong", 1, 9, capped, reseed_steps=reseed_steps), 60)[1]
        return [episode.seed for result in results for episode in result.episodes]

    assert seeds(0) == [episode_seed(9, 0, episode) for episode in range(6)]
    assert seeds(25) == [episode_seed(9, 0, first) for first in (0, 0, 0, 3, 3, 3)]


def test_bad_actions_are_refused_and_change_nothing():
    env, twin = AtariLanes("pong", 2, 0, NOOP), AtariLanes("pong", 2, 0, NOOP)
    env.reset()

    for actions, message in (
        (np.array([0, 18]), r"action 18 in lane 1 is out of range; it must be in \[0, 17\]"),
        (np.array([-1, 0]), r"action -1 in lane 0 is out of range; it must be in \[0, 17\]"),
        (np.array([0.0, 1.0]), r"float64\[2\]; .* int64\[2\]"),
        (np.array([0, 1, 2]), r"int64\[3\]; .* int64\[2\]"),
        (np.array([True, False]), r"bool\[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(actions)

    assert_equal_play(play(env, 3, twin.reset()), play(twin, 3, twin.reset()))


def test_step_needs_a_reset_before_it_and_no_close():
    env = AtariLanes("pong", 1, 0, NOOP)

    with pytest.raises(RuntimeError, match="never reset"):
        env.step(np.array([0]))
    env.reset()
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step(np.array([0]))
    with pytest.raises(RuntimeError, match="closed"):
        env.reset()


@pytest.mark.parametrize("protocol", [NOOP, MACHADO], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize(
    ("game", "steps", "reseed_steps"),
    [("breakout", 250, 0), ("assault", 500, 300), ("pong", 40, 20_000)],
)
def test_restore_continues_bit_for_bit(game, steps, reseed_steps, protocol):
    env, twin = (AtariLanes(game, 2, 2, protocol, reseed_steps=reseed_steps) for _ in range(2))
    results = play(env, steps)[1]
    state = env.state()

    frames = twin.restore(through_a_file(state))

    assert (frames == results[-1].frames).all()
    for name, saved in state.items():
        assert np.array_equal(saved, twin.state()[name]), name
    assert_equal_play(play(twin, 120, frames, 1), play(env, 120, results[-1].frames, 1))


def test_restore_handles_lanes_of_different_depths_and_one_at_its_very_start():
    env, twin = (AtariLanes("breakout", 3, 0, MACHADO, reseed_steps=0) for _ in range(2))
    rng = np.random.default_rng(0)
    env.reset()
    while not (result := env.step(rng.integers(18, size=3))).episodes:
        pass
    state = env.state()

    frames = twin.restore(state)

    assert 0 in state["history_steps"]
    assert len(set(state["history_steps"].tolist())) > 1
    assert (frames == result.frames).all()
    assert_equal_play(play(twin, 50, frames), play(env, 50, result.frames))


def test_a_state_can_be_restored_into_an_environment_in_use():
    env = AtariLanes("pong", 2, 0, MACHADO)
    last = play(env, 30)[1][-1].frames
    state = env.state()
    expected = play(env, 30, last)

    assert_equal_play(play(env, 30, env.restore(state)), expected)


def test_a_state_that_does_not_belong_here_is_refused():
    env = AtariLanes("pong", 2, 7, NOOP)
    play(env, 20)
    state = env.state()

    with pytest.raises(ValueError, match="another seed than 8"):
        AtariLanes("pong", 2, 8, NOOP).restore(state)
    with pytest.raises(ValueError, match="2 lanes, this environment 1"):
        AtariLanes("pong", 1, 7, NOOP).restore(state)
    with pytest.raises(ValueError, match=r"39 actions for \[20, 20\] steps"):
        env.restore(state | {"actions": state["actions"][1:]})
    with pytest.raises(ValueError, match="action 200 in lane 0"):
        env.restore(state | {"actions": np.full(40, 200, np.uint8)})


def test_a_replay_that_leads_elsewhere_is_an_error():
    env = AtariLanes("pong", 2, 7, NOOP)
    play(env, 20)
    state = env.state()

    with pytest.raises(RuntimeError, match="led to scores of"):
        env.restore(state | {"scores": state["scores"] + [0, 1]})


def test_a_missing_cartridge_is_an_error_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))

    with pytest.raises(RomError, match=r"cartridge of Pong: .*unset ALE_ROMS_DIR"):
        AtariLanes("pong", 1, 0, NOOP)


def test_a_damaged_cartridge_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "pong.bin").write_bytes(b"no cartridge")
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))

    with pytest.raises(RomError, match=r"cartridge of Pong: The hash of pong.bin"):
        rom_md5(ATARI57["Pong"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 0}, "lanes is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"threads": 0}, "threads is 0"),
        ({"action_set": "all"}, "'all'; it must be one of full, minimal"),
        ({"protocol": "saber"}, "unknown protocol 'saber'"),
        ({"game": "pnog"}, "unknown game 'pnog'"),
    ],
)
def test_an_argument_out_of_range_is_an_error_with_the_value(change, message):
    arguments = {"game": "pong", "lanes": 1, "seed": 0, "protocol": "noop"} | change

    with pytest.raises(ValueError, match=message):
        AtariLanes(**arguments)
