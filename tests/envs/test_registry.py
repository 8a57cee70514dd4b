import numpy as np
import pytest

from envs.atari import AtariLanes
from envs.games import ATARI57, Game, UnknownGameError
from envs.interface import EnvSpec, VectorEnv
from envs.options import EnvOptions
from envs.registry import ENVIRONMENTS, Environment, Wanted, find_environment

TOY = "toy_memory"


def made(environment: Environment, **options: str) -> VectorEnv:
    return environment.make(EnvOptions(**options), Wanted(lanes=1, seed=0))


def spec_of(name: str, **options: str) -> EnvSpec:
    env = made(ENVIRONMENTS[name], **options)
    env.close()
    return env.spec


@pytest.mark.parametrize("text", ["ms_pacman", "MsPacman", "ALE/MsPacman-v5"])
def test_a_game_has_one_name_however_it_is_spelled(text: str) -> None:
    assert find_environment(text) is ENVIRONMENTS["MsPacman"]


def test_the_57_games_and_the_toy_are_there_each_under_its_own_name() -> None:
    assert [*ENVIRONMENTS][: len(ATARI57) + 1] == [*ATARI57, TOY]
    assert all(name == environment.name for name, environment in ENVIRONMENTS.items())
    assert find_environment(TOY) is ENVIRONMENTS[TOY]


def test_what_there_is_not_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UnknownGameError, match=r"pogn.*Pong"):
        find_environment("pogn")


def test_lanes_of_a_game_say_what_was_chosen_of_it() -> None:
    spec = spec_of("Pong", protocol="machado", action_set="minimal")

    assert (spec.name, spec.frames_per_step, spec.actions) == ("Pong", 4, 6)
    assert (spec.frame_height, spec.frame_width) == (84, 84)
    assert spec.protocol is not None
    assert (spec.protocol.name, spec.action_set) == ("machado", "minimal")
    assert spec.rom_md5 == ENVIRONMENTS["Pong"].find_rom_md5() == "60e0ea3cbe0913d39803477945e9e5ec"
    assert (spec.human_normalized(14.6), spec.human_normalized(-20.7)) == (1.0, 0.0)


def test_a_toy_says_that_it_has_neither_protocol_nor_rom_nor_a_humans_score() -> None:
    spec = spec_of(TOY, protocol="machado")

    assert (spec.name, spec.frames_per_step, spec.actions) == (TOY, 1, 2)
    assert (spec.protocol, spec.action_set, spec.rom_md5, spec.reference) == (None,) * 4
    assert spec.human_normalized(1.0) is None
    assert ENVIRONMENTS[TOY].find_rom_md5() is None


@pytest.mark.parametrize("game", ATARI57.values(), ids=lambda game: game.slug)
def test_every_game_starts_steps_and_is_what_its_name_stands_for(game: Game) -> None:
    environment = ENVIRONMENTS[game.name]
    env = made(environment)
    assert isinstance(env, AtariLanes)
    first = env.reset()
    results = [env.step(np.array([action])) for action in range(3)]
    spec = env.spec

    assert (spec.name, spec.reference) == (environment.name, environment.reference)
    assert spec.rom_md5 == environment.find_rom_md5()
    # ale-py offers no FIRE in Skiing.
    assert spec.actions == len(spec.action_meanings) == (9 if game.name == "Skiing" else 18)
    assert spec.action_meanings[0] == "NOOP"
    assert 0 <= env.noop_frames[0] <= 30
    assert first.any()
    for frames in (first, results[-1].frames):
        assert (frames.shape, frames.dtype) == ((1, 84, 84), np.uint8)
    assert results[-1].frames.any()
    assert results[-1].rewards.dtype == np.float32
    env.close()
