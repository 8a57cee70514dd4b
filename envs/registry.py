"""Every environment by name: the 57 games, and the toy. A new one is an entry in `ENVIRONMENTS`.

An entry says what is known of an environment before lanes of it are made. The lanes say the rest
themselves: `envs.interface.EnvSpec`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from envs import toy
from envs.atari import RESEED_STEPS, AtariLanes, rom_md5
from envs.flavoured import FlavouredLanes, find_flavours
from envs.games import ATARI57, Game, find_game
from envs.interface import FilmedLanes, Flavour, Flavours, VectorEnv
from envs.options import EnvOptions
from envs.protocol import find_protocol
from envs.ram import RamVariable, ram_variables

_RAM_VARIABLES = ram_variables()


class Wanted(NamedTuple):
    """Lanes that are asked for: see `envs.atari.AtariLanes`."""

    lanes: int
    seed: int
    threads: int = 1
    reseed_steps: int = RESEED_STEPS


@dataclass(frozen=True)
class Environment:
    """What is known of an environment by its name."""

    name: str
    """`MsPacman`, as in the papers' tables; a toy's is its own."""
    make: Callable[[EnvOptions, Wanted], VectorEnv]
    """Makes lanes of it; what it does not have of options and wishes is ignored."""
    find_rom_md5: Callable[[], str | None] = lambda: None
    """The MD5 of its cartridge image here, or None if it has none; raises RomError."""
    reference: Game | None = None
    """With a human's and random play's scores; None where nobody has measured them."""
    ram_variables: tuple[RamVariable, ...] = ()
    """What is known of its memory."""
    find_flavours: Callable[[], Flavours] = lambda: Flavours((0,), (0,))
    """The modes and difficulties that it has; raises RomError."""
    make_flavour: Callable[[EnvOptions, Wanted, Flavour], FilmedLanes] | None = None
    """Makes lanes of any of these, each episode seeded; None if there is but one."""


def find_environment(text: str) -> Environment:
    """Returns the environment called `text`: a toy's name, or any that `find_game` knows.

    Raises:
      UnknownGameError: there is none; the message is one line.
    """
    return ENVIRONMENTS.get(text) or ENVIRONMENTS[find_game(text).name]


def _make_game(game: Game, options: EnvOptions, wanted: Wanted) -> VectorEnv:
    return AtariLanes(
        game,
        wanted.lanes,
        wanted.seed,
        options.protocol,
        action_set=options.action_set,
        threads=wanted.threads,
        reseed_steps=wanted.reseed_steps,
    )


def _make_flavour(game: Game, options: EnvOptions, wanted: Wanted, flavour: Flavour) -> FilmedLanes:
    return FlavouredLanes(
        game,
        flavour,
        wanted.lanes,
        wanted.seed,
        find_protocol(options.protocol),
        action_set=options.action_set,
    )


def _make_memory(options: EnvOptions, wanted: Wanted) -> VectorEnv:
    return toy.MemoryLanes(wanted.lanes, wanted.seed)


ENVIRONMENTS: dict[str, Environment] = {
    **{
        name: Environment(
            name,
            partial(_make_game, game),
            partial(rom_md5, game),
            game,
            _RAM_VARIABLES.get(name, ()),
            partial(find_flavours, game),
            partial(_make_flavour, game),
        )
        for name, game in ATARI57.items()
    },
    toy.SPEC.name: Environment(toy.SPEC.name, _make_memory, ram_variables=toy.RAM_VARIABLES),
}
