"""Which runs a report is of, and which of them belong together.

A series is what one curve or one column shows: runs that differ in their games and seeds. Runs in
one folder are of one series unless their settings differ; then each setting, and each preset, is a
series of its own and named by it. A sweep's grid has a series per combination. The caller may name
folders whose runs are one series, whatever they differ in.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.registry import ENVIRONMENTS
from relic_rl.analysis.runs import Run, read_run, shown
from relic_rl.console import counted
from relic_rl.records.run_folder import CONFIG_FILE
from relic_rl.records.sweep_folder import NO_GRID, SWEEP_FILE
from relic_rl.sweep.manifest import read_states, why_unfinished
from relic_rl.sweep.request import short_names

_DEPTH = 3
FREE = (
    "run.",
    "evaluation.",
    "env.threads",
    "env.protocol",
    "actor.actors",
    "learner.compile_encoders",
    "learner.cudnn_benchmark",
    "learner.diagnostics_every_updates",
)
"""Settings that may differ within a series: where and how long a run trains, how it is judged.

Protocols are compared in the whole report.
"""
_BUDGET = ("run.frames", "run.minutes")


@dataclass(frozen=True, slots=True)
class Series:
    """Runs that belong together, and those that cannot count."""

    label: str
    runs: tuple[Run, ...]
    """Those that count."""
    failed: tuple[str, ...]
    """Name and reason of each run that has no score, or repeats another."""
    unfinished: tuple[Run, ...] = ()
    """Evaluated, but not at their end: they have curves, and count nowhere."""

    @property
    def evaluated(self) -> tuple[Run, ...]:
        """All that have a curve."""
        return (*self.runs, *self.unfinished)

    def scores(self) -> dict[str, list[float]]:
        """Returns game → last score of each seed, seeds ascending."""
        scores: dict[str, list[float]] = {}
        for run in self.runs:
            scores.setdefault(run.game, []).append(run.score)
        return scores


@dataclass(frozen=True, slots=True)
class Found:
    """What a report is of."""

    series: tuple[Series, ...]
    left_out: tuple[str, ...]
    """Path and reason of what was looked at and is in no series."""


def find_series(folders: Sequence[Path], labelled: Sequence[tuple[str, Path]] = ()) -> Found:
    """Finds runs and groups them; each counts once, by however many paths it is reached.

    Args:
      folders: run folders, sweeps, and folders that hold runs up to three levels below. Hidden
        folders there are passed over; links are followed.
      labelled: label and folder: all runs there are one series, whatever they differ in. Several
        folders may share a label.

    Raises:
      ValueError: a folder is missing, no run is found, two series have one label, or runs of
        different settings cannot be one series because a game and seed is there twice.
    """
    folders = [folder if folder.name.strip(".") else folder.resolve() for folder in folders]
    search = _Search()
    named: dict[str, list[Path]] = {}
    for label, folder in labelled:
        named.setdefault(shown(label), []).extend(search.runs_in(folder))
    is_alone = len(folders) + len(named) == 1
    single: list[Path] = []
    series: list[Series] = []
    for folder, label in zip(folders, names_apart(folders), strict=True):
        found = search.runs_in(folder)
        if found == [folder]:
            single += found
            continue
        if _holds(folder, SWEEP_FILE):
            groups = _of_sweep(folder, found, label)
        else:
            groups = _of_runs(found, label, search.left_out)
        if not is_alone and [one.label for one in groups] != [label]:
            groups = [replace(one, label=f"{label} {one.label}") for one in groups]
        series += groups
    if single:
        label = "runs" if len(single) > 1 else shown(single[0].resolve().name)
        series = [*_of_runs(single, label, search.left_out), *series]
    if lost := [label for label, found in named.items() if not found]:
        raise ValueError(f"--label {lost[0]}: no runs are there, or another column has them")
    series += [_pooled(label, *_read(found)) for label, found in named.items()]
    series = [one for one in series if one.evaluated or one.failed]
    if not series:
        raise ValueError("; ".join(search.left_out) or "no folder is given")
    expect_distinct([one.label for one in series])
    return Found(tuple(series), tuple(search.left_out))


def expect_distinct(labels: Sequence[str]) -> None:
    """Raises ValueError if two columns have one label."""
    if repeated := [label for label in labels if labels.count(label) > 1]:
        raise ValueError(
            f"two columns are named {repeated[0]}: give runs another name by --label, or rename a"
            " file of --against"
        )


def first_few(words: Sequence[str], *, most: int = 3, between: str = ", ") -> str:
    """The first of some words, and how many more there are."""
    more = len(words) - most
    return between.join([*words[:most], *[f"and {more} more"] * (more > 0)])


def span(values: Collection[int], noun: str) -> str:
    """Least and greatest, in words: `2 to 10 episodes`; one number if they are equal."""
    low, high = min(values), max(values)
    return counted(low, noun) if low == high else f"{low:,} to {counted(high, noun)}"


class _Search:
    """Finds run folders, each by the first path that leads to it."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        """What holds no run or cannot be read, and why."""
        self._found: set[Path] = set()

    def runs_in(self, folder: Path) -> list[Path]:
        """The run folders in a folder, or the folder itself, that were not found before.

        Raises:
          ValueError: there is no such folder.
        """
        if not os.path.lexists(folder):
            raise ValueError(f"{folder} does not exist: give run folders, sweeps or their parents")
        complaints = len(self.left_out)
        runs = list(self._walk(folder, _DEPTH))
        if not runs and len(self.left_out) == complaints:
            self.left_out.append(f"{shown(folder)}: no run folder (one with a config.toml)")
        new = []
        for run in runs:
            place = run.resolve()
            if place not in self._found:
                self._found.add(place)
                new.append(run)
        return new

    def _walk(self, folder: Path, depth: int) -> Iterator[Path]:
        try:
            if (folder / CONFIG_FILE).is_file():
                yield folder
                return
            children = sorted(
                child
                for child in (folder.iterdir() if depth and folder.is_dir() else ())
                if not child.name.startswith(".") and child.is_dir()
            )
        except OSError as error:
            self.left_out.append(f"{shown(folder)}: cannot be read, {error.strerror}")
            return
        for child in children:
            yield from self._walk(child, depth - 1)


def _holds(folder: Path, name: str) -> bool:
    """Whether a file is there and may be seen."""
    return os.access(folder / name, os.F_OK)


def names_apart(paths: Sequence[Path]) -> list[str]:
    """Their names, with as much of the way there as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    labels = []
    for own in parts:
        others = {other for other in parts if other != own}
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        labels.append(shown("/".join(own[-length:])))
    return labels


