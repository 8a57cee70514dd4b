"""Frames made smaller by area averaging: to the last bit as OpenCV's INTER_AREA does it.

ale-py's vector environment resizes with OpenCV, and lanes that go without it must show the same
pixels. That a mean lies halfway between two grays is common (a row of 84 is 2.5 of 210), and then
float32's rounding decides: hence OpenCV's weights here, and its order of sums. (Where both sides
are divided by whole numbers OpenCV sums otherwise; no game's screen is a multiple of 84.)
"""

from functools import cache, reduce

import numpy as np
from numpy.typing import NDArray

from envs.interface import Frames

_LEAST_SHARE = 1e-3  # OpenCV's: a source pixel of which less is covered does not count


def shrunk(frames: Frames, height: int, width: int) -> Frames:
    """Returns uint8[N, height, width].

    Args:
      frames: uint8[N, H, W], at least as large.
      height: in pixels.
      width: in pixels.
    """
    columns, across = _sources(frames.shape[2], width)
    rows, down = _sources(frames.shape[1], height)
    pixels = frames.astype(np.float32)
    narrow = reduce(np.add, (pixels[:, :, at] * w for at, w in zip(columns, across, strict=True)))
    small = reduce(np.add, (narrow[:, at] * w[:, None] for at, w in zip(rows, down, strict=True)))
    out: Frames = np.rint(small).astype(np.uint8)
    return out


@cache
def _sources(large: int, small: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which pixels of a row of `large` each of a row of `small` is the mean of.

    Returns:
      intp[K, small], places, and float32[K, small], weights: 0 where it has fewer than K.
    """
    scale = large / small
    begin = np.arange(small) * scale
    end = np.arange(1, small + 1) * scale
    places = np.floor(begin).astype(np.intp) + np.arange(int(np.ceil(scale)) + 1)[:, None]
    covered = np.minimum(places + 1, end) - np.maximum(places, begin)
    counts = (covered > _LEAST_SHARE) & (places < large)
    weights = np.where(counts, covered / np.minimum(scale, large - begin), 0).astype(np.float32)
    return np.minimum(places, large - 1), weights
