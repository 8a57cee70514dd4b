"""Play full episodes with a trained agent: a run's last checkpoint, a policy file, --trained.

Or with the agents of all runs of a sweep, one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.table import Table

from envs.corruptions import CORRUPTIONS, DEFAULT_LEVEL, LEVELS
from envs.interface import EnvSpec
from relic_rl.commands import arguments
from relic_rl.commands.printing import (
    against_human,
    new_table,
    print_json,
    print_table,
    under_rules,
)
from relic_rl.console import Console, beside_results, counted, print_line
from relic_rl.errors import UsageError, UserError
from relic_rl.records.folders import expect_writable
from relic_rl.records.identity import check_seed
from relic_rl.records.robustness import Judgement, read_judgements, save_judgement
from relic_rl.records.sweep_folder import SWEEP_FILE, names_of
from relic_rl.stop import StopRequest

if TYPE_CHECKING:
    from relic_rl.evaluation.evaluate import Condition

USAGE = "RUN_DIR|SWEEP_DIR [flags]"
_SPARE = ("frames", "of human")
"""Columns of a sweep's table that a narrow screen is left without."""
ALL = "all"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_agent(parser, or_else="a sweep's for all of its runs")
    arguments.add_number(
        parser, "--episodes", help="Episodes to play; by default as many as at the run's end"
    )
    arguments.add_number(
        parser,
        "--seed",
        least=0,
        help="Seed of the episodes: it gives a checkpoint the same ones again",
    )
    parser.add_argument(
        "--corruption",
        metavar="NAME",
        nargs="+",
        choices=(ALL, *CORRUPTIONS),
        help="Also play with corrupted frames, most of them ImageNet-C's: "
        f"{ALL}, {', '.join(CORRUPTIONS)}",
    )
    parser.add_argument(
        "--severity",
        metavar="N",
        nargs="+",
        choices=(ALL, *map(str, LEVELS)),
        help=f"With --corruption: 1 to 5, or {ALL}; by default {DEFAULT_LEVEL}",
    )
    for what in ("mode", "difficulty"):
        parser.add_argument(
            f"--{what}",
            metavar="N",
            nargs="+",
            help=f"Also play in another {what} of the game, by ale-py's number, or in {ALL}; "
            "a mode goes with every difficulty and corruption that is given",
        )
    parser.add_argument(
        "--save",
        action="store_true",
        help="Write the scores to robustness.csv in the run's folder, for `relic-rl report`",
    )
    arguments.add_json(parser)


@dataclass(frozen=True)
class _Asked:
    """What is to be played by each agent."""

    episodes: int | None
    seed: int
    save: bool
    corrupted: bool
    in_modes: bool
    conditions: "Callable[[str], list[Condition]]"
    """Of a game; raises UsageError if it lacks a mode or difficulty."""


@dataclass(frozen=True)
class _Played:
    """What came of it."""

    name: str
    """Of a run of a sweep; empty of an agent alone."""
    spec: EnvSpec
    judgements: list[Judgement]

    @property
    def clean(self) -> Judgement:
        return self.judgements[0]

    @property
    def corrupted(self) -> list[Judgement]:
        return [one for one in self.judgements if one.default_mode and not one.is_clean]

    @property
    def elsewhere(self) -> list[Judgement]:
        return [one for one in self.judgements if not one.default_mode]

    @property
    def mean_kept(self) -> float | None:
        shares = [one.kept for one in self.corrupted if one.kept is not None]
        return fmean(shares) if shares else None

    def document(self, asked: _Asked) -> dict[str, Any]:
        """For programs."""
        clean = self.clean
        result = {
            "game": self.spec.name,
            "env_frames": clean.env_frames,
            "episodes": clean.episodes,
            "scores": clean.scores,
            "mean_score": clean.mean_score,
            "human_normalized_score": self.spec.human_normalized(clean.mean_score),
            "protocol": self.spec.protocol and self.spec.protocol.name,
        }
        if asked.corrupted:
            of_look = ("corruption", "severity", "scores", "kept", "mean_score")
            result["corruptions"] = [_only(one, of_look) for one in self.corrupted]
            result["mean_kept"] = self.mean_kept
        if asked.in_modes:
            of_mode = ("mode", "difficulty", "corruption", "severity", "scores", "mean_score")
            result["modes"] = [_only(one, of_mode) for one in self.elsewhere]
        return result


def run(
    run_dir: Path,
    *,
    trained: bool = False,
    episodes: int | None = None,
    seed: int = 0,
    corruption: Sequence[str] = (),
    severity: Sequence[str] = (),
    mode: Sequence[str] = (),
    difficulty: Sequence[str] = (),
    save: bool = False,
    as_json: bool = False,
) -> None:
    """Plays full episodes with trained agents; changes nothing in a run's folder but with `save`.

    Raises:
      UsageError: flags that do not go together, or a mode that a game lacks.
      UserError: no sound checkpoint, or, of a sweep, in some of its runs.
    """
    from relic_rl.evaluation.robustness import conditions
    from relic_rl.evaluation.trained import shipped_agent

    check_seed(seed)
    if severity and not corruption:
        raise UsageError("--severity goes with --corruption")
    if save and (trained or run_dir.is_file()):
        raise UsageError("--save goes with a run's folder, not with a policy file")
    asked = _Asked(
        episodes,
        seed,
        save,
        corrupted=bool(corruption),
        in_modes=bool(mode or difficulty),
        conditions=partial(
            conditions,
            modes=mode,
            difficulties=difficulty,
            corruptions=_wanted(corruption, CORRUPTIONS),
            severities=[int(n) for n in _wanted(severity or [str(DEFAULT_LEVEL)], LEVELS)],
        ),
    )
    skipped: list[str] = []
    with beside_results() as console, StopRequest().listening() as stop:
        if is_sweep := not trained and (run_dir / SWEEP_FILE).is_file():
            played = list(_play_sweep(run_dir, asked, skipped, console, stop))
        else:
            source = shipped_agent(str(run_dir)) if trained else run_dir
            played = [_play(source, asked, console, stop)]
    if stop.requested:
        kept = "; what was played is saved" * save
        raise UserError(f"stopped before all episodes were played{kept}")
    if as_json and is_sweep:
        print_json({"runs": [{"run": one.name, **one.document(asked)} for one in played]})
    elif as_json:
        print_json(played[0].document(asked))
    elif not is_sweep:
        _print_one(played[0], asked)
    elif played:
        print_table(_sweep_table(played, with_kept=asked.corrupted), _SPARE)
    if skipped:
        raise UserError(f"not evaluated: {', '.join(skipped)}")


