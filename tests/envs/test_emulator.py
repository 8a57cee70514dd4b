"""The lanes against ale-py's single environment under Gymnasium's own preprocessing.

The cap: `TimeLimit` counts steps above the preprocessing, so that, as in `AtariLanes`, a truncated
episode's last frame is a real one. The resize is opencv's INTER_AREA on both sides: the frames are
equal to the last bit, also the stale last frame of an episode that terminated inside a frame skip.
"""

import dataclasses

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, TimeLimit

from envs.atari import AtariLanes
from envs.emulator import Emulator
from envs.games import find_game
from envs.protocol import PROTOCOLS

pytest.importorskip("cv2", reason="Gymnasium's AtariPreprocessing resizes with opencv")


class SeededStart(gymnasium.Wrapper):
    """Seeds the emulator itself, where Gymnasium hashes a seed; and takes the number of no-ops."""

    def reset(self, *, seed=None, options):
        if seed is not None:
            self.unwrapped.ale.setInt("random_seed", seed)
            self.unwrapped.load_game()
        frame, info = self.env.reset()
        for _ in range(options["noop_frames"]):
            frame, _, terminated, _, info = self.env.step(0)
            if terminated:
                frame, info = self.env.reset()
        return frame, info


def make_reference(game, protocol, action_set):
    """The game as an agent sees it: uint8[84, 84] a step."""
    gymnasium.register_envs(ale_py)
    emulator = gymnasium.make(
        game.env_id,
        disable_env_checker=True,
        frameskip=1,
        repeat_action_probability=protocol.sticky_probability,
        full_action_space=action_set == "full",
        max_num_frames_per_episode=0,
    )
    preprocessed = AtariPreprocessing(
        SeededStart(emulator),
        noop_max=0,
        frame_skip=protocol.frame_skip,
        screen_size=(84, 84),
        terminal_on_life_loss=False,
        grayscale_obs=True,
        grayscale_newaxis=False,
        scale_obs=False,
    )
    return TimeLimit(preprocessed, max_episode_steps=protocol.max_episode_steps)


def assert_lanes_equal_reference(game, protocol, episodes, reseed_steps, action_set="full"):
    """Plays whole episodes in one lane and in the reference, and compares everything."""
    lanes = AtariLanes(game, 1, 3, protocol, action_set=action_set, reseed_steps=reseed_steps)
    reference = make_reference(find_game(game), protocol, action_set)
    rng = np.random.default_rng(0)
    frame = lanes.reset()[0]
    for _ in range(episodes):
        state = lanes.state()
        seeded_now = state["history_steps"][0] == 0
        expected, _ = reference.reset(
            seed=int(state["seeds"][0]) if seeded_now else None,
            options={"noop_frames": int(lanes.noop_frames[0])},
        )
        assert (frame == expected).all()
        score, ended, lives = 0.0, False, reference.unwrapped.ale.lives()
        while not ended:
            action = int(rng.integers(lanes.spec.actions))
            result = lanes.step(np.array([action]))
            expected, reward, terminated, truncated, _ = reference.step(action)
            assert (result.final_frames[0] == expected).all()
            assert result.rewards[0] == reward
            assert (result.terminated[0], result.truncated[0]) == (terminated, truncated)
            score, ended = score + reward, terminated or truncated
            lives_before, lives = lives, reference.unwrapped.ale.lives()
            assert result.life_lost[0] == (lives < lives_before and not ended)
        assert result.episodes[0].score == score
        frame = result.frames[0]


@pytest.mark.parametrize("protocol", ["noop", "machado"])
@pytest.mark.parametrize("game", ["pong", "seaquest", "boxing", "berzerk", "skiing"])
def test_lanes_equal_the_reference_frame_by_frame(game, protocol):
    capped = dataclasses.replace(PROTOCOLS[protocol], max_episode_frames=320)

    assert_lanes_equal_reference(game, capped, episodes=3, reseed_steps=120)


def test_lanes_equal_the_reference_to_the_end_of_games_with_a_seed_and_minimal_actions_each():
    assert_lanes_equal_reference(
        "breakout", PROTOCOLS["noop"], episodes=2, reseed_steps=0, action_set="minimal"
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
@pytest.mark.parametrize(
    "game", ["pong", "breakout", "seaquest", "boxing", "ms_pacman", "name_this_game", "solaris"]
)
def test_lanes_equal_the_reference_over_full_episodes(game, protocol):
    assert_lanes_equal_reference(game, protocol, episodes=2, reseed_steps=1_000)


def test_the_emulator_films_what_a_lane_does():
    protocol, game = PROTOCOLS["machado"], find_game("seaquest")
    lanes = AtariLanes(game, 1, 0, protocol, reseed_steps=0)
    emulator = Emulator(game, protocol.sticky_probability)
    lanes.reset()
    emulator.start(int(lanes.state()["seeds"][0]), int(lanes.noop_frames[0]))
    rng = np.random.default_rng(0)
    lane_score, film_score, pictures = 0.0, 0.0, []

    for _ in range(200):
        action = int(rng.integers(18))
        lane_score += lanes.step(np.array([action])).rewards[0]
        for _ in range(protocol.frame_skip):
            film_score += emulator.ale.act(emulator.actions[action])
            pictures.append(emulator.ale.getScreenRGB())

    assert film_score == lane_score > 0
    assert len(pictures) == 800
    assert pictures[0].shape == (210, 160, 3)
    assert (pictures[0] != pictures[-1]).any()
