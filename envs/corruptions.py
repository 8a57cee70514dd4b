"""Corruptions of what an agent sees, at five levels each: pure functions of frames.

They answer for an agent what ImageNet-C asks of a classifier: how much of what it can do is left
when the picture is noisy, blurred, darker, moved or broken.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ImageNet-C), 2019, whose published code has the parameters of each level. What there
is of it: the corruptions that make sense on 84x84 gray frames (no weather, no glass, no elastic
transform, no saturation). Deviations: lengths in pixels are scaled by 84 / 224, and zooms are 0.02
or more apart, which is a pixel at the border; brightness and contrast act on gray.

A pixel is drawn anew for each frame; a place or a direction is drawn once an episode, because a
camera that was moved stays moved.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envs.interface import Frames

Pictures = NDArray[np.float32]
LEVELS = (1, 2, 3, 4, 5)
DEFAULT_LEVEL = 3
_SCALE = 84 / 224


class Scene(NamedTuple):
    """What a corruption may use beside the frames."""

    rng: np.random.Generator
    """The only source of randomness; drawn from for each frame."""
    episode: NDArray[np.float64]
    """float64[N, 2] in [0, 1), drawn where a lane's episode starts and held: place, direction."""
    shown: Frames
    """uint8[N, H, W]: what the lanes were shown before; at an episode's start, the frames."""


@dataclass(frozen=True)
class Corruption:
    """One kind: `apply(pictures, parameter, scene)` on float32[N, H, W] in [0, 1], a new array."""

    apply: Callable[[Pictures, Any, Scene], Pictures]
    parameters: tuple[Any, Any, Any, Any, Any]
    """By level."""

    def __call__(self, frames: Frames, level: int, scene: Scene) -> Frames:
        """The frames at a level, uint8[N, H, W]; the argument is left as it is.

        Raises:
          ValueError: the level is not one of `LEVELS`.
        """
        if level not in LEVELS:
            raise ValueError(f"level is {level}, needs one of {LEVELS}")
        pictures = frames.astype(np.float32) / np.float32(255)
        out = self.apply(pictures, self.parameters[level - 1], scene)
        return np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(pictures: Pictures, deviation: float, scene: Scene) -> Pictures:
    noise = scene.rng.standard_normal(pictures.shape, np.float32)
    return pictures + np.float32(deviation) * noise


def _shot_noise(pictures: Pictures, photons: float, scene: Scene) -> Pictures:
    """Poisson: as if white were so many photons. By its normal limit, which is ten times faster.

    Mean and variance are Poisson's; a black pixel stays black, as there.
    """
    noise = scene.rng.standard_normal(pictures.shape, np.float32)
    out: Pictures = pictures + np.sqrt(pictures / np.float32(photons)) * noise
    return out


def _impulse_noise(pictures: Pictures, share: float, scene: Scene) -> Pictures:
    """Salt and pepper, as much of one as of the other, on that share of the pixels."""
    draws = scene.rng.random(pictures.shape, np.float32)
    return np.where(draws < share, np.float32(draws < share / 2), pictures)


def _defocus_blur(pictures: Pictures, radius: float, scene: Scene) -> Pictures:
    return _convolved(pictures, _disk(radius))


def _motion_blur(pictures: Pictures, shape: tuple[float, float], scene: Scene) -> Pictures:
    """Along a line that leans by up to 45 degrees, the same over an episode."""
    radius, deviation = shape
    out = np.empty_like(pictures)
    for lane, lean in enumerate(scene.episode[:, 0]):
        degrees = round(float(lean) * 90 - 45)
        kernel = _line(radius, deviation, degrees)
        out[lane] = _convolved(pictures[lane, None], kernel)[0]
    return out


def _zoom_blur(pictures: Pictures, zoom: tuple[float, float], scene: Scene) -> Pictures:
    """The mean of the picture and of itself zoomed in on its middle, up to the largest zoom.

    The picture counts twice, by itself and as the first zoom, as in ImageNet-C.
    """
    largest, step = zoom
    factors = np.arange(1.0 + step, largest, step).tolist()
    total = 2 * pictures
    for factor in factors:
        total += _zoomed(_zoomed(pictures, factor, axis=1), factor, axis=2)
    return total / np.float32(2 + len(factors))


def _brightness(pictures: Pictures, more: float, scene: Scene) -> Pictures:
    return pictures + np.float32(more)


def _light(pictures: Pictures, share: float, scene: Scene) -> Pictures:
    """Times 1 - share to 1 + share, the same over an episode."""
    factors = 1 + share * (2 * scene.episode[:, 0] - 1)
    return pictures * factors[:, None, None].astype(np.float32)


def _contrast(pictures: Pictures, kept: float, scene: Scene) -> Pictures:
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    out: Pictures = (pictures - mean) * np.float32(kept) + mean
    return out


def _pixelate(pictures: Pictures, kept: float, scene: Scene) -> Pictures:
    height, width = pictures.shape[1:]
    small = (max(round(width * kept), 1), max(round(height * kept), 1))
    return _by_picture(
        pictures,
        lambda picture: picture.resize(small, Image.Resampling.BOX).resize(
            (width, height), Image.Resampling.NEAREST
        ),
    )


