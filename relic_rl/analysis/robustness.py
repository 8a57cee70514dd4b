"""What a report says of robustness: of scores under corruptions and in other modes.

Arms are compared under what all of them were judged under. A mean has its interval where every game
has seeds enough for one, as everywhere in a report.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import TypeVar

from envs.corruptions import CORRUPTIONS, LEVELS
from envs.games import ATARI57
from envs.interface import Flavour
from relic_rl.analysis.judged import (
    BEST,
    CLEAN,
    GameRuns,
    Judged,
    Look,
    by_game,
    labels_of,
    line,
    points,
)
from relic_rl.analysis.probe_tables import probes_table
from relic_rl.analysis.scores import mean_share_over_games
from relic_rl.analysis.series import span
from relic_rl.analysis.tables import Cell, Table
from relic_rl.records.robustness import NO_CORRUPTION, Judgement
from relic_rl.records.tables import csv_table

LEAST_EARNED = 0.05
"""Of the human's score above random play. Of less than that, every share is noise."""

KEPT = (
    "Kept: (score - random) / (clean score - random), the mean over a game's seeds above and below"
    f" the line. An arm whose clean score is less than {LEAST_EARNED:.0%} of the way from random"
    " play to the human has no share. Corruptions and levels are ImageNet-C's (Hendrycks &"
    " Dietterich, 2019), where they are not named as ours in envs/corruptions.py."
)


@dataclass(frozen=True, slots=True)
class Heat:
    """Shares of a score that are kept: a row for each game and series, a column a corruption."""

    rows: list[tuple[str, str]]
    """Game and label."""
    corruptions: list[str]
    shares: list[list[float | None]]
    """Means over severities and seeds; None where there is none."""


def heat_of(judged: Sequence[Judged]) -> Heat | None:
    """The shares that are kept, for a picture; None without any."""
    judged = _corrupted(judged)
    corruptions = _ordered((name for one in judged for name, _ in one.looks), CORRUPTIONS)
    corruptions = [name for name in corruptions if name != NO_CORRUPTION]
    rows, shares = [], []
    for game, by_label in by_game(judged).items():
        for label, runs in by_label.items():
            rows.append((game, label))
            shares.append([_mean_share(runs, name) for name in corruptions])
    if not any(share is not None for row in shares for share in row):
        return None
    return Heat(rows, corruptions, shares)


def robustness_tables(judged: Sequence[Judged]) -> list[Table]:
    """Those that have something to show."""
    tables = (_corrupted_table(judged), _modes_table(judged), probes_table(judged))
    return [table for table in tables if table is not None]


def robustness_csv(judged: Sequence[Judged]) -> str:
    """A line for each evaluation that counts; empty without any."""
    return csv_table(
        [
            {"series": one.label, "game": one.run.game, "run_seed": one.run.seed, **asdict(row)}
            for one in judged
            for row in one.rows
        ]
    )


def _corrupted(judged: Sequence[Judged]) -> list[Judged]:
    """Runs that were judged under a corruption."""
    return [one for one in judged if len(one.looks) > 1]


def _earned(runs: Sequence[Judged]) -> float | None:
    """Of runs of one game, the mean clean score above random play, where it is worth a share."""
    game = ATARI57[runs[0].run.game]
    earned = fmean(one.above_random(CLEAN) for one in runs)
    return earned if game.human_normalized(earned + game.random) >= LEAST_EARNED else None


def _mean_share(runs: Sequence[Judged], corruption: str) -> float | None:
    """Over severities, and then over the runs that played any; their clean scores alone count."""
    looks = [[look for look in one.looks if look[0] == corruption] for one in runs]
    played = [(one, its) for one, its in zip(runs, looks, strict=True) if its]
    earned = _earned([one for one, _ in played]) if played else None
    if earned is None:
        return None
    return fmean(fmean(map(one.above_random, its)) for one, its in played) / earned


