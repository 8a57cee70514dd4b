"""Checkpoints: everything that an exact resume needs, written so that no crash can spoil the last.

    RUN/checkpoints/<env_frames>/  a checkpoint: see `checkpoint_files`
    RUN/segments/<serial>.seg      the replay's segments, appended once and never rewritten

A checkpoint is staged in a hidden folder, every file is fsynced, the manifest with all hashes comes
last, and a rename makes it visible. Two are kept. Loading verifies every byte before it is used; a
damaged checkpoint is set aside, named in the log, and the previous one is taken.
"""

import errno
import itertools
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from relic_rl.errors import UsageError, UserError
from relic_rl.records import checkpoint_files
from relic_rl.records.checkpoint_files import DAMAGE, Contents
from relic_rl.replay.buffer import ReplayBuffer
from relic_rl.replay.segment import Segment

KEPT_CHECKPOINTS = 2
_STAGING, _REPLACED, DAMAGED = ".staging-", ".replaced-", "damaged-"

_MAY_PASS = {errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ENOMEM, errno.ETIMEDOUT}
"""Of a file that may be sound, and cannot be read now or by this user."""

_log = logging.getLogger(__name__)


class CheckpointError(UserError):
    """No checkpoint can be loaded, or one could not be written."""


class Checkpoint(NamedTuple):
    """A verified checkpoint, read."""

    path: Path
    model: dict[str, dict[str, torch.Tensor]]
    optimizer: dict[str, dict[str, Any]]
    state: dict[str, Any]
    """What was given to `save`: nested dicts of numbers, text, lists and arrays."""
    segment_files: list[dict[str, Any]]
    """What the manifest says of the files that the replay's segments are in."""
    segments: list[Segment]
    """Those that were in the replay."""


