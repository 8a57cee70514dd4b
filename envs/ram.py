"""What a game keeps in memory: which bytes are known, and how they are read beside the lanes.

`ram_variables.csv` says at which byte of an Atari's 128 the variables of 22 games are: AtariARI.

Source: Anand et al., "Unsupervised State Representation Learning in Atari", NeurIPS 2019, and the
table of its code (mila-iqia/atari-representation-learning, `ram_annotations.py`), whose categories
follow from the variables' names (`categorization.py`). Deviation: Asteroids' byte of lives and
direction is in the first of its two categories.

ale-py's vector environment shows no memory. An emulator beside each lane goes through the same
states, as a film's does (`envs.emulator`), and its memory is read.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.emulator import LaneEmulator
from envs.interface import StepResult

CATEGORIES = (
    "agent_localization",
    "small_object_localization",
    "other_localization",
    "score_clock_lives_display",
    "misc",
)
"""AtariARI's kinds of variables."""
_FILE = Path(__file__).parent / "ram_variables.csv"


class RamVariable(NamedTuple):
    """A variable of a game's state that is one byte of its memory."""

    name: str
    byte: int
    category: str
    """One of `CATEGORIES`."""


def ram_variables() -> dict[str, tuple[RamVariable, ...]]:
    """The variables of each game (`MsPacman`) that AtariARI has."""
    with _FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        game: tuple(
            RamVariable(row["variable"], int(row["byte"]), row["category"])
            for row in rows
            if row["game"] == game
        )
        for game in dict.fromkeys(row["game"] for row in rows)
    }


class ToldRam:
    """Memory that the lanes themselves tell, as an `envs.interface.Ram`.

    Args:
      read: uint8[N, bytes], of the episodes that the lanes are in.
    """

    def __init__(self, read: Callable[[], NDArray[np.uint8]]) -> None:
        self._read = read

    def follow(self, actions: NDArray[np.integer[Any]], result: StepResult) -> None:
        """See `Ram.follow`."""

    def read(self) -> NDArray[np.uint8]:
        """See `Ram.read`."""
        return self._read()


class EmulatorRam:
    """The memory of Atari lanes, as an `envs.interface.Ram`.

    Args:
      emulators: one beside each lane, whose episode it begins here.
    """

    def __init__(self, emulators: Sequence[LaneEmulator]) -> None:
        self._emulators = emulators
        for emulator in emulators:
            emulator.begin()

    def follow(self, actions: NDArray[np.integer[Any]], result: StepResult) -> None:
        """See `Ram.follow`."""
        ended = result.terminated | result.truncated
        for lane, emulator in enumerate(self._emulators):
            _, points = emulator.step(int(actions[lane]))
            if points != result.rewards[lane]:
                raise RuntimeError(
                    f"beside lane {lane} the same action brought {points:g}, not "
                    f"{result.rewards[lane]:g}: the game is another one"
                )
            if ended[lane]:
                emulator.begin()

    def read(self) -> NDArray[np.uint8]:
        """See `Ram.read`: 128 bytes a lane."""
        return np.stack([emulator.memory() for emulator in self._emulators])
