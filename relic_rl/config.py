"""Configuration: the options of every part, presets as TOML, and where each value came from.

A value is the option's default, unless the preset (or a TOML file of the user's) sets it, unless a
flag does. An option stands in the `options` module of the part that uses it, with its meaning, the
source of its default in square brackets, and its bounds. The parts take these records; they see no
`Config`.
"""

import functools
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pydantic
import tomli_w

from agents.options import LearnerOptions, NetworkOptions
from agents.representation.arms import LEAST_STACKS
from agents.representation.options import RepresentationOptions
from envs.options import FRAME_SIDE_PIXELS, EnvOptions
from relic_rl.errors import UsageError, nearest
from relic_rl.evaluation.options import EvaluationOptions
from relic_rl.replay.options import ReplayOptions
from relic_rl.replay.segment import MAX_DECODED_BYTES
from relic_rl.runtime.engines import ENGINES
from relic_rl.runtime.options import GRAPHED_ACTORS, ActorOptions, RunOptions

DEFAULT = "default"
"""Where a value comes from that neither a preset nor a flag gives."""
_FLAG = "flag"
_GIVEN = "among the settings given"
RUN_KEYS = {"game", "seed", "preset"}
"""What a run's config.toml holds beside its settings."""
_SEGMENT_FRAMES = MAX_DECODED_BYTES // FRAME_SIDE_PIXELS**2