def _read(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Those that were evaluated, and the name and reason of each other."""
    runs, failed = [], []
    for folder in folders:
        try:
            run = read_run(folder)
            if ENVIRONMENTS[run.game].reference is None:
                raise ValueError(f"{run.game} has no human score to be held against")
            runs.append(run)
        except ValueError as error:
            failed.append(f"{shown(folder.resolve().name)}: {error}")
    return runs, failed


def _of_runs(folders: Sequence[Path], label: str, left_out: list[str]) -> list[Series]:
    """One series, or one for each of the settings that the runs have."""
    runs, failed = _read(folders)
    groups = _groups(runs)
    if len(groups) <= 1:
        return [_pooled(label, runs, failed)]
    left_out += [f"{label}: {line}" for line in failed]
    names = _names(groups)
    return [_pooled(name, group.runs, []) for name, group in zip(names, groups, strict=True)]


def _of_sweep(folder: Path, found: Sequence[Path], label: str) -> list[Series]:
    """A series for each folder of a sweep's grid; runs that never began are among the failed."""
    groups: dict[str, list[Path]] = {}
    absent: dict[str, list[str]] = {}
    states = read_states(folder)
    for name, (state, _) in states.items():  # in the order that was asked for
        combination, _, run_name = name.partition("/")
        groups.setdefault(combination, [])
        if not _holds(folder / name, CONFIG_FILE):
            gone = "done, but its folder is missing"
            reason = gone if state == "done" else why_unfinished(folder / name, states)
            absent.setdefault(combination, []).append(f"{run_name}: {reason}")
    for run in found:
        groups.setdefault(run.relative_to(folder).parts[0], []).append(run)
    if list(groups) == [NO_GRID]:
        groups, absent = {label: groups[NO_GRID]}, {label: absent.get(NO_GRID, [])}
    series = []
    for name, folders in groups.items():
        runs, failed = _read(folders)
        series.append(_pooled(shown(name), runs, [*failed, *absent.get(name, ())]))
    return series


def _pooled(label: str, runs: Sequence[Run], failed: Sequence[str]) -> Series:
    """One series of all; of a game and seed the run that finished, or began, last counts.

    Raises:
      ValueError: two runs of one game and seed differ in their settings.
    """
    counting: dict[tuple[str, int], Run] = {}
    for run in sorted(runs, key=lambda run: (run.unfinished is None, run.started)):
        counting[run.game, run.seed] = run
    repeats = []
    for run in runs:
        twin = counting[run.game, run.seed]
        if twin is run:
            continue
        if compared_settings(run) != compared_settings(twin):
            raise ValueError(
                f"{label} has {run.game} with seed {run.seed} twice, in {run.folder} and"
                f" {twin.folder}, with different settings: give each a --label of its own"
            )
        repeats.append(
            f"{run.name}: {twin.name}, of the same game and seed, finished or began later, and"
            " counts instead"
        )
    ordered = sorted(counting.values(), key=lambda run: (run.game, run.seed))
    finished = tuple(run for run in ordered if run.unfinished is None)
    unfinished = tuple(run for run in ordered if run.unfinished is not None)
    return Series(label, finished, (*failed, *repeats), unfinished)


# --- what tells groups of runs apart --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Group:
    """Runs of equal settings, and these settings."""

    settings: dict[str, Any]
    runs: list[Run]


def compared_settings(run: Run) -> dict[str, Any]:
    """Those that are equal within a series, by `section.field`."""
    return {name: value for name, value in run.settings.items() if not name.startswith(FREE)}


def _groups(runs: Sequence[Run]) -> list[_Group]:
    """Runs of equal settings; of equal budgets too where one has a game and seed twice."""
    groups: list[_Group] = []
    for group in _split(runs, _settings):
        has_twins = len({(run.game, run.seed) for run in group.runs}) < len(group.runs)
        groups += _split(group.runs, _settings_and_budget) if has_twins else [group]
    return groups


def _split(runs: Sequence[Run], settings_of: Callable[[Run], dict[str, Any]]) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for run in runs:
        settings = settings_of(run)
        key = repr(sorted(settings.items()))
        groups.setdefault(key, _Group(settings, [])).runs.append(run)
    return list(groups.values())


def _settings(run: Run) -> dict[str, Any]:
    """With how it was judged and on what: these keep runs apart that a caller mixes on purpose."""
    return {**compared_settings(run), "env.protocol": run.protocol, "env.ale_py": run.ale_py}


def _settings_and_budget(run: Run) -> dict[str, Any]:
    return _settings(run) | {name: run.settings.get(name) for name in _BUDGET}


def _names(groups: Sequence[_Group]) -> list[str]:
    """Each group's preset if they differ, and what differs between those of one preset."""
    presets = [group.runs[0].preset for group in groups]
    names = []
    for group, preset in zip(groups, presets, strict=True):
        alike = [other for other, its in zip(groups, presets, strict=True) if its == preset]
        differences = _differences(group, alike)
        names.append(", ".join([preset] * (len({*presets}) > 1) + differences) or preset)
    return [
        name if names.count(name) == 1 else f"{name} ({group.runs[0].name})"
        for name, group in zip(names, groups, strict=True)
    ]


def _differences(group: _Group, others: Sequence[_Group]) -> list[str]:
    """`field=value` of the settings that differ among the others, if there are any."""
    varied = [
        name
        for name in group.settings
        if len({str(other.settings.get(name, group.settings[name])) for other in others}) > 1
    ]
    shown_names = zip(varied, short_names(varied), strict=True)
    parts = [f"{short}={group.settings[name]}" for name, short in shown_names]
    return [first_few(parts)] if parts else []
