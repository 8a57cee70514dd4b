"""The game of a run: one of the 57, or a toy of ours, which has neither a ROM nor human scores."""

from envs.atari import rom_md5
from envs.games import ATARI57, UnknownGameError, find_game
from relic_rl.errors import UsageError

TOY_GAME = "toy_memory"
"""For tests and for debugging: solved only by an agent with memory."""


def game_name(text: str) -> str:
    """The canonical name of a game; a toy's is itself.

    Raises:
      UsageError: no such game.
    """
    if text == TOY_GAME:
        return text
    try:
        return find_game(text).name
    except UnknownGameError as error:
        raise UsageError(str(error)) from None


def game_slug(game: str) -> str:
    """The name that folders have, of a canonical one: `ms_pacman`."""
    return ATARI57[game].slug if game in ATARI57 else game


def game_rom_md5(game: str) -> str | None:
    """The MD5 of the ROM here; None for a toy.

    Raises:
      RomError: it is missing.
    """
    return rom_md5(ATARI57[game]) if game in ATARI57 else None


def normalized_score(game: str, score: float) -> float | None:
    """Human-normalized score as a fraction; None for a toy, and for any name but the 57."""
    try:
        return find_game(game).human_normalized(score)
    except UnknownGameError:
        return None
