"""What linear probes found of a run's representation: `probes.jsonl`, a line for each probing.

`relic-rl probe` adds to it, and a run with `run.probe_every_frames`; a report reads it. Of a
moment that was probed again the last line counts.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import pydantic

from relic_rl.errors import UserError
from relic_rl.records.folders import alone, refusing, write_whole

PROBES_FILE = "probes.jsonl"


@dataclass(frozen=True, slots=True)
class Readout:
    """How well one variable of the game's state is read out of a representation."""

    category: str
    """One of `envs.ram.CATEGORIES`."""
    f1: float
    """Of a linear classifier: of each value, weighted by how often it occurs."""
    r2: float | None
    """Of a ridge regression; None where the test episodes hold one value only."""


@dataclass(frozen=True, slots=True)
class Representation:
    """What is known of one representation."""

    f1: float
    """Mean over categories of the mean over their variables."""
    r2: float | None
    """The same; None if no variable has one."""
    variables: dict[str, Readout]
    effective_rank: float | None = None
    """Of `chance`'s number of stacks."""
    mean_share: float | None = None
    """Of the mean vector in the mean square length: 1 if all features are the same."""
    invariance: float | None = None
    """Divergence between two views of a stack, in nats; of encoders."""
    contrastive_accuracy: float | None = None
    """How often a view's nearest is the other view of its stack; of encoders."""


@dataclass(frozen=True, slots=True)
class Probing:
    """Everything that was found of one checkpoint; a line of `probes.jsonl`."""

    game: str
    env_frames: int
    """Trained by then."""
    updates: int
    seed: int
    """Of the episodes and of the untrained encoder."""
    steps: int
    """Played by the agent, over all episodes."""
    episodes: int
    train_steps: int
    test_steps: int
    repeated_steps: int
    """Of the test episodes, left out: the same stack was trained on."""
    epsilon: float
    protocol: str | None
    dropped: tuple[str, ...]
    """Variables that hardly changed, and were not probed."""
    chance: float
    """Of the contrastive accuracy: one over the number of stacks compared."""
    representations: dict[str, Representation]
    """By name: encoder, lstm (of recurrent networks), random_encoder, pixels."""


def averages(readouts: Mapping[str, Readout]) -> tuple[float, float | None]:
    """F1 and R²: each the mean over categories of the mean over their variables."""
    f1: dict[str, list[float]] = {}
    r2: dict[str, list[float]] = {}
    for readout in readouts.values():
        f1.setdefault(readout.category, []).append(readout.f1)
        if readout.r2 is not None:
            r2.setdefault(readout.category, []).append(readout.r2)
    return fmean(map(fmean, f1.values())), fmean(map(fmean, r2.values())) if r2 else None


def append_probing(run_dir: Path, probing: Probing) -> None:
    """Adds a line to the run's `probes.jsonl`.

    Raises:
      UserError: it cannot be written.
    """
    path = run_dir / PROBES_FILE
    line = (json.dumps(asdict(probing), allow_nan=False) + "\n").encode()
    with refusing(f"write {path}"), alone(run_dir):  # a run and a command may both write
        write_whole(path, b"".join([*_whole_lines(path), line]))


def drop_later_probings(run_dir: Path, env_frames: int) -> int:
    """Drops what was found later than that: a resumed run trains it anew.

    Returns:
      How far the run had trained when the last of all was found; 0 if there was nothing.

    Raises:
      OSError: the file cannot be written.
    """
    path = run_dir / PROBES_FILE
    if not path.exists():
        return 0
    with alone(run_dir):
        found = [(_frames_of(line), line) for line in _whole_lines(path)]
        kept = [line for frames, line in found if frames <= env_frames]
        if len(kept) < len(found):
            write_whole(path, b"".join(kept))
    return max((frames for frames, _ in found), default=0)


def _whole_lines(path: Path) -> list[bytes]:
    """With their ends; without half a last line, which somebody who was killed has left."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith(b"\n")]


def _frames_of(line: bytes) -> int:
    """Of a damaged line 0, so that it stays: whoever reads the file says so."""
    try:
        return int(json.loads(line)["env_frames"])
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0


def read_probings(run_dir: Path) -> list[Probing]:
    """What was found of a run, by frames trained; the last of each, none if nobody probed.

    Raises:
      UserError: the file is damaged.
    """
    path = run_dir / PROBES_FILE
    with refusing(f"read {path}"):
        lines = _whole_lines(path)
    found: dict[int, Probing] = {}
    for number, line in enumerate(lines, start=1):
        try:
            probing = _PROBING.validate_json(line)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            problem = " ".join(map(str, [*first["loc"], first["msg"]]))
            raise UserError(f"{path} is damaged, line {number}: {problem}") from None
        found[probing.env_frames] = probing
    return [found[env_frames] for env_frames in sorted(found)]


_PROBING = pydantic.TypeAdapter(Probing)