class CheckpointStore:
    """The checkpoints and segment files of one run folder.

    Args:
      run_dir: the run folder; the caller holds its lock.
      resumed: the checkpoint that the run continues from: its segments are on the disk already.
    """

    def __init__(self, run_dir: Path, resumed: Checkpoint | None = None) -> None:
        self._checkpoints = run_dir / "checkpoints"
        self._segments = run_dir / "segments"
        # Of the newest checkpoint, oldest first.
        self._segment_files = resumed.segment_files if resumed is not None else []

    def save(
        self,
        *,
        env_frames: int,
        model: dict[str, dict[str, torch.Tensor]],
        optimizer: dict[str, dict[str, Any]],
        state: dict[str, Any],
        replay: ReplayBuffer,
    ) -> Path:
        """Writes a checkpoint and removes what none of the kept ones needs.

        Args:
          env_frames: names the checkpoint.
          model: state dicts of the networks.
          optimizer: state dicts of the optimizers.
          state: nested dicts of numbers, text, lists and arrays; the replay's index is added.
          replay: its new segments are appended.

        Raises:
          CheckpointError: the disk is full or the folder cannot be written; the previous
            checkpoint is untouched.
        """
        final = self._checkpoints / f"{env_frames:012d}"
        staging = final.with_name(f"{_STAGING}{final.name}")
        replaced = final.with_name(f"{_REPLACED}{final.name}")
        try:
            self._checkpoints.mkdir(exist_ok=True)
            self._segments.mkdir(exist_ok=True)
            self._clear_leftovers()
            if not all((self._segments / file["name"]).exists() for file in self._segment_files):
                self._segment_files = []  # somebody removed them: the replay has all of them
            staging.mkdir()
            replay_state, fresh = replay.snapshot(self._next_serial())
            first = replay.next_serial - len(fresh)
            segment_files = self._append_segments(fresh, first, replay.oldest_serial)
            state = {**state, "replay": replay_state}
            checkpoint_files.write(staging, Contents(model, optimizer, state, segment_files))
            if final.exists():  # the same moment again: at a run's end
                final.rename(replaced)
            staging.rename(final)
            self._segment_files = segment_files  # whatever fails from here on, it is visible
            checkpoint_files.sync_folder(self._checkpoints)
            shutil.rmtree(replaced, ignore_errors=True)
        except OSError as error:
            with suppress(OSError):  # what cannot be taken back may still name segment files
                self._clear_leftovers()
                self._remove_unneeded_segments()
            before = (
                "there is none before it" if self.is_empty else "the previous checkpoint is intact"
            )
            raise CheckpointError(
                f"cannot write checkpoint {final}: {error.strerror or error}; free some space "
                f"or mend the folder: {before}"
            ) from error
        self._prune()
        return final

    def load(self, *, read_only: bool = False, env_frames: int | None = None) -> Checkpoint:
        """Reads the newest sound checkpoint; damaged newer ones are logged and set aside.

        Args:
          read_only: change nothing in the folder, because a run may own it, and leave the replay's
            segments unread: for evaluation.
          env_frames: of the checkpoint that is wanted, and no other.

        Raises:
          CheckpointError: there is none.
          UsageError: there is none of so many frames; the message names those that are there.
        """
        if not read_only:
            self._expect_replay()
            self._clear_leftovers()
        wanted = [path for path in self._all() if env_frames in (None, int(path.name))]
        if not wanted and (there := [f"{int(path.name):,}" for path in self._all()]):
            raise UsageError(
                f"{self._checkpoints} has no checkpoint of {env_frames:,} frames: those that it "
                f"has are of {' and '.join(there)}"
            )
        damage: dict[Path, str] = {}
        for path in reversed(wanted):
            try:
                checkpoint = self._read(path, with_segments=not read_only)
            except DAMAGE as error:
                if isinstance(error, OSError) and error.errno in _MAY_PASS:
                    raise  # a sound checkpoint must not be set aside for it
                damage[path] = " ".join(str(error).split())
                continue
            for damaged, problem in damage.items():
                _log.warning(
                    "damaged checkpoint %s: %s; %s is used instead",
                    damaged.name,
                    problem,
                    path.name,
                )
                if not read_only:
                    _set_aside(damaged)
            if not read_only:
                self._prune()
            return checkpoint
        if env_frames is not None and damage:
            ((path, problem),) = damage.items()
            raise CheckpointError(f"checkpoint {path} is damaged: {problem}")
        if self.is_empty:
            raise CheckpointError(
                f"{self._checkpoints} has no checkpoint yet: a run writes one every "
                "run.checkpoint_every_minutes, and at its end"
            )
        raise CheckpointError(
            f"{self._checkpoints} holds no sound checkpoint"
            + "".join(f" ({path.name}: {problem})" for path, problem in list(damage.items())[:1])
            + ": start a new run in another folder"
        )

    def remove(self, *, but_newest: bool) -> None:
        """Removes checkpoints, damaged ones too, and all segments; what fails is left behind.

        Args:
          but_newest: leave the newest one, which can be evaluated and not resumed.
        """
        kept = self._all()[-1:] if but_newest else []
        # The newest last: killed in between, it must not leave an older one as the newest.
        for path in sorted(set(_entries(self._checkpoints)) - set(kept)):
            with suppress(OSError):  # hidden first: half of one must not be taken for one
                path = path.rename(path.with_name(f"{_STAGING}{path.name}"))
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self._segments, ignore_errors=True)

    @property
    def is_empty(self) -> bool:
        """Whether none was ever finished: a run that ended before its first has lost nothing."""
        return not any(
            path.name.removeprefix(DAMAGED).removeprefix(_REPLACED).isdigit()
            for path in _entries(self._checkpoints)
        )

    def _expect_replay(self) -> None:
        if self._all() and not self._segments.exists():
            raise CheckpointError(
                f"{self._checkpoints} has no replay to resume with: it was given back when the run "
                "was finished (run.keep), or removed; the agent can still be evaluated"
            )

    def _all(self) -> list[Path]:
        return sorted(path for path in _entries(self._checkpoints) if path.name.isdigit())

    def _clear_leftovers(self) -> None:
        """Removes what a crash or a full disk left half done, or takes it back."""
        for path in _entries(self._checkpoints):
            if path.name.startswith(_STAGING):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(_REPLACED):
                final = path.with_name(path.name.removeprefix(_REPLACED))
                if final.exists():
                    shutil.rmtree(path, ignore_errors=True)
                else:  # between the two renames
                    path.rename(final)

    def _next_serial(self) -> int:
        if not self._segment_files:
            return 0
        last = self._segment_files[-1]
        return int(last["first_serial"]) + int(last["count"])

    def _append_segments(
        self, fresh: list[Segment], first: int, oldest: int
    ) -> list[dict[str, Any]]:
        kept = [f for f in self._segment_files if f["first_serial"] + f["count"] > oldest]
        if not fresh:
            return kept
        path = self._unused_file(first)
        return [*kept, checkpoint_files.write_segments(path, fresh, first)]

    def _unused_file(self, first: int) -> Path:
        """A segment file that no checkpoint can name: what a failed save left is passed over."""
        path = self._segments / f"{first:012d}.seg"
        for attempt in itertools.count(1):
            if not path.exists():
                break
            path = path.with_name(f"{first:012d}-{attempt}.seg")
        return path

    def _read(self, path: Path, *, with_segments: bool) -> Checkpoint:
        contents = checkpoint_files.read(path)
        segments: list[Segment] = []
        for entry in contents.segment_files if with_segments else []:
            oldest_serial = contents.state["replay"]["evicted_segments"]
            segments += checkpoint_files.read_segments(self._segments, entry, oldest_serial)
        return Checkpoint(path, *contents, segments)

    def _prune(self) -> None:
        for path in self._all()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(path, ignore_errors=True)
        self._remove_unneeded_segments()

    def _remove_unneeded_segments(self) -> None:
        """Removes segment files that no checkpoint names."""
        needed = set()
        for path in self._all():
            try:
                needed |= {
                    entry["name"] for entry in checkpoint_files.read_manifest(path)["segments"]
                }
            except DAMAGE as error:
                _log.warning("checkpoint %s: %s; segment files are kept", path.name, error)
                return
        for path in self._segments.glob("*.seg"):
            if path.name not in needed:
                with suppress(OSError):
                    path.unlink()


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _set_aside(path: Path) -> None:
    aside = path.with_name(f"{DAMAGED}{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
