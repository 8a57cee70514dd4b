"""Play full episodes with a trained agent: a run's last checkpoint, a policy file, --trained."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.table import Table

from envs.corruptions import CORRUPTIONS, LEVELS
from relic_rl.commands import arguments
from relic_rl.commands.printing import against_human, print_json, print_table, under_rules
from relic_rl.console import Console, counted, print_line
from relic_rl.errors import UsageError, UserError
from relic_rl.records.identity import check_seed
from relic_rl.stop import StopRequest

if TYPE_CHECKING:
    from relic_rl.evaluation.robustness import CorruptedScores

ALL = "all"
DEFAULT_SEVERITY = "3"


def add_to(verbs: Any) -> None:
    """Adds `relic-rl evaluate`."""
    parser = arguments.add_verb(verbs, "evaluate", run, usage="RUN_DIR [flags]", doc=__doc__)
    arguments.add_agent(parser)
    arguments.add_number(
        parser, "--episodes", help="Episodes to play; by default as many as at the run's end"
    )
    arguments.add_number(
        parser,
        "--seed",
        least=0,
        help="Seed of the episodes: the same seed gives the same ones",
    )
    parser.add_argument(
        "--corruption",
        metavar="NAME",
        nargs="+",
        choices=(ALL, *CORRUPTIONS),
        help="Also play with corrupted frames, as ImageNet-C has them: "
        f"{ALL}, {', '.join(CORRUPTIONS)}",
    )
    parser.add_argument(
        "--severity",
        metavar="N",
        nargs="+",
        choices=(ALL, *map(str, LEVELS)),
        help=f"With --corruption: 1 to 5, or {ALL}; by default {DEFAULT_SEVERITY}",
    )
    arguments.add_json(parser)


def run(
    run_dir: Path,
    *,
    trained: bool = False,
    episodes: int | None = None,
    seed: int = 0,
    corruption: Sequence[str] = (),
    severity: Sequence[str] = (),
    as_json: bool = False,
) -> None:
    """Plays full episodes with a trained agent; changes nothing in a run's folder."""
    from relic_rl.evaluation.evaluate import evaluate_agent
    from relic_rl.evaluation.robustness import evaluate_corrupted
    from relic_rl.evaluation.trained import load_trained, shipped_agent

    check_seed(seed)
    if severity and not corruption:
        raise UsageError("--severity goes with --corruption")
    # stdout belongs to the result: how far it is goes to stderr, as does ale-py's greeting.
    console = Console(stream=sys.stderr)
    with (
        redirect_stdout(sys.stderr),
        closing(console),
        StopRequest().listening() as stop,
    ):
        agent, config, spec, env_frames, _ = load_trained(
            shipped_agent(str(run_dir)) if trained else run_dir
        )
        episodes = episodes or config.evaluation.episodes
        scores = evaluate_agent(
            agent,
            config,
            spec.name,
            seed=seed,
            episodes=episodes,
            stop=stop,
            tell=partial(console.playing, "evaluating"),
        )
        corrupted = []
        for one in evaluate_corrupted(
            agent,
            config,
            spec.name,
            scores,
            corruptions=_wanted(corruption, CORRUPTIONS),
            severities=[int(level) for level in _wanted(severity or [DEFAULT_SEVERITY], LEVELS)],
            seed=seed,
            stop=stop,
            tell=console.playing,
        ):
            corrupted.append(one)
            console.say(f"{one.corruption} {one.severity}: mean score {one.mean_score:.1f}")
    if stop.requested:
        raise UserError("stopped before all episodes were played")
    mean = fmean(scores)
    result = {
        "game": spec.name,
        "env_frames": env_frames,
        "episodes": episodes,
        "scores": scores,
        "mean_score": mean,
        "human_normalized_score": spec.human_normalized(mean),
        "protocol": spec.protocol and spec.protocol.name,
    }
    if corruption:
        result["corruptions"] = [{**asdict(one), "mean_score": one.mean_score} for one in corrupted]
        result["mean_kept"] = _mean_kept(corrupted)
    if as_json:
        print_json(result)
        return
    print_line(f"{spec.name} after {env_frames:,} frames{under_rules(spec)}")
    listed = ", ".join(f"{score:.0f}" for score in scores)
    print_line(f"scores of {counted(episodes, 'episode')}: {listed}")
    print_line(f"mean score {mean:.1f}{against_human(spec.reference, mean)}")
    if corruption:
        print_table(_table(corrupted))


def _wanted(given: Sequence[str], known: Iterable[Any]) -> list[str]:
    """Those asked for, each once, in the order of the known ones; `all` is every one."""
    return [str(name) for name in known if ALL in given or str(name) in given]


def _mean_kept(corrupted: Sequence["CorruptedScores"]) -> float | None:
    shares = [one.kept for one in corrupted if one.kept is not None]
    return fmean(shares) if shares else None


def _table(corrupted: Sequence["CorruptedScores"]) -> Table:
    """A row for each corruption and severity, and the mean of what is kept."""
    table = Table(box=None)
    table.add_column("corruption", no_wrap=True)
    for column in ("severity", "mean score", "kept"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in corrupted:
        row = (one.corruption, str(one.severity), f"{one.mean_score:,.1f}", _percent(one.kept))
        table.add_row(*row)
    table.add_row("mean", "", "", _percent(_mean_kept(corrupted)))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