def _play(
    source: Path, asked: _Asked, console: Console, stop: StopRequest, name: str = ""
) -> _Played:
    """Lets one agent play all that is asked for; of a sweep it has a name."""
    from relic_rl.evaluation.robustness import judge
    from relic_rl.evaluation.trained import load_trained

    agent = load_trained(source)
    conditions = asked.conditions(agent.spec.name)
    if asked.save:
        read_judgements(source)  # a damaged file is told now, not after an hour
        expect_writable(source, "run folder")
    head = f"{name}: " if name else ""
    found = []
    for one in judge(
        agent,
        conditions,
        episodes=asked.episodes or agent.config.evaluation.episodes,
        seed=asked.seed,
        stop=stop,
        tell=lambda what, *far: console.playing(f"{head}{what}", *far),
    ):
        found.append(one)
        if asked.save:
            save_judgement(source, one)
        if name or len(conditions) > 1:
            said = conditions[len(found) - 1]
            console.say(f"{head}{said}: mean score {one.mean_score:.1f}")
    return _Played(name, agent.spec, found)


def _play_sweep(
    path: Path, asked: _Asked, skipped: list[str], console: Console, stop: StopRequest
) -> Iterator[_Played]:
    """Lets the agents of a sweep's runs play, in their order; `skipped` gets those that cannot."""
    from relic_rl.sweep.request import SweepRequest

    runs = SweepRequest.read(path).runs()
    for game in dict.fromkeys(run.game for run in runs):
        asked.conditions(game)  # refused before anything is played
    for number, run in enumerate(runs, start=1):
        if stop.requested:
            return
        folder = path / run.folder
        name, _ = names_of(folder)
        try:
            played = _play(folder, asked, console, stop, f"run {number} of {len(runs)}, {name}")
        except (UserError, OSError) as error:  # such as a checkpoint that another user owns
            skipped.append(name)
            console.say(f"{name} is skipped: {error}")
            continue
        if played.judgements:
            yield replace(played, name=name)


def _print_one(played: _Played, asked: _Asked) -> None:
    spec, clean = played.spec, played.clean
    print_line(f"{spec.name} after {clean.env_frames:,} frames{under_rules(spec)}")
    listed = ", ".join(f"{score:.0f}" for score in clean.scores)
    print_line(f"scores of {counted(clean.episodes, 'episode')}: {listed}")
    print_line(
        f"mean score {clean.mean_score:.1f}{against_human(spec.reference, clean.mean_score)}"
    )
    if asked.corrupted:
        print_table(_corruptions_table(played))
    if played.elsewhere:
        print_table(_modes_table(played.elsewhere))


def _sweep_table(played: Sequence[_Played], *, with_kept: bool) -> Table:
    """A row for each run."""
    table = Table(box=None)
    table.add_column("run", overflow="fold")
    for column in ("frames", "mean score", "of human", *["kept"] * with_kept):
        table.add_column(column, justify="right", no_wrap=True)
    for one in played:
        score = one.clean.mean_score
        cells = [f"{one.clean.env_frames:,}", f"{score:,.1f}"]
        cells.append(_percent(one.spec.human_normalized(score)))
        cells += [_percent(one.mean_kept)] * with_kept
        table.add_row(one.name, *cells)
    return table


def _wanted(given: Sequence[str], known: Iterable[Any]) -> list[str]:
    """Those asked for, each once, in the order of the known ones; `all` is every one."""
    return [str(name) for name in known if ALL in given or str(name) in given]


def _only(one: Judgement, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}


def _corruptions_table(played: _Played) -> Table:
    """A row for each corruption and severity, and the mean of what is kept."""
    table = new_table(["corruption"], ["mean score", "kept"])
    for one in played.corrupted:
        table.add_row(_look(one), f"{one.mean_score:,.1f}", _percent(one.kept))
    table.add_row("mean", "", _percent(played.mean_kept))
    return table


def _modes_table(elsewhere: Sequence[Judgement]) -> Table:
    """A row for each mode and difficulty that the agent never saw, and each corruption there."""
    is_corrupted = not all(one.is_clean for one in elsewhere)
    columns = ("mode,\ndifficulty", *["corruption"] * is_corrupted, "mean score")
    table = new_table((), columns)
    for one in elsewhere:
        cells = [f"{one.mode}, {one.difficulty}", *[_look(one)] * is_corrupted]
        table.add_row(*cells, f"{one.mean_score:,.1f}")
    return table


def _look(one: Judgement) -> str:
    """A corruption and its severity, as in `shift 1`."""
    return "" if one.is_clean else f"{one.corruption} {one.severity}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:z.0f} %"
