"""A report on runs: one page, and the figures, tables and numbers behind it as files.

What counts is the evaluation at the end of each run, never the best. Aggregates are over the games
that every column has; where there are none, so are no aggregates. Missing, failed and unfinished
runs are named at the top of the page and count nowhere; the curves show the unfinished ones as
well. Where no run has finished, as in a report on a run that is still training, the latest
evaluations count, and every table says so. Runs under other protocols or on other emulator versions
are not compared, and other settings are not pooled into a column, unless the caller insists; then
the page says so.

A human-normalized score is a fraction in every file of numbers, and in percent for people.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from relic_rl.analysis import notes
from relic_rl.analysis.columns import Column, make_columns
from relic_rl.analysis.judged import Judged, read_judged
from relic_rl.analysis.page import PageContent, render_page
from relic_rl.analysis.pictures import NO_PICTURES, Drawn, draw_report
from relic_rl.analysis.published import DEFAULT_AGAINST
from relic_rl.analysis.robustness import KEPT, heat_of, robustness_csv, robustness_tables
from relic_rl.analysis.runs import shown
from relic_rl.analysis.scores import (
    ROW_LABELS,
    Aggregate,
    Estimate,
    aggregate,
    human_normalized,
    probability_of_improvement,
)
from relic_rl.analysis.series import Series, find_series
from relic_rl.analysis.table_formats import latex, markdown
from relic_rl.analysis.tables import aggregate_table, score_table
from relic_rl.records.folders import make_writable
from relic_rl.records.run_folder import CONFIG_FILE
from relic_rl.records.tables import csv_table

_TILES = ("median", "capped_mean", "superhuman_games", "iqm")
_COUNT = "superhuman_games"
"""The only aggregate that is no percentage."""

_Odds = Mapping[str, Mapping[str, Estimate]]
"""Column → other column → probability that a run of the first beats one of the other."""


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    page: Path
    files: tuple[Path, ...]
    """All of it, the page too."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What a report says, before its pictures are drawn."""

    series: Sequence[Series]
    """All, with their unfinished runs."""
    columns: Sequence[Column]
    judged: Sequence[Judged]
    """Of the runs that count, what was saved."""
    warnings: tuple[str, ...]

    @property
    def counted(self) -> list[Series]:
        """Those that have a column."""
        return [one for one in self.series if one.runs]

    def texts(self, drawn: Drawn = NO_PICTURES) -> dict[str, str]:
        """What each file but the pictures' holds, by its name."""
        counted, columns, warnings = self.counted, self.columns, self.warnings
        odds = _odds(columns)
        caution = notes.caution(counted)
        aggregates = [aggregate_table(columns)] if columns[0].shared else []
        tables = [
            replace(table, caption=f"{table.caption} {caution}".strip())
            for table in (*aggregates, score_table(columns))
        ]
        robust = robustness_tables(self.judged)
        footnotes = notes.footnotes(columns)
        footnotes += [KEPT] * bool(heat_of(self.judged))
        footnotes += [notes.INTERVALS] * (bool(robust) and notes.INTERVALS not in footnotes)
        content = PageContent(
            title=" and ".join(one.label for one in counted),
            lead=notes.lead(counted),
            tiles=[_tile(row, columns) for row in _TILES if columns[0].shared],
            facts=[*notes.facts(counted), *_improvements(odds)],
            warnings=warnings,
            sections=[*tables[:-1], *drawn.pictures, tables[-1], *drawn.of_robustness, *robust],
            footnotes=footnotes,
        )
        summary = _summary(self.series, columns, odds, warnings)
        texts = {
            "report.html": render_page(content),
            "summary.json": json.dumps(summary, indent=1, allow_nan=False) + "\n",
            "table.md": markdown([*tables, *robust], warnings, footnotes),
            "table.tex": latex([*tables, *robust], warnings, footnotes),
            "scores.csv": _scores(counted),
            "robustness.csv": robustness_csv(self.judged),
        }
        return {name: text for name, text in texts.items() if text}


def read_report(
    folders: Sequence[Path],
    against: Sequence[str] = DEFAULT_AGAINST,
    *,
    labelled: Sequence[tuple[str, Path]] = (),
    allow_mixed: bool = False,
) -> Report:
    """Reads what `write_report` writes; arguments and errors are its."""
    found = find_series(folders, labelled)
    series = _with_something_that_counts(found.series)
    counted = [one for one in series if one.runs]
    if not counted:
        reasons = [reason for one in series for reason in one.failed]
        raise ValueError(
            f"no run has an evaluation: {'; '.join(notes.by_reason([*reasons, *found.left_out]))}"
        )
    mixed = notes.mixtures(series)
    if mixed and not allow_mixed:
        raise ValueError(f"{'; '.join(mixed)}: not comparable; --allow-mixed does it all the same")
    columns = make_columns(counted, against)
    warnings = [f"Mixed: {line}." for line in mixed]
    warnings += [f"Left out: {line}." for line in notes.by_reason(found.left_out)]
    warnings += notes.warnings(series, columns)
    judged, lost = read_judged(series)
    warnings += [f"Left out of robustness: {line}." for line in lost]
    return Report(series, columns, judged, tuple(warnings))


