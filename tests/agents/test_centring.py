import numpy as np
import pytest
import torch

from agents.centring import FrameCentring


def random_frames(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, 5, 7), generator=generator).to(torch.uint8)
    frames[:, 0, :3] = 90  # a background that never changes
    return frames


def measured(frames: torch.Tensor) -> FrameCentring:
    centring = FrameCentring(5, 7)
    centring.measure(frames)
    return centring


def test_centred_pixels_are_those_of_the_formula_in_float64() -> None:
    seen, other = random_frames(50), random_frames(12, seed=1)
    other[0, 0, :3] = 200  # far outside: clipped

    x, pixels = seen.numpy().astype(np.float64), other.numpy().astype(np.float64)
    deviation = np.sqrt(((x - x.mean(0)) ** 2).mean(0))
    expected = np.clip((pixels - x.mean(0)) / (deviation + 20), -5, 5)

    found = measured(seen)(other)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-4)
    assert (np.abs(expected) == 5).any()  # so that the clip is tested, too


def test_two_frames_by_hand() -> None:
    # Grey 10 and 20: mean 15, deviation 5, so 40 becomes 25 / 25; 150 is clipped.
    frames = torch.tensor([10, 20], dtype=torch.uint8)[:, None, None].expand(2, 5, 7)
    centring = measured(frames)

    grey = torch.tensor([40, 150, 15], dtype=torch.uint8)[:, None, None].expand(3, 5, 7)
    np.testing.assert_allclose(centring(grey)[:, 2, 3], [1.0, 5.0, 0.0], atol=1e-5)


def test_a_black_frame_is_zero_and_does_not_count_in_the_mean() -> None:
    frames = random_frames(20)
    with_black = torch.cat([torch.zeros(9, 5, 7, dtype=torch.uint8), frames])

    centring, plain = measured(with_black), measured(frames)
    out = centring(with_black)

    assert torch.equal(centring.mean, plain.mean)
    assert torch.equal(centring.scale, plain.scale)
    assert int(centring.measured_frames) == 20
    assert not out[:9].any()
    assert torch.equal(out[9:], plain(frames))


def test_any_leading_dimensions_are_taken() -> None:
    centring, frames = measured(random_frames(20)), random_frames(12, seed=1)

    assert torch.equal(centring(frames.view(3, 2, 2, 5, 7)), centring(frames).view(3, 2, 2, 5, 7))


def test_before_it_is_measured_pixels_lie_between_0_and_1() -> None:
    centring, frames = FrameCentring(5, 7), random_frames(6)

    assert not centring.is_measured
    torch.testing.assert_close(centring(frames), frames / 255.0)


def test_only_black_frames_cannot_be_measured() -> None:
    centring = FrameCentring(5, 7)

    with pytest.raises(ValueError, match="none of 3 frames shows anything"):
        centring.measure(torch.zeros(3, 5, 7, dtype=torch.uint8))
    assert not centring.is_measured
