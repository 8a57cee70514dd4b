"""A report on runs: one page, and the figures, tables and numbers behind it as files.

What counts is the last evaluation of each run, never the best. Columns stand side by side over
the same games only: those that every series has. Missing, failed and short runs are named at the
top of the page. Runs under other protocols or on other emulator versions are not compared unless
the caller insists, and then the page says so.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from envs.games import ATARI57
from relic_rl.analysis import plots
from relic_rl.analysis.page import Picture, render_page
from relic_rl.analysis.published import METHODS, published_scores
from relic_rl.analysis.runs import Run, Series, find_series
from relic_rl.analysis.scores import (
    ROW_LABELS,
    Aggregate,
    aggregate,
    human_normalized,
    performance_profile,
    probability_of_improvement,
)
from relic_rl.analysis.tables import Cell, Table, latex, markdown

DEFAULT_AGAINST = ("relic", "r2d2")
_SINGLE_CURVES = 12  # more runs than these are shown in the grid only
_THRESHOLDS = np.concatenate([np.linspace(0, 1, 41), np.geomspace(1.03, 100, 90)])

_SCORE_COLUMNS = (
    *("series", "game", "seed", "score", "human_normalized_score", "env_frames", "minutes"),
    *("episodes", "protocol", "ale_py", "folder"),
)
_VERSIONS = {
    **{"Preset": "preset", "Action set": "action_set", "ale-py": "ale_py"},
    **{"Gymnasium": "gymnasium", "PyTorch": "torch", "relic-rl": "relic_rl"},
    **{"Commit": "commit", "Machine": "machine"},
}
_QUIRKS = {
    "Defender": (
        "Defender: the emulator's reward is about 100 times the score on the screen. The published"
        " scores and the human's have the same factor."
    ),
    "wrap": (
        "Score counters of six digits wrap at 1,000,000: the emulator then gives a reward of about"
        " -1,000,000 (seen in Asterix, ChopperCommand, Defender, DemonAttack, Frostbite, Gopher,"
        " Seaquest, UpNDown, VideoPinball). A good agent's mean can fall there."
    ),
}


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the tables: a series of runs, or a published method."""

    label: str
    scores: dict[str, list[float]]
    """Game → a score per seed, over the common games."""
    aggregate: Aggregate
    is_published: bool


def write_report(
    folders: Sequence[Path],
    out_dir: Path,
    against: Sequence[str] = DEFAULT_AGAINST,
    *,
    allow_mixed: bool = False,
) -> Path:
    """Writes report.html, its figures, scores.csv, summary.json, table.md and table.tex.

    Args:
      folders: run folders and folders of runs; each of the latter is a series, named as it is.
      out_dir: made if need be; files of an older report are replaced.
      against: methods of `relic_rl.analysis.published.METHODS`.
      allow_mixed: compare other protocols and emulator versions all the same, with a warning.

    Returns:
      The path of report.html.

    Raises:
      ValueError: if no run was evaluated, the series share no game, a method is unknown, or runs
        differ in protocol or emulator version without `allow_mixed`.
    """
    series = [one for one in find_series(folders) if one.runs or one.failed]
    evaluated = [one for one in series if one.runs]
    if not evaluated:
        reasons = "; ".join(reason for one in series for reason in one.failed)
        raise ValueError(f"no run has an evaluation: {reasons}")
    mixed = _mixed(evaluated)
    if mixed and not allow_mixed:
        raise ValueError(f"{'; '.join(mixed)}: not comparable; allow_mixed compares them anyway")
    columns = _columns(evaluated, against)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = _draw(evaluated, columns, out_dir)
    tables = [_aggregate_table(columns), _score_table(columns)]
    warnings = [*(f"Mixed: {line}." for line in mixed), *_warnings(series, columns)]
    _write_scores(evaluated, out_dir / "scores.csv")
    summary = json.dumps(_summary(series, columns, warnings), indent=1, allow_nan=False)
    (out_dir / "summary.json").write_text(summary + "\n", encoding="utf-8")
    (out_dir / "table.md").write_text(markdown(tables), encoding="utf-8")
    (out_dir / "table.tex").write_text(latex(tables), encoding="utf-8")
    page = render_page(
        title=" and ".join(one.label for one in evaluated),
        lead="Human-normalized Atari scores of the last evaluation of each run.",
        facts=[*_facts(evaluated), *_improvements(columns)],
        warnings=warnings,
        tables=tables,
        pictures=pictures,
        footnotes=_footnotes(columns, against),
    )
    path = out_dir / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _mixed(series: Sequence[Series]) -> list[str]:
    runs = [run for one in series for run in one.runs]
    kinds: tuple[tuple[str, Callable[[Run], str]], ...] = (
        ("protocols", lambda run: run.protocol),
        ("ale-py versions", lambda run: run.ale_py),
    )
    lines = []
    for name, key in kinds:
        values = sorted({key(run) for run in runs})
        if len(values) > 1:
            example = {
                value: next(r.folder.name for r in runs if key(r) == value) for value in values
            }
            named = ", ".join(f"{value} ({example[value]})" for value in values)
            lines.append(f"{name} differ: {named}")
    return lines


