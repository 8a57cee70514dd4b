import numpy as np
import pytest

from envs.interface import VectorEnv
from envs.toy import BLANK, CUE_0, CUE_1, QUESTION, MemoryLanes


def picture_of(frame):
    """Which of the four pictures a frame is, told from its halves and its corner."""
    middle = frame.shape[1] // 2
    if frame[:, :middle].min() == 255:
        return CUE_0
    if frame[:, middle:].min() == 255:
        return CUE_1
    return BLANK if frame.max() == 0 else QUESTION


def play(env, steps, frames=None, choose=None, action_seed=0):
    """Everything that `steps` steps return, as plain data; random actions unless told."""
    rng = np.random.default_rng(action_seed)
    frames = env.reset() if frames is None else frames
    trace = [frames.tolist()]
    for _ in range(steps):
        actions = choose(frames) if choose else rng.integers(env.spec.actions, size=env.lanes)
        result = env.step(actions)
        frames = result.frames
        trace.append([part if isinstance(part, list) else part.tolist() for part in result])
    return trace


def test_it_is_a_vector_env():
    env: VectorEnv = MemoryLanes(2, seed=0)

    assert env.reset().shape == (2, env.spec.frame_height, env.spec.frame_width) == (2, 36, 36)
    assert len(env.spec.action_meanings) == env.spec.actions == 2
    env.close()


def test_an_episode_is_cue_blanks_question():
    env = MemoryLanes(1, seed=0, blank_frames=3)
    shown = [picture_of(env.reset()[0])]

    while not (result := env.step(np.array([0]))).terminated[0]:
        shown.append(picture_of(result.frames[0]))

    assert shown[0] in (CUE_0, CUE_1)
    assert shown[1:] == [BLANK, BLANK, BLANK, QUESTION]
    assert picture_of(result.frames[0]) in (CUE_0, CUE_1)
    assert picture_of(result.final_frames[0]) == BLANK


@pytest.mark.parametrize(("answer_right", "score"), [(True, 1.0), (False, -1.0)])
def test_only_the_answer_to_the_question_counts(answer_right, score):
    env = MemoryLanes(4, seed=1)
    frames = env.reset()
    cues = np.array([picture_of(frame) for frame in frames])
    rng = np.random.default_rng(0)

    for _ in range(7):
        result = env.step(rng.integers(2, size=4))
        assert not result.rewards.any()
        assert not result.terminated.any()
    result = env.step(cues if answer_right else 1 - cues)

    assert result.terminated.all()
    assert not result.truncated.any()
    assert result.rewards.tolist() == [score] * 4
    assert [(e.lane, e.score, e.steps, e.frames) for e in result.episodes] == [
        (lane, score, 8, 8) for lane in range(4)
    ]


def test_both_cues_occur_equally_often():
    env = MemoryLanes(8, seed=0, blank_frames=0)
    cues = [picture_of(frame) for frame in env.reset()]
    for _ in range(100):
        cues += [picture_of(frame) for frame in env.step(np.zeros(8, np.int64)).frames[:]]

    cues = [cue for cue in cues if cue in (CUE_0, CUE_1)]
    # 8 lanes x 51 episodes: 408 fair coins have a standard deviation of 0.025 in the mean.
    assert len(cues) == 408
    assert abs(np.mean(cues) - 0.5) < 0.1


def test_a_longer_episode_than_the_cap_is_truncated_and_not_terminated():
    env = MemoryLanes(2, seed=0, blank_frames=6, max_episode_steps=3)
    env.reset()

    ends = [env.step(np.zeros(2, np.int64)) for _ in range(6)]

    assert [bool(end.truncated.all()) for end in ends] == [False, False, True] * 2
    assert not any(end.terminated.any() for end in ends)
    assert [(e.steps, e.terminated, e.score) for e in ends[2].episodes] == [(3, False, 0.0)] * 2


def test_same_seed_gives_the_same_episodes_and_another_seed_others():
    traces = [play(MemoryLanes(3, seed), 40) for seed in (5, 5, 6)]

    assert traces[0] == traces[1]
    assert traces[0] != traces[2]


def test_a_lane_does_not_depend_on_the_number_of_lanes():
    one, three = MemoryLanes(1, seed=4), MemoryLanes(3, seed=4)

    assert (one.reset()[0] == three.reset()[0]).all()
    for _ in range(40):
        alone, together = one.step(np.zeros(1, int)), three.step(np.zeros(3, int))
        assert (alone.frames[0] == together.frames[0]).all()
        assert alone.rewards[0] == together.rewards[0]


@pytest.mark.parametrize("steps", [0, 3, 8, 21])
def test_restore_continues_bit_for_bit(steps):
    env = MemoryLanes(3, seed=7)
    play(env, steps)
    state = env.state()
    twin = MemoryLanes(3, seed=7)

    frames = twin.restore(state)

    assert (frames == env.shown()).all()
    assert play(twin, 30, frames, action_seed=1) == play(env, 30, frames, action_seed=1)


def test_a_state_of_another_seed_or_number_of_lanes_is_refused():
    env = MemoryLanes(3, seed=7)
    env.reset()

    with pytest.raises(ValueError, match="another seed than 8"):
        MemoryLanes(3, seed=8).restore(env.state())
    with pytest.raises(ValueError, match="3 lanes, this environment 2"):
        MemoryLanes(2, seed=7).restore(env.state())


def test_an_action_out_of_range_is_refused():
    env = MemoryLanes(2, seed=0)
    env.reset()

    with pytest.raises(ValueError, match=r"action 2 in lane 1 .* \[0, 1\]"):
        env.step(np.array([0, 2]))


def test_step_before_reset_is_an_error():
    with pytest.raises(RuntimeError, match="reset"):
        MemoryLanes(1, seed=0).step(np.array([0]))


def test_a_cap_of_zero_steps_is_refused_by_value():
    with pytest.raises(ValueError, match="max_episode_steps is 0"):
        MemoryLanes(1, seed=0, max_episode_steps=0)
