"""Area averaging against OpenCV's, to the last bit."""

import numpy as np
import pytest

from envs.resizing import shrunk

cv2 = pytest.importorskip("cv2", reason="what it is held against")


@pytest.mark.parametrize(("height", "width"), [(210, 160), (250, 160), (84, 84)])
@pytest.mark.parametrize("side", [84, 36])
def test_frames_are_opencvs_inter_area(height: int, width: int, side: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, height, width), np.uint8)
    flat = np.repeat(rng.integers(0, 256, (4, height // 2, 1), np.uint8), 2, axis=1) | (noise & 1)

    for frames in (noise, flat):
        expected = [cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in frames]
        np.testing.assert_array_equal(shrunk(frames, side, side), expected)


def test_an_odd_size_is_opencvs_too_and_the_argument_is_left_alone() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 97, 61), np.uint8)
    before = frames.copy()

    small = shrunk(frames, 40, 23)

    expected = [cv2.resize(f, (23, 40), interpolation=cv2.INTER_AREA) for f in frames]
    np.testing.assert_array_equal(small, expected)
    np.testing.assert_array_equal(frames, before)
