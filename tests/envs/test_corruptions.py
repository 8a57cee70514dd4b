"""Each corruption by the law that defines it, on frames whose answer is known."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from envs import corruptions
from envs.corruptions import CORRUPTIONS, LEVELS, Scene

GRAY = np.full((16, 84, 84), 128, np.uint8)


def random_frames(lanes: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (lanes, 84, 84), np.uint8)


def scene(lanes: int, seed: int = 0, shown: NDArray[np.uint8] | None = None) -> Scene:
    rng = np.random.default_rng(seed)
    frames = np.zeros((lanes, 84, 84), np.uint8) if shown is None else shown
    return Scene(rng, rng.random((lanes, 2)), frames)


def corrupted(name: str, frames: NDArray[np.uint8], level: int, seed: int = 0) -> NDArray[np.uint8]:
    return CORRUPTIONS[name](frames, level, scene(len(frames), seed))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_scene_gives_the_same_frames_and_leaves_the_argument_alone(
    name: str, level: int
) -> None:
    frames = random_frames()
    before = frames.copy()

    one, two = (corrupted(name, frames, level) for _ in range(2))

    assert (one.dtype, one.shape) == (np.uint8, frames.shape)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(frames, before)
    assert not np.array_equal(one, frames)
    assert not np.shares_memory(one, frames)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_level_changes_more_than_the_one_before(name: str) -> None:
    # Smooth in both directions, so that a larger blur, shift or block is a larger change.
    y, x = np.mgrid[:84, :84]
    frames = (128 + 60 * np.sin(x / 6) + 60 * np.cos(y / 9)).astype(np.uint8)[None].repeat(64, 0)

    errors = [
        np.abs(corrupted(name, frames, level).astype(float) - frames).mean() for level in LEVELS
    ]

    assert all(less < more for less, more in pairwise([0.0, *errors]))


@pytest.mark.parametrize("level", [0, 6])
def test_there_are_five_levels(level: int) -> None:
    with pytest.raises(ValueError, match=r"level is \d, needs one of"):
        corrupted("shift", random_frames(), level)


@pytest.mark.parametrize(("level", "deviation"), [(1, 0.08), (2, 0.12)])
def test_gaussian_noise_has_the_deviation_of_its_level(level: int, deviation: float) -> None:
    # Clipped at 0 and 1, which are 4 deviations away; 113,000 pixels: within 1 %.
    noise = (corrupted("gaussian_noise", GRAY, level).astype(float) - 128) / 255

    assert noise.std() == pytest.approx(deviation, rel=0.02)
    assert noise.mean() == pytest.approx(0.0, abs=0.002)


def test_shot_noise_has_a_variance_that_grows_with_the_light() -> None:
    variances = []
    for gray in (64, 128):
        frames = np.full((16, 84, 84), gray, np.uint8)
        variances.append((corrupted("shot_noise", frames, 1) / 255).var())

    # Poisson of 60 x gray / 255 photons, divided by 60.
    assert variances[0] == pytest.approx(64 / 255 / 60, rel=0.03)
    assert variances[1] == pytest.approx(128 / 255 / 60, rel=0.03)
    assert not corrupted("shot_noise", np.zeros((1, 84, 84), np.uint8), 5).any()


def test_impulse_noise_is_as_much_salt_as_pepper_on_the_share_of_its_level() -> None:
    out = corrupted("impulse_noise", GRAY, 4)

    assert (out == 255).mean() == pytest.approx(0.17 / 2, rel=0.05)
    assert (out == 0).mean() == pytest.approx(0.17 / 2, rel=0.05)
    assert (out == 128).mean() == pytest.approx(0.83, rel=0.01)


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "zoom_blur", "pixelate", "jpeg"])
def test_an_even_picture_stays_as_it_is_when_it_is_blurred_or_compressed(name: str) -> None:
    np.testing.assert_allclose(corrupted(name, GRAY, 5), 128, atol=1)


@pytest.mark.parametrize("radius", [3, 10])
def test_the_defocus_kernel_is_a_disk_of_sum_1(radius: float) -> None:
    kernel = corruptions._disk(radius)

    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    np.testing.assert_array_equal(kernel, kernel.T)
    area = np.pi * (radius * 84 / 224) ** 2  # in pixels, of which the middle one is whole
    assert kernel.max() == pytest.approx(1 / area, rel=0.02)


@pytest.mark.parametrize("degrees", [-45, 0, 30])
def test_the_motion_kernel_is_a_line_of_sum_1_in_its_direction(degrees: int) -> None:
    kernel = corruptions._line(20, 15, degrees)
    y, x = (places - kernel.shape[0] // 2 for places in np.nonzero(kernel))

    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert (x >= 0).all()
    np.testing.assert_allclose(y, x * np.tan(np.deg2rad(degrees)), atol=1.0)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_motion_blurs_as_far_as_imagenet_c(level: int) -> None:
    radius, deviation = CORRUPTIONS["motion_blur"].parameters[level - 1]
    places = np.arange(2 * np.ceil(radius) + 1)  # of ImageMagick's kernel at 224 pixels
    weights = np.exp(-0.5 * (places / deviation) ** 2)
    kernel = corruptions._line(radius, deviation, 0)
    found = np.arange(kernel.shape[1]) - kernel.shape[1] // 2

    expected = (places * weights).sum() / weights.sum() * 84 / 224
    assert (kernel.sum(axis=0) * found).sum() == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("level", "zooms"), [(3, 11), (4, 13), (5, 11)])
def test_zoom_blur_is_the_mean_of_imagenet_cs_zooms_and_the_picture(level: int, zooms: int) -> None:
    largest = {3: 1.20, 4: 1.24, 5: 1.30}[level]
    pictures = np.random.default_rng(0).random((1, 84, 84), np.float32)
    each = [pictures] + [
        corruptions._zoomed(corruptions._zoomed(pictures, factor, axis=1), factor, axis=2)
        for factor in np.linspace(1.0, largest, zooms)
    ]

    parameters = CORRUPTIONS["zoom_blur"].parameters[level - 1]
    out = corruptions._zoom_blur(pictures, parameters, scene(1))

    np.testing.assert_allclose(out, np.mean(each, axis=0), atol=1e-5)


def test_a_convolution_is_the_sum_over_the_kernel_written_out() -> None:
    picture = np.random.default_rng(0).random((1, 9, 8), np.float32)
    kernel = np.random.default_rng(1).random((3, 5), np.float32)
    padded = np.pad(picture[0], ((1, 1), (2, 2)), "reflect")
    expected = [[(padded[y : y + 3, x : x + 5] * kernel).sum() for x in range(8)] for y in range(9)]

    np.testing.assert_allclose(corruptions._convolved(picture, kernel)[0], expected, rtol=1e-5)


def test_zoom_blur_keeps_the_middle_and_moves_the_border() -> None:
    frames = np.zeros((1, 84, 84), np.uint8)
    frames[:, 40:44, 40:44] = 200
    frames[:, :2, :] = 200

    out = corrupted("zoom_blur", frames, 3)

    assert out[0, 41:43, 41:43].min() >= 190
    assert out[0, 0].max() < 200


def test_brightness_adds_to_every_pixel() -> None:
    assert set(corrupted("brightness", GRAY, 4).flat) == {128 + 102}
    assert corrupted("brightness", np.full((1, 84, 84), 250, np.uint8), 5).max() == 255


def test_light_is_a_factor_that_an_episode_keeps_drawn_evenly_up_to_its_share() -> None:
    frames = np.full((400, 84, 84), 128, np.uint8)
    view = scene(400)

    out = CORRUPTIONS["light"](frames, 3, view)

    factors = 0.7 + 0.6 * view.episode[:, 0]
    np.testing.assert_array_equal(out[:, 5, 7], np.rint(128 * factors))
    assert (out == out[:, :1, :1]).all()
    assert (out.min(), out.max()) == (round(128 * 0.7), round(128 * 1.3))


def test_contrast_pulls_each_picture_to_its_own_mean() -> None:
    frames = np.zeros((2, 84, 84), np.uint8)
    frames[0, :42], frames[1, :42] = 200, 100

    out = corrupted("contrast", frames, 2)

    # 0.3 of the distance of 100 from the mean of 100, and of 50 from 50.
    assert (out[0, 0, 0], out[0, -1, -1]) == (130, 70)
    assert (out[1, 0, 0], out[1, -1, -1]) == (65, 35)


def test_pixelate_leaves_blocks_of_one_gray() -> None:
    out = corrupted("pixelate", random_frames(1), 5)[0]  # a quarter of the sides: 21 blocks

    assert (
        len(np.unique(out.reshape(21, 4, 21, 4).transpose(0, 2, 1, 3).reshape(441, 16).T, axis=0))
        == 1
    )


def test_occlusion_hides_one_square_of_its_share_at_a_place_of_the_episode() -> None:
    frames = np.full((8, 84, 84), 10, np.uint8)

    out = corrupted("occlusion", frames, 5)

    hidden = (out == 128).sum(axis=(1, 2))
    assert set(hidden.tolist()) == {round((0.16 * 84 * 84) ** 0.5) ** 2}
    places = {tuple(np.argwhere(lane == 128)[0]) for lane in out}
    assert len(places) == 8


def test_shift_reads_each_picture_at_clamped_places_that_an_episode_keeps() -> None:
    frames = random_frames(200)
    view = scene(200)

    out = CORRUPTIONS["shift"](frames, 3, view)

    moves = np.floor(view.episode * 9).astype(int) - 4
    for lane in (0, 1, 17):
        y, x = moves[lane]
        padded = np.pad(frames[lane], 4, "edge")
        np.testing.assert_array_equal(out[lane], padded[4 + y : 88 + y, 4 + x : 88 + x])
    assert set(moves.flat) == set(range(-4, 5))  # all of them, up to 4 pixels


def test_frozen_shows_what_was_shown_before_on_the_share_of_its_level() -> None:
    frames, shown = np.full((4_000, 2, 2), 9, np.uint8), np.full((4_000, 2, 2), 7, np.uint8)

    out = CORRUPTIONS["frozen"](frames, 4, scene(4_000, shown=shown))

    assert set(out.flat) == {7, 9}
    assert (out == 7).all(axis=(1, 2)).mean() == pytest.approx(0.4, abs=0.03)
