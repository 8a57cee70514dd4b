"""A mirror of a run as TensorBoard's event files, in `RUN_DIR/tensorboard`.

Needs the extra `tensorboard`. `tensorboard --logdir runs` shows all runs below a folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from relic_rl.records.background_tracker import BackgroundTracker
from relic_rl.records.tracking import TrackedRun

FOLDER = "tensorboard"


class TensorBoardTracker(BackgroundTracker):
    """The run's mirror: every number of a row is a scalar over environment frames.

    Args:
      run: what is mirrored.
    """

    mode = "tensorboard"

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        super().__init__("TensorBoard", run)

    def log(self, row: Mapping[str, object]) -> None:
        """See `Tracker.log`; queued, or dropped if the queue is full."""
        values = dict(row)
        env_frames = values.pop("env_frames")
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        self._put(lambda writer: _add_scalars(writer, numbers, env_frames))

    def file(self, path: Path) -> None:
        """See `Tracker.file`; only pictures, for event files hold no others."""
        if path.suffix == ".png":
            self._put(lambda writer: _add_picture(writer, path))

    def _open(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "the extra is missing: pip install 'relic-rl[tensorboard]'"
            ) from error
        # At a run's start, what an earlier one has left in the folder is not shown any more.
        purge = None if self._run.resumed else 0
        writer = SummaryWriter(str(self._run.folder / FOLDER), purge_step=purge)
        settings = "\n".join(f"    {name} = {value}" for name, value in self._run.config.items())
        writer.add_text("settings", settings)
        return writer

    def _finish(self, mirror: Any) -> None:
        mirror.close()


def _add_scalars(writer: Any, numbers: Mapping[str, object], env_frames: object) -> None:
    for name, value in numbers.items():
        writer.add_scalar(name, value, env_frames)


def _add_picture(writer: Any, path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        writer.add_image(path.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")