@dataclass(frozen=True, slots=True)
class Config:
    """All of a run's settings but its game and seed."""

    env: EnvOptions = field(default_factory=EnvOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    learner: LearnerOptions = field(default_factory=LearnerOptions)
    representation: RepresentationOptions = field(default_factory=RepresentationOptions)
    replay: ReplayOptions = field(default_factory=ReplayOptions)
    actor: ActorOptions = field(default_factory=ActorOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    run: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        """Checks what crosses parts.

        Raises:
          UsageError: two parts' options do not fit together.
        """
        learner, replay = self.learner, self.replay
        segment = learner.segment_steps
        frames = self.network.frame_stack + segment
        if self.network.frame_stack > 256 or frames > _SEGMENT_FRAMES:
            raise UsageError(
                f"network.frame_stack is {self.network.frame_stack} and learner.segment_steps "
                f"{segment}: use at most 256, and {_SEGMENT_FRAMES} together; a segment of the "
                "replay holds no more"
            )
        actors, most = self.actor.actors, ENGINES[self.run.engine].max_actors
        if most is not None and actors > most:
            raise UsageError(
                f"actor.actors is {actors}: use at most {most} with the {self.run.engine} engine"
            )
        alone = ENGINES[self.run.engine].needs_cluster
        if self.actor.cuda_graph and actors > GRAPHED_ACTORS and not alone:
            raise UsageError(
                f"actor.actors is {actors}: use at most {GRAPHED_ACTORS} with actor.cuda_graph, as "
                "each needs a CUDA stream of its own"
            )
        least = max(replay.min_steps, learner.burn_in_steps + learner.unroll_steps) + segment
        if replay.capacity_steps < least:
            raise UsageError(
                f"replay.capacity_steps is {replay.capacity_steps}: use {least} or more, or "
                "learning would never start (a segment above replay.min_steps and above a sequence)"
            )
        stacks = LEAST_STACKS.get(self.representation.arm, 1)
        if learner.batch_sequences < stacks:
            raise UsageError(
                f"representation.arm {self.representation.arm} needs {stacks} stacks or more in "
                "every batch, and a sequence may hold a single one: use learner.batch_sequences of "
                f"{stacks} or more"
            )


SECTIONS: dict[str, type] = get_type_hints(Config)


class Resolved(NamedTuple):
    """A configuration and, for every `section.field`, where its value came from."""

    config: Config
    origins: dict[str, str]
    preset: str


@functools.cache
def field_types() -> dict[str, Any]:
    """The type of every `section.field`, in order."""
    return {
        f"{section}.{name}": kind
        for section, cls in SECTIONS.items()
        for name, kind in get_type_hints(cls, include_extras=True).items()
    }


@functools.cache
def field_docs() -> dict[str, tuple[str, str]]:
    """For every `section.field`: what it means, and the source of its default."""
    docs = {}
    for section, cls in SECTIONS.items():
        for name, doc in _docstrings(cls).items():
            meaning, _, source = " ".join(doc.split()).rstrip("]").rpartition("[")
            docs[f"{section}.{name}"] = (meaning.strip(), source)
    return docs


def _docstrings(cls: type) -> dict[str, str]:
    """The docstring under each field, inherited ones first; pydantic reads a class's own."""
    documented = pydantic.ConfigDict(use_attribute_docstrings=True)
    found = {}
    for base in filter(is_dataclass, reversed(cls.__mro__)):
        model = pydantic.create_model("Documented", __config__=documented, of=(base, ...))
        for name, entry in model.model_json_schema()["$defs"][base.__name__]["properties"].items():
            if "description" in entry:
                found[name] = entry["description"]
    return found


def values(config: Config) -> dict[str, Any]:
    """Every `section.field` and its value, in order."""
    return {
        f"{section}.{item.name}": getattr(getattr(config, section), item.name)
        for section, cls in SECTIONS.items()
        for item in fields(cls)
    }


def is_list(name: str) -> bool:
    """Whether a setting's value is itself a list, given as `16,32,32`."""
    return get_origin(field_types().get(name)) is tuple


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
    given = _preset_values(preset) | _named(overrides, _FLAG)
    origins = dict.fromkeys(field_types(), DEFAULT) | {n: g.origin for n, g in given.items()}
    writable = preset.encode("utf-8", "replace").decode()  # a file's name may be any bytes
    return Resolved(_validated(given), origins, writable)


def preset_paths() -> dict[str, Path]:
    """Shipped presets by name: inside the package when installed, else in the checkout."""
    package = Path(__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def dump(config: Config, **top: Any) -> str:
    """TOML text of a configuration, under top-level keys such as game and seed."""
    return tomli_w.dumps({**top, **asdict(config)})


def complete(
    document: Mapping[str, Any], origin: str, sections: Collection[str] = tuple(SECTIONS)
) -> Config:
    """The configuration of a document that lacks nothing of some sections.

    Args:
      document: values by section and field.
      origin: where it is from, for messages.
      sections: those that must be complete; what others lack has its default.

    Raises:
      UsageError: something is missing, unknown or of no sense.
    """
    given = _given(document, origin)
    missing = [
        f"{name} (default {default})"
        for name, default in values(Config()).items()
        if name not in given and name.partition(".")[0] in sections
    ]
    if missing:
        raise UsageError(
            f"{origin} lacks {', '.join(missing)}: it is from another version, or damaged; add "
            "what it was trained with"
        )
    return _validated(given)


def changed(config: Config, overrides: Mapping[str, Any]) -> Config:
    """The configuration with the flags' values, which are checked as `resolve` does."""
    return _validated(_named(values(config), "the run") | _named(overrides, _FLAG))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields whose values differ: name to (old, new); None where one of them lacks it."""
    names = [*old, *(name for name in new if name not in old)]
    return {
        name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
    }


def expect_fields(names: Iterable[str], where: str = _GIVEN) -> None:
    """Raises UsageError, with the nearest name, unless all are `section.field`s."""
    known = field_types()
    for name in names:
        if name not in known:
            raise UsageError(f"unknown field {name!r} {where}{nearest(name, known)}")


class _Given(NamedTuple):
    """A value, and where it was given: the command line, a preset, a file."""

    value: Any
    origin: str

    @property
    def where(self) -> str:
        """As the end of a complaint."""
        return _GIVEN if self.origin == _FLAG else f"in {self.origin}"


def _preset_values(preset: str) -> dict[str, _Given]:
    """What a preset, and the one it is based on, set."""
    path = Path(preset)
    if path.suffix != ".toml":
        shipped = preset_paths()
        if preset not in shipped:
            raise UsageError(
                f"unknown preset {preset!r}{nearest(preset, shipped)}; "
                f"shipped are {', '.join(shipped)}, or give a .toml file"
            )
        path = shipped[preset]
    document = read_toml(path, "preset")
    if document.keys() >= RUN_KEYS:  # a run's own: what it adds to its settings is another run's
        document = {name: value for name, value in document.items() if name not in RUN_KEYS}
    base = document.pop("base", None)
    found = {} if base is None else _preset_values(_base_name(base, preset))
    return found | _given(document, f"preset {preset}")


def _base_name(base: Any, preset: str) -> str:
    if not isinstance(base, str) or base not in preset_paths() or base == preset:
        raise UsageError(f"base is {base!r} in preset {preset}: use {', '.join(preset_paths())}")
    return str(base)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file's document.

    Raises:
      UsageError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also for bytes that are no text, huge numbers
        raise UsageError(f"{what} {path} is not valid TOML: {error}") from error


def _given(document: Mapping[str, Any], origin: str) -> dict[str, _Given]:
    for section, entries in document.items():
        if section in SECTIONS and not isinstance(entries, Mapping):
            raise UsageError(f"{section} is {entries!r} in {origin}: it is a section, [{section}]")
        if section not in SECTIONS:
            if not isinstance(entries, Mapping):
                raise UsageError(f"unknown key {section!r} in {origin}")
            raise UsageError(f"unknown section {section!r} in {origin}{nearest(section, SECTIONS)}")
    return _named(settings_of(document), origin)


def _named(flat: Mapping[str, Any], origin: str) -> dict[str, _Given]:
    given = {name: _Given(value, origin) for name, value in flat.items()}
    for name, one in given.items():
        expect_fields([name], one.where)
    return given


def _validated(given: Mapping[str, _Given]) -> Config:
    """The configuration of some `section.field` values, with defaults for the rest.

    Raises:
      UsageError: a value is not possible, or does not fit another: one line, with where it is from.
    """
    nested: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, (value, _) in given.items():
        section, _, key = name.partition(".")
        parts = value if isinstance(value, list) else [value]
        if field_types()[name] is not bool and any(isinstance(part, bool) for part in parts):
            # pydantic would have it as 0 or 1
            raise UsageError(f"{name} is {value!r} {given[name].where}: it takes no true or false")
        is_text = is_list(name) and isinstance(value, str)
        nested[section][key] = value.replace(",", " ").split() if is_text else value
    try:
        return _CONFIG.validate_python(nested)
    except pydantic.ValidationError as error:
        raise UsageError(_complaint(error, given)) from None


_CONFIG = pydantic.TypeAdapter(Config)


def _complaint(error: pydantic.ValidationError, given: Mapping[str, _Given]) -> str:
    """The first of pydantic's complaints, as a line."""
    first = error.errors()[0]
    section, *field_and_item = first["loc"]
    if not field_and_item:  # of the section's own check, which names the field
        return f"{section}.{first['ctx']['error']}"
    name = f"{section}.{field_and_item[0]}"
    value, kind, problem = given[name].value, field_types()[name], first["msg"]
    if first["type"] in ("missing", "too_long"):
        problem = f"use {len(get_args(kind))} values"
    near = nearest(str(value), get_args(kind)) if get_origin(kind) is Literal else ""
    return f"{name} is {value!r} {given[name].where}: {problem[0].lower()}{problem[1:]}{near}"