def _columns(series: Sequence[Series], against: Sequence[str]) -> list[_Column]:
    all_scores = [one.scores() for one in series]
    common = [game for game in ATARI57 if all(game in scores for scores in all_scores)]
    if not common:
        raise ValueError(
            f"{', '.join(one.label for one in series)} share no game: report each alone"
        )
    named = [(one.label, scores, False) for one, scores in zip(series, all_scores, strict=True)]
    for method in against:
        scores = {game: [score] for game, score in published_scores(method).items()}
        named.append((f"{METHODS[method].name} (published)", scores, True))
    columns = []
    for label, scores, is_published in named:
        shared = {game: scores[game] for game in common}
        columns.append(_Column(label, shared, aggregate(shared), is_published))
    return columns


def _means(column: _Column) -> dict[str, float]:
    return {game: float(np.mean(scores)) for game, scores in column.scores.items()}


def _draw(series: Sequence[Series], columns: Sequence[_Column], out_dir: Path) -> list[Picture]:
    ours = [column for column in columns if not column.is_published]
    papers = [column for column in columns if column.is_published]
    profiles = {column.label: performance_profile(column.scores, _THRESHOLDS) for column in columns}
    published = {column.label: _means(column) for column in papers}
    shared = tuple(ours[0].scores)
    common = [
        Series(one.label, tuple(run for run in one.runs if run.game in shared), ())
        for one in series
    ]
    drawn = [
        (
            "games",
            "Score of each game",
            "Last evaluation, mean over seeds. Light bars are below human.",
            plots.score_bars({column.label: _means(column) for column in ours}, published),
        ),
        (
            "aggregates",
            "Aggregates over frames",
            "Where all runs have been evaluated. Published lines are final scores after far more"
            " frames (see the notes).",
            plots.aggregate_curves(common, published),
        ),
        (
            "profile",
            "Performance profile",
            "Share of runs above each score; bands are 95 % intervals over seeds.",
            plots.profile(
                _THRESHOLDS,
                {column.label: profiles[column.label] for column in ours},
                {column.label: profiles[column.label] for column in papers},
            ),
        ),
        (
            "curves",
            "Learning curves",
            "Evaluations of each run; bold is the mean over seeds.",
            plots.learning_grid(series),
        ),
    ]
    runs = [(one.label, run) for one in series for run in one.runs]
    if len(runs) <= _SINGLE_CURVES:
        for i, (label, run) in enumerate(runs, start=1):
            title = f"{run.game}, seed {run.seed} ({label})"
            caption = "Dots are training episodes of all lanes, exploring."
            drawn.append((f"run_{i:02d}", title, caption, plots.learning_curve(run)))
    return [
        Picture(title, caption, *plots.save_figure(figure, out_dir / stem))
        for stem, title, caption, figure in drawn
    ]


def _aggregate_table(columns: Sequence[_Column]) -> Table:
    games = len(columns[0].scores)
    rows = []
    for name, label in ROW_LABELS.items():
        digits = 0 if name == "superhuman_games" else 2
        values = [column.aggregate.rows()[name] for column in columns]
        best = min(values) if name == "optimality_gap" else max(values)
        cells = [Cell(label)]
        for column, value in zip(columns, values, strict=True):
            interval = (column.aggregate.intervals or {}).get(name)
            small = f"{interval[0]:,.{digits}f} to {interval[1]:,.{digits}f}" if interval else ""
            cells.append(Cell(f"{value:,.{digits}f}", small, best=value == best))
        rows.append(tuple(cells))
    seeds = "; ".join(_seeds(column) for column in columns if not column.is_published)
    caption = f"Percent of the human score over the same {games} of 57 games. {seeds}."
    return Table("Aggregates", caption, ("", *(column.label for column in columns)), tuple(rows))


def _seeds(column: _Column) -> str:
    if column.aggregate.intervals is None:
        return f"{column.label}: one seed in at least one game, so no intervals"
    return f"{column.label}: {column.aggregate.seeds} seeds, 95 % intervals with the numbers"


def _score_table(columns: Sequence[_Column]) -> Table:
    rows = []
    for name in columns[0].scores:
        game = ATARI57[name]
        scores = [float(np.mean(column.scores[name])) for column in columns]
        cells = [Cell(name), Cell(f"{game.random:,.1f}"), Cell(f"{game.human:,.1f}")]
        for score in scores:
            percent = f"{100 * human_normalized(name, score):,.1f} %"
            cells.append(Cell(f"{score:,.1f}", percent, best=score == max(scores)))
        rows.append(tuple(cells))
    head = ("Game", "Random", "Human", *(column.label for column in columns))
    return Table("Scores", "Mean over seeds, with the percentage of human.", head, tuple(rows))


