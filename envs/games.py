"""The 57 Atari games: their names, and the scores of a human and of a random player.

`games.csv` has a row for each. Its scores are those of the ReLIC paper's table of all games
("Representation Learning via Invariant Causal Mechanisms", Mitrovic et al., ICLR 2021, table 10),
the ones Agent57 uses too: up to 30 no-op frames at the start of an episode, no sticky actions, and
at most 108,000 frames (30 minutes). They come from the "no-op starts" line of work, and must not be
mixed with the "human starts" set.

One entry is peculiar: VideoPinball's random score is 0.0 here, as in ReLIC and Agent57,
and 16256.9 in Nature-DQN and dqn_zoo. A mean over 57 games depends on it; we keep what the papers
that we compare with used.
"""

import csv
import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

REFERENCE_SOURCE = (
    "ReLIC paper, table 10 (no-op starts; for random play of VideoPinball it has 0.0, others have"
    " 16,256.9)"
)
"""Of the human and random scores, in words."""


NEAR = 0.7
"""The least likeness of a name that is suggested: `pnog` is like Pong, `all` like none."""


class UnknownGameError(ValueError):
    """A name that is none of the 57; the message is one line and names the nearest."""


@dataclass(frozen=True)
class Game:
    """One game and its two reference scores, in points of an undiscounted, unclipped episode."""

    name: str
    """CamelCase, as in the papers' tables: `MsPacman`."""
    human: float
    random: float

    def human_normalized(self, score: float) -> float:
        """(score - random) / (human - random): 0 is random play, 1 the human."""
        return (score - self.random) / (self.human - self.random)

    @property
    def slug(self) -> str:
        """Lower case with underscores, for folders and flags: `ms_pacman`."""
        return slug_of(self.name)

    @property
    def env_id(self) -> str:
        """The Gymnasium id of the single environment: `ALE/MsPacman-v5`."""
        return f"ALE/{self.name}-v5"

    @property
    def rom(self) -> str:
        """The name of the cartridge image in ale-py: `ms_pacman`."""
        return self.slug


def slug_of(name: str) -> str:
    """A CamelCase name in lower case with underscores."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


with (Path(__file__).parent / "games.csv").open(newline="", encoding="utf-8") as _file:
    _ROWS = list(csv.DictReader(_file))

ATARI57: dict[str, Game] = {
    row["game"]: Game(row["game"], human=float(row["human"]), random=float(row["random"]))
    for row in _ROWS
}
"""By CamelCase name, in alphabetical order."""


class GameSet(NamedTuple):
    """Games that a benchmark takes together."""

    title: str
    """After "over": "the 26 games of Atari 100k"."""
    games: tuple[str, ...]
    """In alphabetical order."""


def _set(name: str, title: str) -> GameSet:
    return GameSet(title, tuple(row["game"] for row in _ROWS if name in row["sets"].split()))


GAME_SETS: dict[str, GameSet] = {
    "all": GameSet("all 57 games", tuple(ATARI57)),
    "atari100k": _set("atari100k", "the 26 games of Atari 100k"),
    "atari5": _set("atari5", "the five games of Atari-5"),
}
"""What stands for several games where a user names some.

Sources: Kaiser et al., "Model-Based Reinforcement Learning for Atari", ICLR 2020, whose followers
normalize with the human and random scores above; Aitchison et al., "Atari-5: Distilling the Arcade
Learning Environment down to Five Games", ICML 2023, chosen to predict the median of the 57.
"""


def title_of(games: Collection[str]) -> str | None:
    """The title of the set that is exactly these games; None if there is none."""
    titles = (one.title for one in GAME_SETS.values() if set(one.games) == set(games))
    return next(titles, None)


def find_game(text: str) -> Game:
    """Returns the game called `text`: `pong`, `Pong`, `ms_pacman`, `ms-pacman`, `ALE/Pong-v5`.

    Gymnasium's older ids (`PongNoFrameskip-v4`) name the game, too. None of its ids says under
    which protocol it is played: that is a setting.

    Raises:
      UnknownGameError: none of the 57 is called so; the message holds the nearest name, if one is
        near.
    """
    by_key = {name.lower(): game for name, game in ATARI57.items()}
    name = text.strip().lower()
    gymnasium_id = re.fullmatch(
        r"ale/([a-z]+)-v5|([a-z]+?)(?:noframeskip|deterministic)?-v[04]", name
    )
    key = gymnasium_id[1] or gymnasium_id[2] if gymnasium_id else re.sub(r"[-_ ]", "", name)
    if key in by_key:
        return by_key[key]
    bare = re.sub(r"^.*/|-v\d+$|[-_ ]", "", name)
    hint = ""
    for nearest in difflib.get_close_matches(bare, by_key, n=1, cutoff=NEAR):
        known = by_key[nearest]
        shown = known.env_id if re.search(r"/|-v\d+$", name) else known.name
        hint = f": nearest is {shown!r}"
    raise UnknownGameError(f"unknown game {text!r}{hint}; relic-rl games lists all 57")
