import pytest

from envs.games import ATARI57, UnknownGameError
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
    assert [*ENVIRONMENTS] == [*ATARI57, TOY]
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


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_known_by_name_is_what_the_lanes_say(name: str) -> None:
    environment, spec = ENVIRONMENTS[name], spec_of(name)

    assert (spec.name, spec.reference) == (environment.name, environment.reference)
    assert spec.rom_md5 == environment.find_rom_md5()