def write_report(
    folders: Sequence[Path],
    out_dir: Path,
    against: Sequence[str] = DEFAULT_AGAINST,
    *,
    labelled: Sequence[tuple[str, Path]] = (),
    allow_mixed: bool = False,
) -> Written:
    """Writes report.html, its figures, scores.csv, summary.json, table.md and table.tex.

    And robustness.csv, where evaluations were saved.

    Args:
      folders: run folders, sweeps and folders of runs; `series.find_series` makes columns of them.
      out_dir: made if it is missing, and no run folder; files of an older report are replaced,
        and those that this one has no use for stay.
      against: methods of `published.METHODS`, and .csv files as `references` describes them.
      labelled: label and folder: all runs of the folder are the column of that name.
      allow_mixed: compare other protocols and emulator versions, and pool other settings, all the
        same, with a warning.

    Raises:
      ValueError: if no run was evaluated, a method is unknown or has no game of the runs, `out_dir`
        is a run folder, or runs differ in protocol, emulator version or settings without
        `allow_mixed`.
      FolderError: nothing can be written in `out_dir`.
    """
    if (out_dir / CONFIG_FILE).exists():
        raise ValueError(
            f"{out_dir} is a run folder, and a report would replace its curves.png: give another"
            f" --out, such as {out_dir / 'report'}"
        )
    report = read_report(folders, against, labelled=labelled, allow_mixed=allow_mixed)
    make_writable(out_dir, "report folder")
    drawn = draw_report(report.series, report.columns, report.judged, out_dir)
    report = replace(report, warnings=(*report.warnings, *drawn.failures))
    texts = report.texts(drawn)
    for name, text in texts.items():
        (out_dir / name).write_text(text, encoding="utf-8")
    files = [out_dir / name for name in texts]
    for picture in (*drawn.pictures, *drawn.of_robustness):
        files += [picture.png, picture.svg]
    return Written(out_dir / "report.html", tuple(files), report.warnings)


def _with_something_that_counts(series: Sequence[Series]) -> Sequence[Series]:
    """Where no run has finished at all, those under way count: better than no report on them."""
    if any(one.runs for one in series):
        return series
    return [replace(one, runs=one.unfinished, unfinished=()) for one in series]


def _tile(row: str, columns: Sequence[Column]) -> tuple[str, list[tuple[str, str, bool]]]:
    lines = []
    for column in columns:
        if column.aggregate is None:
            continue
        value = column.aggregate.rows()[row]
        number = f"{value:,.0f}" if row == _COUNT or abs(value) >= 100 else f"{value:,.1f}"
        unit = "" if row == _COUNT else " %"
        lines.append((column.label, number + unit, column.is_own))
    return ROW_LABELS[row], lines


def _odds(columns: Sequence[Column]) -> _Odds:
    """Over the games that all columns have; nothing where there are none."""
    return {
        column.label: {
            other.label: probability_of_improvement(column.shared, other.shared)
            for other in columns
            if other is not column and column.shared
        }
        for column in columns
        if column.is_own
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


def _scores(series: Sequence[Series]) -> str:
    """A line for each run that counts, as CSV."""
    rows: list[dict[str, object]] = [
        {
            "series": one.label,
            "game": run.game,
            "seed": run.seed,
            "score": run.score,
            "human_normalized_score": human_normalized(run.game, run.score),
            "env_frames": run.env_frames,
            "minutes": float(run.evaluations.minutes[-1]),
            "episodes": len(run.last_scores),
            "finished": run.unfinished is None,
            "protocol": run.protocol,
            "ale_py": run.ale_py,
            "folder": shown(run.folder),
        }
        for one in series
        for run in one.runs
    ]
    return csv_table(rows)


def _summary(
    series: Sequence[Series], columns: Sequence[Column], odds: _Odds, warnings: Sequence[str]
) -> dict[str, object]:
    """Numbers of the tables, and beside them each series over all of its own games."""
    counted = [one for one in series if one.runs]
    return {
        "human_normalized_unit": "fraction",
        "provisional": bool(notes.caution(counted)),
        "runs": dict(notes.facts(counted)),
        "common_games": list(columns[0].shared),
        "columns": {
            column.label: _fractions(column.aggregate) if column.aggregate else None
            for column in columns
        },
        "series": {
            one.label: {
                "aggregate": _fractions(aggregate(one.scores())) if one.runs else None,
                "scores": one.scores(),
                "unfinished": {shown(run.folder): run.unfinished for run in one.unfinished},
                "failed": list(one.failed),
            }
            for one in series
        },
        "probability_of_improvement": {
            label: {other: _numbers(probability) for other, probability in others.items()}
            for label, others in odds.items()
        },
        "protocols": sorted({run.protocol for one in series for run in one.evaluated}),
        "ale_py": sorted({run.ale_py for one in series for run in one.evaluated}),
        "warnings": list(warnings),
    }


def _fractions(percent: Aggregate) -> dict[str, Any]:
    """An aggregate with its scores as fractions, as all files of numbers have them."""
    rows = {name: _fraction(name, value) for name, value in percent.rows().items()}
    intervals = percent.intervals and {
        name: (_fraction(name, low), _fraction(name, high))
        for name, (low, high) in percent.intervals.items()
    }
    return {**asdict(percent), **rows, "intervals": intervals}


def _fraction(row: str, value: float) -> float:
    return value if row == _COUNT else value / 100


def _numbers(estimate: Estimate) -> dict[str, float | None]:
    return {
        name: None if number is None else float(number) for name, number in asdict(estimate).items()
    }