def _corrupted_table(judged: Sequence[Judged]) -> Table | None:
    """Of each game what is kept, and the scores that this comes from; then the means over games."""
    judged = _corrupted(judged)
    common = set.intersection(*(set(one.looks) for one in judged)) if judged else set()
    common -= {CLEAN}
    if not common:
        return None
    games, labels = by_game(judged), labels_of(judged)
    earned = {
        (game, label): _earned(runs)
        for game, by_label in games.items()
        for label, runs in by_label.items()
    }

    def part_and_whole(one: Judged) -> tuple[float, float] | None:
        if earned[one.run.game, one.label] is None:
            return None
        return fmean(map(one.above_random, common)), one.above_random(CLEAN)

    def kept(what: str, of: Sequence[GameRuns]) -> tuple[Cell, ...]:
        return line(what, of, labels, part_and_whole, _percent, mean_of=mean_share_over_games)

    def corrupted(one: Judged) -> float:
        return fmean(one.looks[look].mean_score for look in common)

    lines = []
    for game in games.items():
        lines += [
            kept("score kept", [game]),
            line("clean score", [game], labels, Judged.clean_score, points),
            line("corrupted score", [game], labels, corrupted, points),
        ]
    shared = [
        (game, by_label)
        for game, by_label in games.items()
        if all(earned.get((game, label)) is not None for label in labels)
    ]
    if len(shared) > 1:
        named = f": {', '.join(game for game, _ in shared)}" * (len(shared) < len(games))
        lines.append(kept(f"score kept{named}", shared))
    caption = (
        f"Mean over {_in_words(common)}: what all runs here were judged under. {BEST}"
        f" {_checkpoints([row for one in judged for row in one.looks.values()])}"
    )
    return Table("Robustness: clean and corrupted", caption, ("Game", *labels), tuple(lines))


def _in_words(looks: Iterable[Look]) -> str:
    """`shift 3, jpeg 1`; `shift, jpeg at severity 3` where all have one."""
    ordered = _ordered(looks, [(name, level) for name in CORRUPTIONS for level in LEVELS])
    severities = {severity for _, severity in ordered}
    if len(severities) > 1:
        return ", ".join(f"{name} {severity}" for name, severity in ordered)
    return f"{', '.join(name for name, _ in ordered)} at severity {severities.pop()}"


def _modes_table(judged: Sequence[Judged]) -> Table | None:
    """A row for each mode and difficulty of each game, the default first."""
    judged = [one for one in judged if len(one.flavours) > 1]
    if not judged:
        return None
    labels, lines = labels_of(judged), []
    for game, by_label in by_game(judged).items():
        flavours = {
            flavour: look.default_mode
            for runs in by_label.values()
            for one in runs
            for flavour, look in one.flavours.items()
        }
        for flavour, is_default in sorted(flavours.items(), key=lambda one: (not one[1], one[0])):
            what = (
                f"mode {flavour.mode}, difficulty {flavour.difficulty}" + ", default" * is_default
            )
            measure = partial(_score_in, flavour=flavour)
            lines.append(line(what, [(game, by_label)], labels, measure, points))
    caption = (
        "Mean score in the mode and difficulty that an agent was trained in, the default, and in"
        " those that it never saw (Farebrother et al., 2018). Scores of two modes are points of two"
        f" games. {BEST} {_checkpoints([row for one in judged for row in one.flavours.values()])}"
    )
    return Table("Robustness: other modes", caption, ("Game", *labels), tuple(lines))


def _score_in(one: Judged, flavour: Flavour) -> float | None:
    found = one.flavours.get(flavour)
    return None if found is None else found.mean_score


def _percent(share: float) -> str:
    return f"{100 * share:z.0f} %"


def _checkpoints(rows: Sequence[Judgement]) -> str:
    return (
        f"{span([row.episodes for row in rows], 'episode')} of checkpoints of"
        f" {span([row.env_frames for row in rows], 'frame')}."
    )


_Name = TypeVar("_Name", bound=Hashable)


def _ordered(names: Iterable[_Name], known: Iterable[_Name]) -> list[_Name]:
    """Each name once, in the order of those that are known; others come last."""
    order = list(known)
    return sorted(
        dict.fromkeys(names), key=lambda name: order.index(name) if name in order else len(order)
    )
