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
    found: list[list[tuple[int, float]]] = []
    for pixel in range(small):
        begin, end = pixel * scale, (pixel + 1) * scale
        width = min(scale, large - begin)
        first, last = int(np.ceil(begin)), min(int(np.floor(end)), large - 1)
        first = min(first, last)
        taken = [(place, 1 / width) for place in range(first, last)]
        if first - begin > _LEAST_SHARE:
            taken.insert(0, (first - 1, (first - begin) / width))
        if end - last > _LEAST_SHARE:
            taken.append((last, min(end - last, 1.0, width) / width))
        found.append(taken)
    most = max(map(len, found))
    places = np.zeros((most, small), np.intp)
    weights = np.zeros((most, small), np.float32)
    for pixel, taken in enumerate(found):
        for k, (place, weight) in enumerate(taken):
            places[k, pixel], weights[k, pixel] = place, weight
    return places, weights