def _jpeg(pictures: Pictures, quality: int, scene: Scene) -> Pictures:
    def compressed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_picture(pictures, compressed)


def _occlusion(pictures: Pictures, share: float, scene: Scene) -> Pictures:
    """A gray square over that share of the picture, at a place that an episode keeps."""
    height, width = pictures.shape[1:]
    side = round((share * height * width) ** 0.5)
    out = pictures.copy()
    for lane, (y, x) in enumerate(scene.episode):
        top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
        out[lane, top : top + side, left : left + side] = 0.5
    return out


def _shift(pictures: Pictures, pixels: int, scene: Scene) -> Pictures:
    """By up to so many pixels each way, the same over an episode; border pixels are repeated."""
    height, width = pictures.shape[1:]
    moves = np.floor(scene.episode * (2 * pixels + 1)).astype(int) - pixels
    rows = np.clip(np.arange(height) + moves[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) + moves[:, 1:], 0, width - 1)
    lanes = np.arange(len(pictures))[:, None, None]
    out: Pictures = pictures[lanes, rows[:, :, None], columns[:, None, :]]
    return out


def _frozen(pictures: Pictures, share: float, scene: Scene) -> Pictures:
    """That share of the steps shows what was shown before."""
    holds = scene.rng.random(len(pictures)) < share
    shown = scene.shown.astype(np.float32) / np.float32(255)
    return np.where(holds[:, None, None], shown, pictures)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": Corruption(_shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(_impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus_blur": Corruption(_defocus_blur, (3, 4, 6, 8, 10)),
    "motion_blur": Corruption(_motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom_blur": Corruption(
        _zoom_blur, ((1.11, 0.02), (1.16, 0.02), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
    ),
    "brightness": Corruption(_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "light": Corruption(_light, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Corruption(_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": Corruption(_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": Corruption(_jpeg, (25, 18, 15, 10, 7)),
    "occlusion": Corruption(_occlusion, (0.01, 0.02, 0.04, 0.08, 0.16)),
    "shift": Corruption(_shift, (1, 2, 4, 6, 8)),
    "frozen": Corruption(_frozen, (0.1, 0.2, 0.3, 0.4, 0.5)),
}
"""By name. Light, occlusion, shift and frozen are ours, and so are their levels: a share of the
light, of the picture or of the steps, and pixels."""


def _convolved(pictures: Pictures, kernel: NDArray[np.float32]) -> Pictures:
    """Each picture convolved with a kernel of odd sides; beyond the border it is mirrored."""
    up, side = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(pictures, ((0, 0), (up, up), (side, side)), "reflect")
    height, width = pictures.shape[1:]
    out = np.zeros_like(pictures)
    for y, x in np.argwhere(kernel):
        out += kernel[y, x] * padded[:, y : y + height, x : x + width]
    return out


@cache
def _disk(radius: float) -> NDArray[np.float32]:
    """A disk of that radius at 224 pixels; each pixel weighs by how much of it the disk covers."""
    scaled = radius * _SCALE
    reach = int(np.ceil(scaled))
    fine = 8  # points a pixel and direction
    points = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    inside = points[:, None] ** 2 + points**2 <= scaled**2
    kernel = inside.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).mean(axis=(1, 3))
    out: Pictures = (kernel / kernel.sum()).astype(np.float32)
    return out


@cache
def _line(radius: float, deviation: float, degrees: int) -> NDArray[np.float32]:
    """Half a Gaussian along a line from the middle, of that deviation at 224 pixels.

    As ImageMagick has it, whose kernel ImageNet-C takes, the line is twice the radius long.
    """
    reach = round(2 * radius * _SCALE)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    direction = np.deg2rad(degrees)
    for distance in np.arange(0.0, reach + 1e-9, 0.25):
        y, x = round(distance * np.sin(direction)), round(distance * np.cos(direction))
        kernel[reach + y, reach + x] += np.exp(-0.5 * (distance / (deviation * _SCALE)) ** 2)
    out: Pictures = kernel / kernel.sum()
    return out


def _zoomed(pictures: Pictures, factor: float, axis: int) -> Pictures:
    """Zoomed in on the middle of one axis, linearly interpolated."""
    size = pictures.shape[axis]
    middle = (size - 1) / 2
    sources = middle + (np.arange(size) - middle) / factor
    lower = np.clip(np.floor(sources).astype(int), 0, size - 2)
    share = (sources - lower).astype(np.float32)
    if axis == 1:
        share = share[:, None]
    below, above = pictures.take(lower, axis), pictures.take(lower + 1, axis)
    out: Pictures = below * (1 - share) + above * share
    return out


def _by_picture(pictures: Pictures, change: Callable[[Image.Image], Image.Image]) -> Pictures:
    """Each picture through Pillow, in whole gray levels."""
    levels = np.rint(pictures * 255).astype(np.uint8)
    changed = [np.asarray(change(Image.fromarray(level))) for level in levels]
    return np.stack(changed).astype(np.float32) / np.float32(255)
