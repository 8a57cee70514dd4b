import pytest

from relic_rl.errors import UsageError
from relic_rl.run_game import TOY_GAME, game_name, game_rom_md5, game_slug, normalized_score


@pytest.mark.parametrize("text", ["ms_pacman", "MsPacman", "ALE/MsPacman-v5"])
def test_a_game_has_one_name_however_it_is_spelled(text: str) -> None:
    assert game_name(text) == "MsPacman"


def test_a_game_that_there_is_not_is_a_users_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"pogn.*Pong") as error:
        game_name("pogn")
    assert "\n" not in str(error.value)


def test_a_games_folder_hash_and_human_score_are_its_own() -> None:
    assert game_slug("MsPacman") == "ms_pacman"
    assert game_rom_md5("Pong") == "60e0ea3cbe0913d39803477945e9e5ec"
    assert normalized_score("Pong", 14.6) == 1.0
    assert normalized_score("Pong", -20.7) == 0.0


def test_the_toy_keeps_its_name_and_has_neither_a_rom_nor_a_human_score() -> None:
    assert game_name(TOY_GAME) == game_slug(TOY_GAME) == TOY_GAME
    assert game_rom_md5(TOY_GAME) is None
    assert normalized_score(TOY_GAME, 1.0) is None


def test_what_is_none_of_the_57_has_no_human_score() -> None:
    assert normalized_score("pogn", 1.0) is None