def _facts(series: Sequence[Series]) -> list[tuple[str, str]]:
    runs = [run for one in series for run in one.runs]
    episodes = sorted({len(run.last_scores) for run in runs})
    facts = [
        ("Protocol", _distinct(run.protocol for run in runs)),
        ("Evaluation", f"{_span(episodes)} episodes a run, the last of each run, not the best"),
    ]
    for one in series:
        seeds = _distinct(str(seed) for seed in sorted({run.seed for run in one.runs}))
        frames = _span(sorted({run.env_frames for run in one.runs}))
        games = len({run.game for run in one.runs})
        facts.append((one.label, f"{games} of 57 games, seeds {seeds}, {frames} frames"))
    for name, key in _VERSIONS.items():
        values = _distinct(str(run.metadata[key]) for run in runs if run.metadata.get(key))
        if values:
            facts.append((name, values))
    return facts


def _improvements(columns: Sequence[_Column]) -> list[tuple[str, str]]:
    ours = [column for column in columns if not column.is_published]
    named = {column.label: _improvement(column, columns) for column in ours}
    return [
        (f"P({label} is better)", ", ".join(f"{p:.2f} than {other}" for other, p in odds.items()))
        for label, odds in named.items()
        if odds
    ]


def _improvement(column: _Column, columns: Sequence[_Column]) -> dict[str, float]:
    """Returns label of every other column → probability that a run here beats one there."""
    return {
        other.label: float(
            probability_of_improvement(column.scores, other.scores, repetitions=1).value
        )
        for other in columns
        if other is not column
    }


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _span(values: Sequence[int]) -> str:
    if values[0] == values[-1]:
        return f"{values[0]:,}"
    return f"{values[0]:,} to {values[-1]:,}"


def _warnings(series: Sequence[Series], columns: Sequence[_Column]) -> list[str]:
    warnings = []
    common = columns[0].scores
    for one in series:
        if one.failed:
            warnings.append(
                f"{one.label}: without a score, and not counted: {'; '.join(one.failed)}."
            )
        if not one.runs:
            continue
        games = {run.game for run in one.runs}
        missing = [game for game in ATARI57 if game not in games]
        if missing:
            named = f"missing: {', '.join(missing)}"
            if len(games) < len(missing):
                named = f"all but {', '.join(sorted(games))} are missing"
            warnings.append(f"{one.label}: {len(games)} of 57 games; {named}.")
        left_out = [game for game in ATARI57 if game in games and game not in common]
        if left_out:
            warnings.append(
                f"{one.label}: not in the tables, for another series lacks them:"
                f" {', '.join(left_out)}."
            )
        longest = max(run.env_frames for run in one.runs)
        short = [run for run in one.runs if run.env_frames < 0.95 * longest]
        if short:
            named = ", ".join(f"{run.folder.name} ({run.env_frames:,})" for run in short)
            warnings.append(f"{one.label}: shorter than its longest run ({longest:,}): {named}.")
    published = any(column.is_published for column in columns)
    if published and any(run.protocol != "noop" for one in series for run in one.runs):
        warnings.append("The published scores are under the no-op protocol, these runs are not.")
    return warnings


def _footnotes(columns: Sequence[_Column], against: Sequence[str]) -> list[str]:
    notes = [
        "P(A is better than B): how probably a run of A beats a run of B on a game drawn at random;"
        " equal scores count half.",
        "Human-normalized score: (score - random) / (human - random), in percent. Capped mean clips"
        " each game to 0 and 100; superhuman games have 100 or more; percentiles are linear.",
    ]
    for method in against:
        known = METHODS[method]
        notes.append(f"{known.name}: {known.source}; trained for {known.frames} per game.")
    if "Defender" in columns[0].scores:
        notes.append(_QUIRKS["Defender"])
    notes.append(_QUIRKS["wrap"])
    return notes


def _write_scores(series: Sequence[Series], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_SCORE_COLUMNS)
        for one in series:
            for run in one.runs:
                normalized = human_normalized(run.game, run.score)
                minutes = float(run.evaluations.minutes[-1])
                row = [
                    one.label,
                    run.game,
                    run.seed,
                    run.score,
                    normalized,
                    run.env_frames,
                    minutes,
                ]
                writer.writerow([*row, len(run.last_scores), run.protocol, run.ale_py, run.folder])


def _summary(
    series: Sequence[Series], columns: Sequence[_Column], warnings: Sequence[str]
) -> dict[str, object]:
    """Numbers of the tables, and beside them each series over all of its own games."""
    return {
        "common_games": list(columns[0].scores),
        "columns": {column.label: asdict(column.aggregate) for column in columns},
        "series": {
            one.label: {
                "aggregate": asdict(aggregate(one.scores())) if one.runs else None,
                "scores": one.scores(),
                "failed": list(one.failed),
            }
            for one in series
        },
        "probability_of_improvement": {
            column.label: _improvement(column, columns)
            for column in columns
            if not column.is_published
        },
        "protocols": sorted({run.protocol for one in series for run in one.runs}),
        "ale_py": sorted({run.ale_py for one in series for run in one.runs}),
        "warnings": list(warnings),
    }
