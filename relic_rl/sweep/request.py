"""What a sweep is: what was asked, and the runs and folders that follow from it.

    SWEEP/sweep.toml       games, seeds, preset, settings, and where it runs; written once
          preset.toml      a copy of the preset, if it was a file
          manifest.jsonl   how each run stands (`manifest.py`)
          runs/<game>-s<seed>/               without a grid
          <field>=<value>,.../<game>-s<seed>/   with one: a folder for each combination

The order of the runs, and their folders, follow from sweep.toml alone.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pydantic
import tomli_w

from agents.bounds import PositiveInt
from envs.games import GAME_SETS, slug_of
from relic_rl import config as configuration
from relic_rl.errors import UsageError, UserError
from relic_rl.records.folders import write_whole
from relic_rl.records.identity import check_seed, environment_of
from relic_rl.records.sweep_folder import NO_GRID, SWEEP_FILE
from relic_rl.sweep.backends import BACKENDS, BackendName

PRESET_FILE = "preset.toml"

_UNFIT = re.compile(r"[^A-Za-z0-9.+_-]")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep."""

    folder: str
    """Below the sweep's folder: `runs/pong-s0`."""
    game: str
    seed: int
    settings: dict[str, str]
    """All that the sweep sets, as on the command line."""
    varied: dict[str, str]
    """Those of them that differ within the sweep."""


@dataclass(frozen=True)
class Placement:
    """Where a sweep's runs run, and how many at once: as it began, unless a command differs."""

    backend: BackendName = "local"
    ray_address: str | None = None
    """Of the cluster; None: one on this machine."""
    max_parallel: PositiveInt | None = None
    """None: as many as cores, memory and GPUs allow."""

    def changed(self, **given: Any) -> "Placement":
        """The same, except what is given and not None.

        Raises:
          UsageError: an address of Ray for another backend.
        """
        given = {name: value for name, value in given.items() if value is not None}
        joins_cluster = BACKENDS[given.get("backend", self.backend)].joins_cluster
        if "backend" in given and not joins_cluster:
            given.setdefault("ray_address", None)
        placement = replace(self, **given)
        if placement.ray_address is not None and not joins_cluster:
            raise UsageError("--ray-address goes with --backend ray")
        return placement


@dataclass(frozen=True)
class SweepRequest:
    """What was asked: every game with every seed and every combination of settings."""

    games: tuple[str, ...]
    """Canonical names."""
    seeds: tuple[int, ...]
    preset: str
    """A shipped one's name, or a file: the user's until `write` has copied it, then the copy."""
    settings: dict[str, tuple[str, ...]]
    """`section.field` to the values that it takes."""
    placement: Placement = Placement()
    """As `read` found it; `write` is told."""

    def runs(self) -> list[PlannedRun]:
        """The runs in their order: all games with one seed, then with the next.

        Raises:
          UsageError: a setting's value is not possible, or is given twice.
        """
        varied = [name for name, values in self.settings.items() if len(values) > 1]
        combinations = [
            dict(zip(self.settings, values, strict=True))
            for values in itertools.product(*self.settings.values())
        ]
        labels = [self._label(settings, varied) for settings in combinations]
        repeated = [label for label in labels if labels.count(label) > 1]
        if repeated:
            raise UsageError(f"{repeated[0]} is asked for twice")
        return [
            PlannedRun(
                folder=f"{label}/{slug_of(game)}-s{seed}",
                game=game,
                seed=seed,
                settings=settings,
                varied={name: settings[name] for name in varied},
            )
            for seed in self.seeds
            for game in self.games
            for label, settings in zip(labels, combinations, strict=True)
        ]

    def _label(self, settings: Mapping[str, str], varied: list[str]) -> str:
        """The folder of a combination: `arm=relic,encoder=shared`; `runs` if there is only one."""
        values = configuration.values(configuration.resolve(self.preset, settings).config)
        parts = [
            f"{short}={_UNFIT.sub('-', str(values[name]))}"
            for name, short in zip(varied, short_names(varied), strict=True)
        ]
        return ",".join(parts) or NO_GRID

    def write(self, path: Path, placement: Placement) -> None:
        """Writes sweep.toml, and a copy of a preset in a file, which may change or be far away."""
        settings = {name: list(values) for name, values in self.settings.items()}
        given = {name: value for name, value in asdict(placement).items() if value is not None}
        document = {**asdict(self), "settings": settings, "placement": given}
        if _is_file(self.preset):
            write_whole(path / PRESET_FILE, Path(self.preset).read_bytes())
            document["preset"] = PRESET_FILE
        write_whole(path / SWEEP_FILE, tomli_w.dumps(document))

    @classmethod
    def read(cls, path: Path) -> "SweepRequest":
        """Reads sweep.toml.

        Raises:
          UserError: there is none, or it is not as `write` left it.
        """
        file = path / SWEEP_FILE
        if not file.exists():
            raise UserError(f"{path} is no sweep: it has no {SWEEP_FILE}")
        try:
            found = pydantic.TypeAdapter(cls).validate_python(
                configuration.read_toml(file, "sweep")
            )
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise UserError(f"cannot read {file}: {where}: {problem['msg'].lower()}") from None
        if not (found.games and found.seeds):
            raise UserError(f"cannot read {file}: it has no games or no seeds")
        for seed in found.seeds:
            check_seed(seed, name=f"seed in {file}")
        games = tuple(environment_of(game).name for game in found.games)
        return replace(found, games=games, preset=found.kept_preset(path))

    def kept_preset(self, path: Path) -> str:
        """The preset as the runs of the sweep in `path` get it: a file's copy, which no user edits.

        Absolute: runs, here or on other machines, start in other folders.
        """
        return str(path.resolve() / PRESET_FILE) if _is_file(self.preset) else self.preset

    def difference(self, other: "SweepRequest") -> str | None:
        """The first thing that `other` asks for differently, in words; None if there is none."""
        if _is_file(self.preset) and _is_file(other.preset):
            presets = [Path(one.preset) for one in (self, other)]
            copied, given = (configuration.read_toml(path, "preset") for path in presets)
            if copied != given:
                return f"preset {other.preset} differs from its {PRESET_FILE}"
            other = replace(other, preset=self.preset)
        for name in ("games", "seeds", "preset"):
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                return f"{name} {_shown(here)} there, {_shown(there)} here"
        for name in {**self.settings, **other.settings}:
            here, there = self.settings.get(name), other.settings.get(name)
            if _meant(here) != _meant(there):
                return f"{name} {_shown(here)} there, {_shown(there)} here"
        return None


def short_names(settings: Sequence[str]) -> list[str]:
    """Without their sections, where that leaves them different."""
    short = [name.partition(".")[2] for name in settings]
    return [
        name if short.count(field) > 1 else field
        for name, field in zip(settings, short, strict=True)
    ]


def _is_file(preset: str) -> bool:
    return Path(preset).suffix == ".toml"


def _meant(values: tuple[str, ...] | None) -> list[float | str] | None:
    """Values apart from how their numbers are written: `--minutes 60` is `--run.minutes 60.0`."""
    return None if values is None else [_number_or_text(value) for value in values]


def _number_or_text(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        sets = [name for name, found in GAME_SETS.items() if found.games == value]
        return " ".join(sets or map(str, value))
    return "as in the preset" if value is None else str(value)
