"""The 57 Atari games: their names, and the scores of a human and of a random player.

The scores are those of the ReLIC paper's table of all games ("Representation Learning via Invariant
Causal Mechanisms", Mitrovic et al., ICLR 2021, table 10), the ones Agent57 uses too: up to 30 no-op
frames at the start of an episode, no sticky actions, and at most 108,000 frames (30 minutes).
They come from the "no-op starts" line of work, and must not be mixed with the "human starts" set.

One entry is peculiar: VideoPinball's random score is 0.0 here, as in ReLIC and Agent57,
and 16256.9 in Nature-DQN and dqn_zoo. A mean over 57 games depends on it; we keep what the papers
that we compare with used.
"""

import difflib
import re
from dataclasses import dataclass

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


ATARI57: dict[str, Game] = {
    game.name: game
    for game in (
        Game("Alien", human=7127.7, random=227.8),
        Game("Amidar", human=1719.5, random=5.8),
        Game("Assault", human=742.0, random=222.4),
        Game("Asterix", human=8503.3, random=210.0),
        Game("Asteroids", human=47388.7, random=719.1),
        Game("Atlantis", human=29028.1, random=12850.0),
        Game("BankHeist", human=753.1, random=14.2),
        Game("BattleZone", human=37187.5, random=2360.0),
        Game("BeamRider", human=16926.5, random=363.9),
        Game("Berzerk", human=2630.4, random=123.7),
        Game("Bowling", human=160.7, random=23.1),
        Game("Boxing", human=12.1, random=0.1),
        Game("Breakout", human=30.5, random=1.7),
        Game("Centipede", human=12017.0, random=2090.9),
        Game("ChopperCommand", human=7387.8, random=811.0),
        Game("CrazyClimber", human=35829.4, random=10780.5),
        Game("Defender", human=18688.9, random=2874.5),
        Game("DemonAttack", human=1971.0, random=152.1),
        Game("DoubleDunk", human=-16.4, random=-18.6),
        Game("Enduro", human=860.5, random=0.0),
        Game("FishingDerby", human=-38.7, random=-91.7),
        Game("Freeway", human=29.6, random=0.0),
        Game("Frostbite", human=4334.7, random=65.2),
        Game("Gopher", human=2412.5, random=257.6),
        Game("Gravitar", human=3351.4, random=173.0),
        Game("Hero", human=30826.4, random=1027.0),
        Game("IceHockey", human=0.9, random=-11.2),
        Game("Jamesbond", human=302.8, random=29.0),
        Game("Kangaroo", human=3035.0, random=52.0),
        Game("Krull", human=2665.5, random=1598.0),
        Game("KungFuMaster", human=22736.3, random=258.5),
        Game("MontezumaRevenge", human=4753.3, random=0.0),
        Game("MsPacman", human=6951.6, random=307.3),
        Game("NameThisGame", human=8049.0, random=2292.3),
        Game("Phoenix", human=7242.6, random=761.4),
        Game("Pitfall", human=6463.7, random=-229.4),
        Game("Pong", human=14.6, random=-20.7),
        Game("PrivateEye", human=69571.3, random=24.9),
        Game("Qbert", human=13455.0, random=163.9),
        Game("Riverraid", human=17118.0, random=1338.5),
        Game("RoadRunner", human=7845.0, random=11.5),
        Game("Robotank", human=11.9, random=2.2),
        Game("Seaquest", human=42054.7, random=68.4),
        Game("Skiing", human=-4336.9, random=-17098.1),
        Game("Solaris", human=12326.7, random=1236.3),
        Game("SpaceInvaders", human=1668.7, random=148.0),
        Game("StarGunner", human=10250.0, random=664.0),
        Game("Surround", human=6.5, random=-10.0),
        Game("Tennis", human=-8.3, random=-23.8),
        Game("TimePilot", human=5229.2, random=3568.0),
        Game("Tutankham", human=167.6, random=11.4),
        Game("UpNDown", human=11693.2, random=533.4),
        Game("Venture", human=1187.5, random=0.0),
        Game("VideoPinball", human=17667.9, random=0.0),
        Game("WizardOfWor", human=4756.5, random=563.5),
        Game("YarsRevenge", human=54576.9, random=3092.9),
        Game("Zaxxon", human=9173.3, random=32.5),
    )
}
"""By CamelCase name, in alphabetical order."""

ATARI100K = (
    "Alien",
    "Amidar",
    "Assault",
    "Asterix",
    "BankHeist",
    "BattleZone",
    "Boxing",
    "Breakout",
    "ChopperCommand",
    "CrazyClimber",
    "DemonAttack",
    "Freeway",
    "Frostbite",
    "Gopher",
    "Hero",
    "Jamesbond",
    "Kangaroo",
    "Krull",
    "KungFuMaster",
    "MsPacman",
    "Pong",
    "PrivateEye",
    "Qbert",
    "RoadRunner",
    "Seaquest",
    "UpNDown",
)
"""The games of the Atari 100k benchmark (Kaiser et al., "Model-Based Reinforcement Learning for
Atari", ICLR 2020). Its papers normalize them with the human and random scores above."""

GAME_SETS: dict[str, tuple[str, ...]] = {"all": tuple(ATARI57), "atari100k": ATARI100K}
"""What stands for several games where a user names some."""


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
