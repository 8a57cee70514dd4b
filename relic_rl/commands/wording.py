"""Phrases that several verbs print."""

from envs.games import find_game
from relic_rl.run_game import normalized_score


def against_human(game: str, score: float) -> str:
    """A score beside random play and a human's, in brackets; empty for a toy."""
    normalized = normalized_score(game, score)
    if normalized is None:
        return ""
    known = find_game(game)
    return (
        f" (random play {known.random:,.1f}, human {known.human:,.1f}: "
        f"{100 * normalized:.1f} % human-normalized)"
    )
