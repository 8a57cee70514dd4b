"""List the 57 games with their random and human scores."""

from envs.games import ATARI57, REFERENCE_SOURCE
from relic_rl.commands import arguments
from relic_rl.commands.printing import new_table, print_json, print_table

USAGE = "[flags]"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_json(parser)


def run(*, as_json: bool = False) -> None:
    """Prints the games."""
    if as_json:
        games = [
            {"name": game.name, "slug": game.slug, "random": game.random, "human": game.human}
            for game in ATARI57.values()
        ]
        print_json({"games": games, "source": REFERENCE_SOURCE})
        return
    columns = ("game", "name here"), ("random", "human")
    table = new_table(*columns, caption=f"From the {REFERENCE_SOURCE}.")
    for game in ATARI57.values():
        table.add_row(game.name, game.slug, f"{game.random:,.1f}", f"{game.human:,.1f}")
    print_table(table, spare=["name here"])
