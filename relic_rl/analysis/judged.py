"""What was saved of a report's runs: evaluations under other conditions, and probes.

Of a run the newest checkpoint counts that was judged, and of its rows those of one seed and number
of episodes: what most conditions were played with. What is left out is named. The rows of tables
over such runs are made here, too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from envs.games import ATARI57, find_game
from envs.interface import Flavour
from relic_rl.analysis.runs import Run, shown
from relic_rl.analysis.scores import Estimate, mean_over_games
from relic_rl.analysis.series import Series, first_few
from relic_rl.analysis.tables import Cell, with_best
from relic_rl.errors import UserError
from relic_rl.records.probes import Probing, read_probings
from relic_rl.records.robustness import (
    NO_CORRUPTION,
    ROBUSTNESS_FILE,
    Judgement,
    read_judgements,
)

Look = tuple[str, int]
"""A corruption and its severity."""
GameRuns = tuple[str, dict[str, list["Judged"]]]
"""With the runs of each series, by its label."""

CLEAN: Look = (NO_CORRUPTION, 0)
BEST = "The best of a row is bold; below a mean is its 95 % interval over seeds."


@dataclass(frozen=True, slots=True)
class Judged:
    """A run, and what was saved of its newest checkpoint that was judged."""

    label: str
    """Of its series."""
    run: Run
    looks: dict[Look, Judgement]
    """In the default mode, the clean one among them; empty if nothing was saved."""
    flavours: dict[Flavour, Judgement]
    """Uncorrupted, the default and others."""
    probings: tuple[Probing, ...]
    """Of each moment that was probed, by frames."""

    @property
    def name(self) -> str:
        """Of several arms, runs may have the same name."""
        return f"{self.label} {self.run.name}"

    @property
    def rows(self) -> list[Judgement]:
        """All that count."""
        return list(dict.fromkeys([*self.looks.values(), *self.flavours.values()]))

    def above_random(self, look: Look) -> float:
        """What it earned in the default mode, on average, more than random play."""
        return self.looks[look].mean_score - find_game(self.run.game).random

    def clean_score(self) -> float:
        """In the default mode, uncorrupted."""
        return self.looks[CLEAN].mean_score


def read_judged(series: Sequence[Series]) -> tuple[list[Judged], list[str]]:
    """Reads what was saved of the runs that count; and says what is left out, and why."""
    judged: list[Judged] = []
    failures: list[str] = []
    for one in series:
        for run in one.runs:
            judgements: list[Judgement] = []
            probings: list[Probing] = []
            try:
                judgements = read_judgements(run.folder)
            except UserError as error:
                failures.append(f"{one.label} {run.name}: {shown(str(error))}")
            try:
                probings = read_probings(run.folder)
            except UserError as error:
                failures.append(f"{one.label} {run.name}: {shown(str(error))}")
            last_frames = max((j.env_frames for j in judgements), default=0)
            newest = [j for j in judgements if j.env_frames == last_frames]
            looks = _of_most(
                [j for j in newest if j.default_mode], lambda j: (j.corruption, j.severity)
            )
            flavours = _of_most(
                [j for j in newest if j.is_clean], lambda j: Flavour(j.mode, j.difficulty)
            )
            if looks and CLEAN not in looks:
                failures.append(
                    f"{one.label} {run.name}: {ROBUSTNESS_FILE} has no row without a corruption"
                )
                looks = {}
            judged.append(Judged(one.label, run, looks, flavours, tuple(probings)))
    return judged, [*failures, *_gaps(judged)]


_Condition = TypeVar("_Condition", bound=tuple[Any, ...])


def _of_most(
    rows: Iterable[Judgement], condition: Callable[[Judgement], _Condition]
) -> dict[_Condition, Judgement]:
    """By condition, of the seed, episodes and protocol that most conditions were played with.

    Of equals, of the most episodes, and then of the lowest seed.
    """
    alike: dict[tuple[Any, ...], dict[_Condition, Judgement]] = {}
    for row in rows:
        protocol = (row.episodes, -row.seed, row.protocol, row.epsilon)
        alike.setdefault(protocol, {})[condition(row)] = row
    return max(alike.items(), key=lambda item: (len(item[1]), item[0]), default=((), {}))[1]


def _gaps(judged: Sequence[Judged]) -> Iterator[str]:
    """Runs of which less was saved than of others."""
    kinds: dict[str, Callable[[Judged], bool]] = {
        "corruptions": lambda one: len(one.looks) > 1,
        "other modes": lambda one: len(one.flavours) > 1,
        "probes": lambda one: bool(one.probings),
    }
    for what, has in kinds.items():
        games = {one.run.game for one in judged if has(one)}
        lacking = [one.name for one in judged if one.run.game in games and not has(one)]
        if lacking:
            yield f"{first_few(lacking)}: no {what} were saved"
    corrupted = [one for one in judged if len(one.looks) > 1]
    missed: dict[str, list[str]] = {}
    for corruption, severity in sorted({look for one in corrupted for look in one.looks}):
        lacking = [one.name for one in corrupted if (corruption, severity) not in one.looks]
        if lacking:
            missed.setdefault(first_few(lacking), []).append(f"{corruption} {severity}")
    for names, looks in missed.items():
        yield f"from the table, {', '.join(looks)}: {names} did not play under them"


def line(
    what: str,
    games: Sequence[GameRuns],
    labels: Sequence[str],
    measure: Callable[[Judged], Any],
    write: Callable[[float], str],
    *,
    mean_of: Callable[[Mapping[str, Sequence[Any]]], Estimate] = mean_over_games,
    is_ranked: bool = True,
) -> tuple[Cell, ...]:
    """Means over runs and games with their intervals; and of how many runs, where not all have one.

    Args:
      what: is measured, in words.
      games: one, or those that all series have a number of.
      labels: of the columns.
      measure: what `mean_of` takes of a run, such as a number; None if it has none.
      write: a number as text.
      mean_of: the mean over what was measured of each game's runs.
      is_ranked: whether more is better.
    """
    cells = []
    for label in labels:
        found = {game: list(map(measure, by_label.get(label, ()))) for game, by_label in games}
        known = {game: [n for n in numbers if n is not None] for game, numbers in found.items()}
        counted, runs = (sum(map(len, of.values())) for of in (known, found))
        small = [f"{counted} of {runs} runs"] * (counted < runs)
        if not all(known.values()):
            cells.append(Cell("-" if runs else "", "".join(small)))
            continue
        mean = mean_of(known)
        if mean.low is not None and mean.high is not None:
            small.insert(0, f"{write(float(mean.low))} to {write(float(mean.high))}")
        cells.append(Cell(write(float(mean.value)), ", ".join(small), key=float(mean.value)))
    name = games[0][0] if len(games) == 1 else f"Mean of {len(games)} games"
    return (Cell(name, what), *(with_best(cells) if is_ranked else cells))


def labels_of(judged: Sequence[Judged]) -> list[str]:
    """Of their series, in order."""
    return list(dict.fromkeys(one.label for one in judged))


def by_game(judged: Sequence[Judged]) -> dict[str, dict[str, list[Judged]]]:
    """Game → label → runs, in the order of the games and of the series."""
    found: dict[str, dict[str, list[Judged]]] = {}
    for one in sorted(judged, key=lambda one: list(ATARI57).index(one.run.game)):
        found.setdefault(one.run.game, {}).setdefault(one.label, []).append(one)
    return found


points = "{:,.1f}".format
