import dataclasses

import pytest

from envs.protocol import PROTOCOLS, EpisodeProtocol, find_protocol


def test_the_faithful_protocol_is_30_no_ops_without_stickiness_for_30_minutes():
    # 30 minutes of 60 frames a second: 30 * 60 * 60 = 108,000 frames, 27,000 steps of 4.
    assert find_protocol("noop") == EpisodeProtocol("noop", 30, 0.0, 108_000, frame_skip=4)
    assert find_protocol("noop").max_episode_steps == 27_000


def test_machado_has_sticky_actions_in_place_of_no_ops_and_the_same_cap():
    noop, machado = PROTOCOLS["noop"], PROTOCOLS["machado"]

    assert (machado.sticky_probability, machado.noop_max_frames) == (0.25, 0)
    assert machado.max_episode_frames == noop.max_episode_frames


def test_an_unknown_protocol_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="'saber'; there are noop, machado"):
        find_protocol("saber")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noop_max_frames": -1}, "noop_max_frames is -1"),
        ({"sticky_probability": 1.0}, "sticky_probability is 1.0"),
        ({"frame_skip": 0}, "frame_skip is 0"),
        ({"max_episode_frames": 0}, "max_episode_frames is 0"),
        ({"max_episode_frames": 402}, "max_episode_frames is 402; .* multiple of frame_skip"),
    ],
)
def test_a_value_out_of_range_is_an_error_with_the_value(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PROTOCOLS["noop"], **change)
