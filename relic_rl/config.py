"""Configuration: one frozen dataclass per part, presets as TOML, and where each value came from.

A value is the dataclass default, unless the preset (or a TOML file of the user's) sets it, unless a
flag does. Defaults are R2D2's and ReLIC's published ones; the docstring under a field says what
it means and, in square brackets, its source. `relic-rl config` prints both.

Only the composition root (`relic_rl.train` and the commands beside it) sees a `Config`; everything
below takes plain values.
"""

import ast
import difflib
import inspect
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import pydantic
import tomli_w
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from relic_rl.errors import UsageError

Fraction = Annotated[float, pydantic.Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True)
class EnvConfig:
    """The emulator and the evaluation protocol."""

    protocol: Literal["noop", "machado"] = "noop"
    """`noop`: up to 30 no-ops, no sticky actions. `machado`: sticky 0.25, no no-ops. [R2D2 app.]"""
    action_set: Literal["full", "minimal"] = "full"
    """All 18 actions, or those that the game uses. [R2D2 app.]"""
    threads: NonNegativeInt = 0
    """Emulator threads of an actor; 0: as many as cores. [ours]"""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes of the Q-network."""

    frame_stack: PositiveInt = 4
    """Frames that one observation stacks. [R2D2 app.]"""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 64)
    """Channels of the convolutions 8x8/4, 4x4/2, 3x3/1. [R2D2 app.: DQN's network]"""
    features: PositiveInt = 512
    """Width of the fully connected layer after them. [DQN]"""
    lstm: PositiveInt = 512
    """Width of the LSTM. [R2D2 app.]"""
    hidden: PositiveInt = 512
    """Width of each hidden layer of the dueling head. [R2D2 app.]"""
    previous_reward: Literal["raw", "tanh"] = "raw"
    """How the previous reward enters the LSTM. [R2D2 app. gives no transformation]"""
    skip_core: bool = False
    """The head sees the encoder's features beside the LSTM's output. [ours; R2D2 does not]"""
    recurrent: bool = True
    """False: the state is zero at every step, R2D2's feed-forward comparison. [R2D2 table 1]"""


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """R2D2's loss, its sequences and its optimizer."""

    batch_sequences: PositiveInt = 64
    """Sequences in a batch. [R2D2 table 2]"""
    segment_steps: PositiveInt = 40
    """Steps in a segment; sequences start at every segment. [R2D2 2.3: overlap of 40]"""
    burn_in_steps: NonNegativeInt = 40
    """Steps that only warm the state up: 0 or segment_steps. [R2D2 table 2]"""
    unroll_steps: PositiveInt = 80
    """Steps trained on, a multiple of segment_steps. [R2D2 table 2]"""
    n_steps: PositiveInt = 5
    """Rewards in a target. [R2D2 2.3]"""
    trace_lambda: Fraction = 0.0
    """Above 0: Peng's Q(λ) targets over the sequence instead of n-step ones. [ours]"""
    discount: Fraction = 0.997
    """γ. [R2D2 table 2]"""
    rescaling_epsilon: PositiveFloat = 1e-3
    """ε of the value rescaling h. [R2D2 2.3]"""
    learning_rate: PositiveFloat = 1e-4
    """Adam's. [R2D2 table 2]"""
    adam_epsilon: PositiveFloat = 1e-3
    """Adam's. [R2D2 table 2]"""
    clip_norm: PositiveFloat = 40.0
    """Global gradient norm. [Ape-X, as in SEED RL]"""
    target_period_updates: PositiveInt = 2500
    """Updates between copies to the target network. [R2D2 table 2]"""
    diagnostics_every_updates: NonNegativeInt = 200
    """Updates between the costly diagnostics; 0: never. [ours]"""


@dataclass(frozen=True, slots=True)
class RepresentationConfig:
    """The representation loss and how it joins the RL loss."""

    arm: Literal["relic", "simclr", "curl", "byol", "augmentation", "none"] = "relic"
    """Arm of the paper's table 4, or `none`. [ReLIC table 4]"""
    encoder: Literal["shared", "separate"] = "shared"
    """One jointly trained encoder, or a second one of its own. [separate: ReLIC E.6]"""
    weight: NonNegativeFloat = 1.0
    """Weight of the loss beside the RL loss, with a shared encoder. [ours]"""
    temperature: PositiveFloat = 1.0
    """τ. [ReLIC table 8]"""
    alpha: NonNegativeFloat = 1.0
    """Weight of the invariance term. [ReLIC eq. 3; value not stated]"""
    normalize: bool = False
    """Embeddings to unit length before the product. [ReLIC table 8: no scaling of embeddings]"""
    kl_direction: Literal["forward", "reverse", "symmetric"] = "forward"
    """KL(p12 || p21), KL(p21 || p12), or their mean. [ReLIC eq. 3; not stated which]"""
    kl_stop_gradient: Literal["none", "entropy", "first", "second"] = "none"
    """Part of the KL that is held constant: see `relic_loss`. [ReLIC: not stated]"""
    momentum: Fraction = 0.99
    """Of the momentum encoder h. [ReLIC E.6]"""
    acting_encoder: Literal["online", "momentum"] = "online"
    """Whose features a separate encoder gives the Q-network: f's or h's. [ReLIC: not stated]"""
    stacks_per_sequence: PositiveInt = 1
    """Frame stacks of each sequence in the contrast set, spread over time. [ReLIC: not stated]"""
    use_burn_in: bool = False
    """Whether stacks of the burn-in may be among them. [ReLIC: not stated]"""
    learning_rate: PositiveFloat = 5e-4
    """Adam's, for a separate encoder. [ReLIC table 8]"""
    adam_epsilon: PositiveFloat = 0.01
    """Adam's, for a separate encoder. [ReLIC table 8]"""
    clip_norm: PositiveFloat = 40.0
    """Global gradient norm, for a separate encoder. [ReLIC E.6]"""


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """What is kept, what is sampled, and how often."""

    capacity_steps: PositiveInt = 4_000_000
    """Steps kept; the oldest go first. [R2D2 table 2]"""
    max_bytes: PositiveInt = 8_000_000_000
    """Ceiling in memory, all counted, whatever the capacity. [ours]"""
    min_steps: NonNegativeInt = 50_000
    """Steps in the replay before learning starts. [Ape-X]"""
    replay_ratio: PositiveFloat = 0.8
    """Trained steps per environment step. [R2D2 2.3]"""
    priority_exponent: NonNegativeFloat = 0.9
    """Of the priorities when sampling. [R2D2 table 2]"""
    priority_mix: Fraction = 0.9
    """η: share of the largest error in a sequence's priority, the rest is the mean. [R2D2 2.3]"""
    importance_exponent: NonNegativeFloat = 0.6
    """Of the importance weights. [R2D2 table 2]"""


@dataclass(frozen=True, slots=True)
class ActorConfig:
    """Who gathers experience, and how they explore."""

    lanes: PositiveInt = 256
    """Environments, each at its own place on the ladder of epsilons. [R2D2 table 2: actors]"""
    actors: PositiveInt = 1
    """Actors that share the lanes evenly; more than one needs the threads engine. [ours]"""
    epsilon_base: Fraction = 0.4
    """ε_i = base^(1 + exponent i / (lanes - 1)). [Ape-X]"""
    epsilon_exponent: NonNegativeFloat = 7.0
    """See epsilon_base. [Ape-X]"""
    publish_every_updates: PositiveInt = 16
    """Updates between fresh parameters: 400 steps of each lane. [R2D2 table 2, in updates]"""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How the agent is judged: full episodes, unclipped, under the run's protocol."""

    episodes: PositiveInt = 10
    """Full episodes of the evaluation at the end, and of `relic-rl evaluate`. [ours]"""
    epsilon: Fraction = 0.001
    """Of evaluation's random actions. [SEED RL]"""
    every_minutes: NonNegativeFloat = 30.0
    """Between evaluations during training; 0: only at the end. [ours]"""
    interim_episodes: PositiveInt = 3
    """Episodes of an evaluation during training. [ours]"""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How long, on what, and how it is recorded."""

    frames: PositiveInt = 15_000_000_000
    """Environment frames to train for (4 a step). [ReLIC E.6]"""
    minutes: NonNegativeFloat = 0.0
    """Minutes to train for, whichever ends first; 0: no limit. [ours]"""
    engine: Literal["inline", "threads", "ray"] = "inline"
    """Who acts where; see ARCHITECTURE.md. [ours]"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner computes. [ours]"""
    threads: NonNegativeInt = 0
    """CPU threads of the learner; 0: as many as cores. [ours]"""
    track: Literal["off", "offline", "online"] = "off"
    """Whether wandb mirrors the metrics. [ours]"""
    log_every_seconds: PositiveFloat = 10.0
    """Between status lines. [ours]"""
    metrics_every_updates: PositiveInt = 100
    """Between rows of metrics.jsonl. [ours]"""
    checkpoint_every_minutes: PositiveFloat = 10.0
    """Between checkpoints. [ours]"""


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
        if replay.min_steps >= replay.capacity_steps:
            raise UsageError(
                f"replay.min_steps ({replay.min_steps}) is not below replay.capacity_steps "
                f"({replay.capacity_steps}): learning would never start"
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


def default_preset(*, has_cuda: bool) -> str:
    """The preset that fits the machine."""
    return "workstation" if has_cuda else "laptop"


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
    missing = field_types().keys() - flat.keys()
    if missing:
        raise UsageError(f"{path} lacks {', '.join(sorted(missing))}")
    return from_values(flat), top


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Fields whose values differ: `section.field` to (old, new)."""
    before, after = values(old), values(new)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _preset_values(preset: str) -> dict[str, tuple[Any, str]]:
    """What a preset and the one it is based on set: `section.field` to (value, preset's name)."""
    path = Path(preset)
    if path.suffix != ".toml":
        shipped = preset_paths()
        if preset not in shipped:
            raise UsageError(
                f"unknown preset {preset!r}{_nearest(preset, shipped)}; "
                f"shipped are {', '.join(shipped)}, or give a .toml file"
            )
        path = shipped[preset]
    document = _read_toml(path, "preset")
    base = document.pop("base", None)
    found = {} if base is None else _preset_values(_base_name(base, preset))
    flat = _flattened(document, where=f"in preset {preset}")
    return found | {name: (value, preset) for name, value in flat}


def _base_name(base: Any, preset: str) -> str:
    if base not in preset_paths() or base == preset:
        raise UsageError(f"base is {base!r} in preset {preset}: use {', '.join(preset_paths())}")
    return str(base)


def _read_toml(path: Path, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{what} {path} is not valid TOML: {error}") from error


def _flattened(document: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for section, entries in document.items():
        if section not in SECTIONS or not isinstance(entries, Mapping):
            raise UsageError(f"unknown section {section!r} {where}{_nearest(section, SECTIONS)}")
        for name, value in entries.items():
            yield f"{section}.{name}", _validated(f"{section}.{name}", value, where)


def _validated(name: str, value: Any, where: str) -> Any:
    known = field_types()
    if name not in known:
        raise UsageError(f"unknown field {name!r} {where}{_nearest(name, known)}")
    if isinstance(value, str) and name == "network.channels":
        value = value.replace(",", " ").split()
    try:
        return pydantic.TypeAdapter(known[name]).validate_python(value)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise UsageError(
            f"{name} is {value!r} {where}: {problem[0].lower()}{problem[1:]}"
        ) from None


def _nested(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in flat.items():
        section, _, key = name.partition(".")
        nested[section][key] = value
    return nested


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", nearest is {matches[0]!r}" if matches else ""


def _docstrings(cls: type) -> Iterator[tuple[str, str]]:
    """(field, the string literal under it) of a dataclass, read from its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    for item, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(following, ast.Expr):
            yield ast.unparse(item.target), " ".join(ast.literal_eval(following.value).split())
