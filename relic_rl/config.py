"""Configuration: the settings of a run, presets as TOML, and where each value came from.

A value is the dataclass default (`relic_rl.settings`), unless the preset (or a TOML file of the
user's) sets it, unless a flag does.

Who acts, learns and keeps (`relic_rl.runtime`, `relic_rl.replay`, the agent, the environments) sees
no `Config`: the composition root (`relic_rl.train`, `relic_rl.build`) gives them plain values.
"""

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pydantic
import tomli_w

from relic_rl.errors import UsageError, nearest
from relic_rl.replay.segment import MAX_DECODED_BYTES
from relic_rl.settings import (
    ActorConfig,
    EnvConfig,
    EvaluationConfig,
    LearnerConfig,
    NetworkConfig,
    ReplayConfig,
    RepresentationConfig,
    RunConfig,
)

LIST_FIELD = "network.channels"
"""The one setting whose value is itself a list."""
_SEGMENT_FRAMES = MAX_DECODED_BYTES // (84 * 84)


@dataclass(frozen=True, slots=True)
class Config:
    """All of a run's settings but its game and seed."""

    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    representation: RepresentationConfig = field(default_factory=RepresentationConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Checks what no single field can.

        Raises:
          UsageError: two fields do not fit together.
        """
        learner, replay, representation = self.learner, self.replay, self.representation
        segment = learner.segment_steps
        if learner.burn_in_steps not in (0, segment):
            raise UsageError(
                f"learner.burn_in_steps is {learner.burn_in_steps}: use 0 or "
                f"learner.segment_steps ({segment})"
            )
        if learner.unroll_steps % segment:
            raise UsageError(
                f"learner.unroll_steps is {learner.unroll_steps}: use a multiple of "
                f"learner.segment_steps ({segment})"
            )
        if learner.n_steps > segment:
            raise UsageError(
                f"learner.n_steps is {learner.n_steps}: use at most learner.segment_steps "
                f"({segment})"
            )
        frames = self.network.frame_stack + segment
        if self.network.frame_stack > 256 or frames > _SEGMENT_FRAMES:
            raise UsageError(
                f"network.frame_stack is {self.network.frame_stack} and learner.segment_steps "
                f"{segment}: use at most 256, and {_SEGMENT_FRAMES} together; a segment of the "
                "replay holds no more"
            )
        if representation.acting_encoder == "momentum" and representation.encoder == "shared":
            raise UsageError(
                "representation.acting_encoder is momentum: use it with representation.encoder "
                "separate, or leave it online"
            )
        actor, engine = self.actor, self.run.engine
        if actor.lanes % actor.actors or (engine == "inline" and actor.actors > 1):
            raise UsageError(
                f"actor.actors is {actor.actors}: use a divisor of actor.lanes ({actor.lanes}), "
                "and 1 with the inline engine"
            )
        least = max(replay.min_steps, learner.burn_in_steps + learner.unroll_steps) + segment
        if replay.capacity_steps < least:
            raise UsageError(
                f"replay.capacity_steps is {replay.capacity_steps}: use {least} or more, or "
                "learning would never start (a segment above replay.min_steps and above a sequence)"
            )
        if representation.arm == "byol" and learner.batch_sequences < 2:
            raise UsageError(
                "representation.arm byol needs 2 stacks or more in every batch, and a sequence "
                "may hold a single one: use learner.batch_sequences of 2 or more"
            )


SECTIONS: dict[str, type] = get_type_hints(Config)


class Resolved(NamedTuple):
    """A configuration and, for every `section.field`, where its value came from."""

    config: Config
    origins: dict[str, str]
    preset: str


def field_types() -> dict[str, Any]:
    """The type of every `section.field`, in order."""
    return {
        f"{section}.{name}": kind
        for section, cls in SECTIONS.items()
        for name, kind in get_type_hints(cls, include_extras=True).items()
    }


def field_docs() -> dict[str, tuple[str, str]]:
    """For every `section.field`: what it means, and the source of its default."""
    docs = {}
    for section, cls in SECTIONS.items():
        for name, doc in _docstrings(cls):
            meaning, _, source = doc.rstrip("]").rpartition("[")
            docs[f"{section}.{name}"] = (meaning.strip(), source)
    return docs


def values(config: Config) -> dict[str, Any]:
    """Every `section.field` and its value, in order."""
    return {
        f"{section}.{item.name}": getattr(getattr(config, section), item.name)
        for section, cls in SECTIONS.items()
        for item in fields(cls)
    }


def settings_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Every `section.field` of a TOML document and its value, unchecked: of whatever version."""
    return {
        f"{section}.{name}": value
        for section, entries in document.items()
        if isinstance(entries, Mapping)
        for name, value in entries.items()
    }


def identity(config: Config, game: str, seed: int) -> dict[str, Any]:
    """All that defines a run, by name."""
    return {"game": game, "seed": seed, **values(config)}


def resolve(preset: str, overrides: Mapping[str, Any]) -> Resolved:
    """Stacks the flags' values on the preset's, on the defaults.

    Args:
      preset: a shipped preset's name, or the path of a TOML file.
      overrides: `section.field` to value; text is converted to the field's type.

    Raises:
      UsageError: unknown preset, field or value; one line, with the nearest name.
    """
    flat = {name: (value, "default") for name, value in values(Config()).items()}
    for name, (value, origin) in _preset_values(preset).items():
        flat[name] = (value, f"preset {origin}")
    for name, value in overrides.items():
        flat[name] = (_validated(name, value, where="on the command line"), "flag")
    config = from_values({name: value for name, (value, _) in flat.items()})
    return Resolved(config, {name: origin for name, (_, origin) in flat.items()}, preset)


def from_values(flat: Mapping[str, Any]) -> Config:
    """A configuration from all its `section.field` values."""
    nested = _nested(flat)
    return Config(**{section: cls(**nested[section]) for section, cls in SECTIONS.items()})


def preset_paths() -> dict[str, Path]:
    """Shipped presets by name: inside the package when installed, else in the checkout."""
    package = Path(__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def dump(config: Config, **top: Any) -> str:
    """TOML text of a configuration, under top-level keys such as game and seed."""
    return tomli_w.dumps({**top, **_nested(values(config))})


def load(path: Path) -> tuple[Config, dict[str, Any]]:
    """Reads what `dump` wrote: the configuration and the top-level keys.

    Raises:
      UsageError: unreadable, or not a configuration of this version.
    """
    document = _read_toml(path, "configuration")
    top = {key: value for key, value in document.items() if not isinstance(value, dict)}
    sections = {key: value for key, value in document.items() if isinstance(value, dict)}
    flat = dict(_flattened(sections, where=f"in {path}"))
    defaults = values(Config())
    missing = [f"{name} (default {defaults[name]})" for name in defaults if name not in flat]
    if missing:
        raise UsageError(
            f"{path} lacks {', '.join(missing)}: it is of another version, or harmed; add what it "
            "was trained with"
        )
    return from_values(flat), top


def changed(config: Config, overrides: Mapping[str, Any]) -> Config:
    """The configuration with the flags' values, which are checked as `resolve` does."""
    given = {n: _validated(n, v, where="on the command line") for n, v in overrides.items()}
    return from_values(values(config) | given)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields whose values differ: name to (old, new); None where one of them lacks it."""
    names = [*old, *(name for name in new if name not in old)]
    return {
        name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
    }


def expect_fields(names: Iterable[str]) -> None:
    """Raises UsageError, with the nearest name, unless all are `section.field`s."""
    for name in names:
        _type_of(name, "on the command line")


def _preset_values(preset: str) -> dict[str, tuple[Any, str]]:
    """What a preset and the one it is based on set: `section.field` to (value, preset's name)."""
    path = Path(preset)
    if path.suffix != ".toml":
        shipped = preset_paths()
        if preset not in shipped:
            raise UsageError(
                f"unknown preset {preset!r}{nearest(preset, shipped)}; "
                f"shipped are {', '.join(shipped)}, or give a .toml file"
            )
        path = shipped[preset]
    document = _read_toml(path, "preset")
    base = document.pop("base", None)
    found = {} if base is None else _preset_values(_base_name(base, preset))
    flat = _flattened(document, where=f"in preset {preset}")
    return found | {name: (value, preset) for name, value in flat}


def _base_name(base: Any, preset: str) -> str:
    if not isinstance(base, str) or base not in preset_paths() or base == preset:
        raise UsageError(f"base is {base!r} in preset {preset}: use {', '.join(preset_paths())}")
    return str(base)


def _read_toml(path: Path, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also for bytes that are no text, huge numbers
        raise UsageError(f"{what} {path} is not valid TOML: {error}") from error


def _flattened(document: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for section, entries in document.items():
        if section not in SECTIONS or not isinstance(entries, Mapping):
            raise UsageError(f"unknown section {section!r} {where}{nearest(section, SECTIONS)}")
        for name, value in entries.items():
            yield f"{section}.{name}", _validated(f"{section}.{name}", value, where)


def _type_of(name: str, where: str) -> Any:
    known = field_types()
    if name not in known:
        raise UsageError(f"unknown field {name!r} {where}{nearest(name, known)}")
    return known[name]


def _validated(name: str, value: Any, where: str) -> Any:
    kind = _type_of(name, where)
    if isinstance(value, str) and name == LIST_FIELD:
        value = value.replace(",", " ").split()
    try:
        return pydantic.TypeAdapter(kind).validate_python(value)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]["msg"]
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        raise UsageError(
            f"{name} is {value!r} {where}: {problem[0].lower()}{problem[1:]}"
            f"{nearest(str(value), choices)}"
        ) from None


def _nested(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in flat.items():
        section, _, key = name.partition(".")
        nested[section][key] = value
    return nested


def _docstrings(cls: type) -> Iterator[tuple[str, str]]:
    """(field, the string literal under it) of a dataclass, read from its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    for item, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(following, ast.Expr):
            yield ast.unparse(item.target), " ".join(ast.literal_eval(following.value).split())
