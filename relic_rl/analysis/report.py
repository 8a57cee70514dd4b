"""A report on runs: one page, and the figures, tables and numbers behind it as files.

What counts is the evaluation at the end of each run, never the best. Columns stand side by side
over the same games only: those that every series has. Missing, failed and unfinished runs are named
at the top of the page and count nowhere; the curves show the unfinished ones as well. Where no run
is finished, as in a report on a run that is going on, the last evaluations so far count, and every
table says so. Runs under other protocols or on other emulator versions are not compared, and
other settings are not pooled into a column, unless the caller insists; then the page says so.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from envs.games import ATARI57
from relic_rl.analysis import notes
from relic_rl.analysis.columns import Column, make_columns
from relic_rl.analysis.page import Tile, render_page
from relic_rl.analysis.pictures import draw_report
from relic_rl.analysis.runs import Series, find_series
from relic_rl.analysis.scores import (
    MIN_SEEDS,
    ROW_LABELS,
    Estimate,
    aggregate,
    human_normalized,
    probability_of_improvement,
)
from relic_rl.analysis.tables import Cell, Table, latex, markdown

DEFAULT_AGAINST = ("relic", "r2d2")
_TILES = ("median", "capped_mean", "superhuman_games", "iqm")

_Odds = Mapping[str, Mapping[str, Estimate]]
"""Column → other column → probability that a run of the first beats one of the other."""

_SCORE_COLUMNS = (
    *("series", "game", "seed", "score", "human_normalized_score", "env_frames", "minutes"),
    *("episodes", "finished", "protocol", "ale_py", "folder"),
)


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    page: Path
    files: tuple[Path, ...]
    """All of it, the page too."""
    warnings: tuple[str, ...]


def write_report(
    folders: Sequence[Path],
    out_dir: Path,
    against: Sequence[str] = DEFAULT_AGAINST,
    *,
    allow_mixed: bool = False,
) -> Written:
    """Writes report.html, its figures, scores.csv, summary.json, table.md and table.tex.

    Args:
      folders: run folders and folders of runs; each of the latter is a series, named as it is.
      out_dir: made if need be; files of an older report are replaced.
      against: methods of `relic_rl.analysis.published.METHODS`.
      allow_mixed: compare other protocols and emulator versions, and pool other settings, all the
        same, with a warning.

    Raises:
      ValueError: if no run was evaluated, the series share no game, a method is unknown, or runs
        differ in protocol, emulator version or settings without `allow_mixed`.
    """
    series = _with_something_that_counts(find_series(folders))
    counted = [one for one in series if one.runs]
    if not counted:
        reasons = "; ".join(reason for one in series for reason in one.failed)
        raise ValueError(f"no run has an evaluation: {reasons}")
    mixed = notes.mixtures(series)
    if mixed and not allow_mixed:
        raise ValueError(f"{'; '.join(mixed)}: not comparable; --allow-mixed does it all the same")
    columns = make_columns(counted, against)
    odds = _odds(columns)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures, failures = draw_report(series, columns, out_dir)
    caution = notes.caution(counted)
    tables = [
        replace(table, caption=f"{table.caption} {caution}".strip())
        for table in (_aggregate_table(columns), _score_table(columns))
    ]
    warnings = [*(f"Mixed: {line}." for line in mixed), *notes.warnings(series, columns), *failures]
    _write_scores(counted, out_dir / "scores.csv")
    summary = json.dumps(_summary(series, columns, odds, warnings), indent=1, allow_nan=False)
    (out_dir / "summary.json").write_text(summary + "\n", encoding="utf-8")
    footnotes = notes.footnotes(columns, against)
    (out_dir / "table.md").write_text(markdown(tables, warnings, footnotes), encoding="utf-8")
    (out_dir / "table.tex").write_text(latex(tables, warnings, footnotes), encoding="utf-8")
    page = render_page(
        title=" and ".join(one.label for one in counted),
        lead=notes.lead(counted),
        tiles=[_tile(row, columns) for row in _TILES],
        facts=[*notes.facts(counted), *_improvements(odds)],
        warnings=warnings,
        tables=tables,
        pictures=pictures,
        footnotes=footnotes,
    )
    path = out_dir / "report.html"
    path.write_text(page, encoding="utf-8")
    beside = ("scores.csv", "summary.json", "table.md", "table.tex")
    drawn = [file for picture in pictures for file in (picture.png, picture.svg)]
    return Written(path, (path, *(out_dir / name for name in beside), *drawn), tuple(warnings))


def _with_something_that_counts(series: Sequence[Series]) -> Sequence[Series]:
    """Where no run is finished at all, those under way count: better than no report on them."""
    if any(one.runs for one in series):
        return series
    return [replace(one, runs=one.unfinished, unfinished=()) for one in series]


def _tile(row: str, columns: Sequence[Column]) -> Tile:
    unit = "" if row == "superhuman_games" else " %"
    lines = []
    for column in columns:
        value = column.aggregate.rows()[row]
        number = f"{value:,.0f}" if not unit or abs(value) >= 100 else f"{value:,.1f}"
        lines.append((column.label, number + unit, not column.is_published))
    return Tile(ROW_LABELS[row], tuple(lines))


def _aggregate_table(columns: Sequence[Column]) -> Table:
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


def _seeds(column: Column) -> str:
    seeds = notes.span([len(scores) for scores in column.scores.values()])
    named = f"{column.label}: {seeds} {'seed' if seeds == '1' else 'seeds'} a game"
    if column.aggregate.intervals is None:
        return f"{named}, so no intervals: they need {MIN_SEEDS} of every game"
    return f"{named}, 95 % intervals with the numbers"


def _score_table(columns: Sequence[Column]) -> Table:
    rows = []
    for name in columns[0].scores:
        game = ATARI57[name]
        scores = [float(np.mean(column.scores[name])) for column in columns]
        cells = [
            Cell(name),
            Cell(f"{game.random:,.1f}", key=game.random),
            Cell(f"{game.human:,.1f}", key=game.human),
        ]
        for score in scores:
            normalized = human_normalized(name, score)
            percent = f"{100 * normalized:,.1f} %"
            best = score == max(scores) and len(scores) > 1
            cells.append(Cell(f"{score:,.1f}", percent, best=best, key=normalized))
        rows.append(tuple(cells))
    head = ("Game", "Random", "Human", *(column.label for column in columns))
    caption = "Mean over seeds, with the percentage of human; the best of a row in bold."
    return Table("Scores", caption, head, tuple(rows), sorts=True)


def _odds(columns: Sequence[Column]) -> _Odds:
    return {
        column.label: {
            other.label: probability_of_improvement(column.scores, other.scores)
            for other in columns
            if other is not column
        }
        for column in columns
        if not column.is_published
    }


def _improvements(odds: _Odds) -> list[tuple[str, str]]:
    return [
        (f"P({label} is better)", ", ".join(f"{_in_words(p)} than {o}" for o, p in others.items()))
        for label, others in odds.items()
        if others
    ]


def _in_words(probability: Estimate) -> str:
    if probability.low is None:
        return f"{probability.value:.2f}"
    return f"{probability.value:.2f} ({probability.low:.2f} to {probability.high:.2f})"


def _write_scores(series: Sequence[Series], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_SCORE_COLUMNS)
        for one in series:
            for run in one.runs:
                normalized = human_normalized(run.game, run.score)
                minutes = float(run.evaluations.minutes[-1])
                row = [one.label, run.game, run.seed, run.score, normalized]
                row += [run.env_frames, minutes, len(run.last_scores), run.unfinished is None]
                writer.writerow([*row, run.protocol, run.ale_py, run.folder])


def _summary(
    series: Sequence[Series], columns: Sequence[Column], odds: _Odds, warnings: Sequence[str]
) -> dict[str, object]:
    """Numbers of the tables, and beside them each series over all of its own games."""
    counted = [one for one in series if one.runs]
    return {
        "provisional": bool(notes.caution(counted)),
        "runs": dict(notes.facts(counted)),
        "common_games": list(columns[0].scores),
        "columns": {column.label: asdict(column.aggregate) for column in columns},
        "series": {
            one.label: {
                "aggregate": asdict(aggregate(one.scores())) if one.runs else None,
                "scores": one.scores(),
                "unfinished": {run.folder.name: run.unfinished for run in one.unfinished},
                "failed": list(one.failed),
            }
            for one in series
        },
        "probability_of_improvement": {
            label: {
                other: {
                    name: None if number is None else float(number)
                    for name, number in asdict(probability).items()
                }
                for other, probability in others.items()
            }
            for label, others in odds.items()
        },
        "protocols": sorted({run.protocol for one in series for run in one.evaluated}),
        "ale_py": sorted({run.ale_py for one in series for run in one.evaluated}),
        "warnings": list(warnings),
    }
