"""What a report compares runs with: published methods, and files of scores.

A file is a CSV table of raw scores with a line of names, in one of two forms:

    game,score                 and, if there are such, series, seed, env_frames, protocol and
                               ale_py: a line per score, as in the scores.csv of another report.
                               Several lines of a game and seed with different env_frames are a
                               curve; the last counts.
    game,NAME[,NAME ...]       a line per game, a column per method; random and human are no method.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np

from envs.games import find_game
from relic_rl.analysis.published import METHODS, Method, find_methods, published_scores
from relic_rl.analysis.runs import Curve, shown
from relic_rl.analysis.series import names_apart, span
from relic_rl.records.tables import finite

_REFERENCE_COLUMNS = ("random", "human")
_LINE_COLUMNS = ("series", "seed", "env_frames", "protocol", "ale_py", "finished")
"""Of a line per score, beside game and score."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Scores that are of no run folder here."""

    label: str
    scores: dict[str, list[float]]
    """Game → raw final score per seed."""
    source: str
    """Where they are from and how they were made, as a sentence."""
    method: Method | None = None
    """What is published; None: of a file."""
    protocols: tuple[str, ...] = ()
    """Those that a file names."""
    ale_py: tuple[str, ...] = ()
    """The same."""
    env_frames: float | None = None
    """Of each run, on average; None: a file does not say, or `method` does."""
    curves: dict[str, list[Curve]] = field(default_factory=dict)
    """Game → a curve per seed, where a file has more than final scores."""


def read_references(against: Sequence[str]) -> list[Reference]:
    """Returns one for each method, and one for each series of each file.

    Args:
      against: keys of `published.METHODS`, and paths of .csv files.

    Raises:
      ValueError: a method is unknown, or a file cannot be read or is damaged.
    """
    files = list(dict.fromkeys(name for name in against if name.endswith(".csv")))
    labels = dict(zip(files, names_apart([_namesake(Path(file)) for file in files]), strict=True))
    names = [name for name in dict.fromkeys(against) if name not in labels]
    meant = dict(zip(names, find_methods(names), strict=True))
    references = []
    for name in dict.fromkeys(against):
        if name in labels:
            references += _read_file(Path(name), labels[name])
        else:
            references.append(_published(meant[name]))
    return references


def _published(name: str) -> Reference:
    scores = published_scores(name)
    method = METHODS[name]
    counts = {len(runs) for runs in scores.values()}
    each = "one score" if counts == {1} else span(counts, "run")
    source = (
        f"{method.label}: {method.source}; {each} per game, {method.selection}; each game trained"
        f" for {method.frames}."
    )
    if counts == {1} and method.benchmark == "100k":
        source += " Its IQM is over games here; papers have it over runs, which gives less."
    return Reference(method.label, scores, source, method)


@dataclass(frozen=True, slots=True)
class _Line:
    """One score of a file."""

    series: str
    """Empty where the file does not name any."""
    game: str
    seed: str
    frames: float
    score: float
    protocol: str
    ale_py: str
    is_final: bool
    """Whether the run had finished."""


def _namesake(path: Path) -> Path:
    """What names a file's scores: its name, or the folder of the `scores.csv` of a report."""
    return path.resolve().parent if path.stem == "scores" else path.with_suffix("")


def _read_file(path: Path, label: str) -> list[Reference]:
    try:
        with path.expanduser().open(encoding="utf-8-sig", newline="") as file:
            lines = list(_lines(csv.DictReader(file, strict=True), path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read: there is no such user") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no CSV table: {error}") from error
    if not lines:
        raise ValueError(f"{path} has no scores")
    series = dict.fromkeys(line.series for line in lines)
    return [
        _reference(
            path,
            f"{one} ({label})" if one else label,
            [line for line in lines if line.series == one],
        )
        for one in series
    ]


def _lines(reader: "csv.DictReader[str]", path: Path) -> Iterator[_Line]:
    names = [name for name in reader.fieldnames or () if name]
    methods = [name for name in names if name not in ("game", *_REFERENCE_COLUMNS)]
    if "game" not in names or not methods:
        raise ValueError(f"{path} needs a first line such as game,score or game,MY_METHOD")
    if "score" not in names and (known := [name for name in methods if name in _LINE_COLUMNS]):
        raise ValueError(
            f"{path} has a column {known[0]}, which is no method: call the column of scores score"
        )
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        try:
            game = find_game(row["game"] or "").name
            if "score" in names:
                frames = float(row.get("env_frames") or "nan")
                # Without a seed and a place on a curve each line is a seed of its own.
                alone = "" if math.isfinite(frames) else str(reader.line_num)
                yield _Line(
                    series=shown(row.get("series") or ""),
                    game=game,
                    seed=row.get("seed") or alone,
                    frames=frames,
                    score=finite(row["score"]),
                    protocol=row.get("protocol") or "",
                    ale_py=row.get("ale_py") or "",
                    is_final=row.get("finished") != "False",
                )
                continue
            for method in methods:
                if row[method]:  # a method may lack a game
                    score = finite(row[method])
                    yield _Line(shown(method), game, "", math.nan, score, "", "", is_final=True)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error


def _reference(path: Path, label: str, lines: Sequence[_Line]) -> Reference:
    runs: dict[str, dict[str, list[_Line]]] = {}
    for line in lines:
        runs.setdefault(line.game, {}).setdefault(line.seed, []).append(line)
    curves = {
        game: [_curve(path, game, points) for points in seeds.values()]
        for game, seeds in runs.items()
    }
    protocols = tuple(sorted({line.protocol for line in lines} - {""}))
    ends = [curve.frames[-1] for seeds in curves.values() for curve in seeds]
    facts = [f"{label}: scores from {shown(path)}"]
    if protocols:
        facts.append(f"protocol {', '.join(protocols)}")
    if not all(line.is_final for line in lines):
        facts.append("some of runs that had not finished")
    return Reference(
        label,
        {game: [float(curve.scores[-1]) for curve in seeds] for game, seeds in curves.items()},
        f"{'; '.join(facts)}.",
        protocols=protocols,
        ale_py=tuple(sorted({line.ale_py for line in lines} - {""})),
        env_frames=fmean(ends) if np.isfinite(ends).all() else None,
        curves={
            game: seeds
            for game, seeds in curves.items()
            if all(len(curve.frames) > 1 for curve in seeds)
        },
    )


def _curve(path: Path, game: str, points: Sequence[_Line]) -> Curve:
    """The lines of one game and seed, by their frames.

    Raises:
      ValueError: two stand at the same frames, or do not say where they stand.
    """
    frames = np.array([point.frames for point in points])
    if len(points) > 1 and len(set(frames[np.isfinite(frames)])) < len(points):
        seed = f" with seed {points[0].seed}" if points[0].seed else ""
        raise ValueError(f"{path} has {game}{seed} twice: give each its seed or its env_frames")
    order = np.argsort(frames)
    scores = np.array([point.score for point in points])
    return Curve(frames[order], np.full(len(points), math.nan), scores[order])
