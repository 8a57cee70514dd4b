import pytest

from envs.games import ATARI57, GAME_SETS, Game, UnknownGameError, find_game, title_of


def test_there_are_57_games_in_alphabetical_order():
    assert len(ATARI57) == 57
    assert list(ATARI57) == sorted(ATARI57)
    assert all(name == game.name for name, game in ATARI57.items())


@pytest.mark.parametrize(
    ("name", "human", "random"),
    [
        ("Alien", 7127.7, 227.8),
        ("DoubleDunk", -16.4, -18.6),
        ("MontezumaRevenge", 4753.3, 0.0),
        ("Pong", 14.6, -20.7),
        ("Skiing", -4336.9, -17098.1),
        ("VideoPinball", 17667.9, 0.0),
        ("Zaxxon", 9173.3, 32.5),
    ],
)
def test_scores_are_those_of_the_published_table(name, human, random):
    assert ATARI57[name] == Game(name, human=human, random=random)


def test_a_human_beats_a_random_player_in_every_game():
    assert all(game.human > game.random for game in ATARI57.values())


def test_the_sets_are_of_known_games_in_order():
    sets = {name: found.games for name, found in GAME_SETS.items()}

    assert {name: len(games) for name, games in sets.items()} == {
        "all": 57,
        "atari100k": 26,
        "atari5": 5,
    }
    assert all(list(games) == [g for g in ATARI57 if g in games] for games in sets.values())
    assert {"Alien", "Pong", "UpNDown"} < set(sets["atari100k"])
    assert sets["atari5"] == ("BattleZone", "DoubleDunk", "NameThisGame", "Phoenix", "Qbert")


def test_games_have_the_title_of_the_set_that_they_are_and_of_no_other():
    five = GAME_SETS["atari5"].games

    assert title_of(five[::-1]) == title_of(dict.fromkeys(five)) == "the five games of Atari-5"
    assert title_of([*five, "Pong"]) is title_of(five[1:]) is title_of([]) is None


def test_names_of_a_game_follow_from_its_camel_case_name():
    game = ATARI57["UpNDown"]

    assert (game.slug, game.env_id, game.rom) == ("up_n_down", "ALE/UpNDown-v5", "up_n_down")


@pytest.mark.parametrize(
    "text", ["MsPacman", "ms_pacman", "ms-pacman", "ALE/MsPacman-v5", "mspacman", " MS PACMAN "]
)
def test_a_game_is_found_under_all_its_names(text):
    assert find_game(text) is ATARI57["MsPacman"]


@pytest.mark.parametrize("game", ATARI57.values(), ids=lambda game: game.slug)
def test_every_game_is_found_by_its_own_slug_and_id(game):
    assert find_game(game.slug) is game
    assert find_game(game.env_id) is game


@pytest.mark.parametrize(("text", "nearest"), [("pnog", "Pong"), ("Pacman", "MsPacman")])
def test_an_unknown_game_is_an_error_that_names_the_nearest_in_one_line(text, nearest):
    with pytest.raises(UnknownGameError, match=f"{text!r}: nearest is {nearest!r}") as error:
        find_game(text)

    assert "relic-rl games lists all 57" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["ALE/Pong-v9", "ALE/Pong-v55", "Pong-v5", "ALE/Pong", "x/Pong-v5"]
)
def test_an_id_that_gymnasium_does_not_have_is_refused_with_the_right_one(text):
    with pytest.raises(UnknownGameError, match=f"{text!r}: nearest is 'ALE/Pong-v5'"):
        find_game(text)


@pytest.mark.parametrize(
    "text", ["PongNoFrameskip-v4", "PongDeterministic-v0", "Pong-v0", "Pong-v4", "ALE/Pong-v5"]
)
def test_every_id_that_gymnasium_has_of_a_game_names_it(text):
    assert find_game(text) is ATARI57["Pong"]


@pytest.mark.parametrize("text", ["", "all", "ALE/Tetris-v5", "x"])
def test_a_name_that_resembles_none_is_an_error_that_suggests_none(text):
    with pytest.raises(UnknownGameError) as error:
        find_game(text)

    assert str(error.value) == f"unknown game {text!r}; relic-rl games lists all 57"
