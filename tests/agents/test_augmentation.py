import math

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.augmentation import random_shift_and_intensity

H, W = 20, 24


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_stacks(stacks: int, channels: int = 4, seed: int = 0) -> Tensor:
    size = (stacks, channels, H, W)
    return torch.randint(0, 256, size, generator=seeded(seed), dtype=torch.uint8)


def coordinate_stacks(stacks: int) -> Tensor:
    """Channels 0 and 2 hold each pixel's row, 1 and 3 its column: shifts can be read off."""
    rows = torch.arange(H)[:, None].expand(H, W)
    columns = torch.arange(W).expand(H, W)
    return torch.stack([rows, columns, rows, columns]).to(torch.uint8).expand(stacks, 4, H, W)


def shifts_of(seed: int, stacks: int, **options: float) -> Tensor:
    """int64[N, 2]: the (dy, dx) that this seed draws, read at a pixel no border can reach."""
    out = random_shift_and_intensity(
        coordinate_stacks(stacks),
        generator=seeded(seed),
        intensity_scale=0.0,
        **options,  # type: ignore[arg-type]
    )
    return (out[:, :2, H // 2, W // 2] - torch.tensor([H // 2, W // 2])).long()


def test_equals_padding_with_edges_then_cropping_then_scaling() -> None:
    N = 60
    stacks = random_stacks(N)
    ones = torch.ones(N, 4, H, W)

    out = random_shift_and_intensity(stacks, generator=seeded(5))

    intensities = random_shift_and_intensity(ones, generator=seeded(5))[:, 0, 0, 0]
    shifts = shifts_of(5, N)
    padded = np.pad(stacks.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge")
    for i in range(N):
        dy, dx = shifts[i].tolist()
        crop = padded[i, :, 4 + dy : 4 + dy + H, 4 + dx : 4 + dx + W]
        expected = crop.astype(np.float32) * np.float32(intensities[i])
        assert np.array_equal(out[i].numpy(), expected)


def test_shifts_are_uniform_over_the_nine_by_nine_places() -> None:
    N = 16_200
    shifts = shifts_of(0, N)

    counts = torch.zeros(9, 9).index_put_(
        (shifts[:, 0] + 4, shifts[:, 1] + 4), torch.ones(N), accumulate=True
    )

    # Chi-square with 80 degrees of freedom: mean 80, standard deviation sqrt(160) = 12.6.
    expected = N / 81
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert counts.min() > 0
    assert abs(statistic - 80) < 4 * 12.6


def test_pad_pixels_bounds_the_shift() -> None:
    shifts = shifts_of(0, 2000, pad_pixels=2)

    assert shifts.min() == -2
    assert shifts.max() == 2
    assert (shifts_of(0, 100, pad_pixels=0) == 0).all()


def test_intensity_is_a_normal_clipped_at_two_deviations() -> None:
    N = 20_000
    s = random_shift_and_intensity(torch.ones(N, 1, 1, 1), generator=seeded(0)).flatten()

    # clip(N, -2, 2): variance P(|N|<2) - 4 φ(2) + 8 P(N>2) = 0.9545 - 0.2160 + 0.1820 = 0.9205
    tail = 0.5 * math.erfc(math.sqrt(2))
    at_bounds = (s == s.max()) | (s == s.min())
    assert s.max().item() == pytest.approx(1.2)
    assert s.min().item() == pytest.approx(0.8)
    assert at_bounds.float().mean().item() == pytest.approx(2 * tail, abs=4 * 0.0015)
    assert s.mean().item() == pytest.approx(1.0, abs=4 * 0.1 * math.sqrt(0.9205 / N))
    assert s.std().item() == pytest.approx(0.1 * math.sqrt(0.9205), rel=0.03)
    # Quartiles of the normal are not touched by the clipping: +- 0.6745 deviations.
    assert s.quantile(0.75).item() == pytest.approx(1.06745, abs=0.004)


def test_all_frames_of_a_stack_share_one_draw_and_stacks_do_not() -> None:
    out = random_shift_and_intensity(coordinate_stacks(50).float() + 1, generator=seeded(0))

    assert torch.equal(out[:, 0], out[:, 2])
    assert torch.equal(out[:, 1], out[:, 3])
    assert len({tuple(stack.flatten().tolist()) for stack in out}) == 50


def test_zero_intensity_scale_and_no_padding_only_convert() -> None:
    stacks = random_stacks(5)

    out = random_shift_and_intensity(stacks, generator=seeded(0), pad_pixels=0, intensity_scale=0.0)

    assert out.dtype == torch.float32
    assert torch.equal(out, stacks.float())


def test_bytes_and_floats_give_equal_values() -> None:
    stacks = random_stacks(9)

    from_bytes = random_shift_and_intensity(stacks, generator=seeded(1))
    from_floats = random_shift_and_intensity(stacks.float(), generator=seeded(1))

    assert torch.equal(from_bytes, from_floats)


def test_the_input_is_left_as_it_was() -> None:
    stacks = random_stacks(9).float()
    before = stacks.clone()

    random_shift_and_intensity(stacks, generator=seeded(1), pad_pixels=0)

    assert torch.equal(stacks, before)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_channels_last_gives_equal_values_and_stays_channels_last(
    channels: int, dtype: torch.dtype
) -> None:
    stacks = random_stacks(9, channels).to(dtype)
    last = stacks.contiguous(memory_format=torch.channels_last)

    out = random_shift_and_intensity(stacks, generator=seeded(1))
    out_last = random_shift_and_intensity(last, generator=seeded(1))

    assert torch.equal(out, out_last)
    assert out.is_contiguous()
    assert out_last.is_contiguous(memory_format=torch.channels_last)


def test_views_with_odd_strides_or_offsets_give_equal_values() -> None:
    stacks = random_stacks(8)
    expected = random_shift_and_intensity(stacks, generator=seeded(1))
    wide = torch.zeros(8, 4, H, 2 * W, dtype=torch.uint8)
    wide[..., ::2] = stacks
    # channels_last memory that starts at an odd byte, where no 4-byte word can be read.
    buffer = torch.zeros(stacks.numel() + 1, dtype=torch.uint8)
    buffer[1:] = stacks.permute(0, 2, 3, 1).flatten()
    unaligned = buffer[1:].view(8, H, W, 4).permute(0, 3, 1, 2)

    for view in (wide[..., ::2], unaligned):
        assert torch.equal(random_shift_and_intensity(view, generator=seeded(1)), expected)


def test_same_seed_gives_equal_stacks_and_another_seed_others() -> None:
    stacks = random_stacks(9)

    first, again, other = (
        random_shift_and_intensity(stacks, generator=seeded(s)) for s in (1, 1, 2)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_two_calls_on_one_generator_give_two_views() -> None:
    stacks, generator = random_stacks(9), seeded(0)

    view_1 = random_shift_and_intensity(stacks, generator=generator)
    view_2 = random_shift_and_intensity(stacks, generator=generator)

    assert not torch.equal(view_1, view_2)


def test_draws_come_from_the_generator_alone_and_not_from_the_options() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    generators = [seeded(0), seeded(0)]
    random_shift_and_intensity(random_stacks(9), generator=generators[0])
    random_shift_and_intensity(
        random_stacks(9), generator=generators[1], pad_pixels=0, intensity_scale=0.0
    )

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    assert not torch.equal(generators[0].get_state(), seeded(0).get_state())


@pytest.mark.cuda
def test_a_gpu_gives_the_values_of_the_cpu() -> None:
    stacks = random_stacks(50).contiguous(memory_format=torch.channels_last)

    out = random_shift_and_intensity(stacks.cuda(), generator=seeded(0))

    assert out.is_cuda
    assert torch.equal(out.cpu(), random_shift_and_intensity(stacks, generator=seeded(0)))


@pytest.mark.parametrize(
    ("stacks", "options", "message"),
    [
        (torch.zeros(4, 84, 84), {}, r"stacks has shape \(4, 84, 84\)"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.int64), {}, "stacks has dtype torch.int64"),
        (torch.zeros(1, 4, 8, 8), {"pad_pixels": -1}, "pad_pixels is -1"),
        (torch.zeros(1, 4, 8, 8), {"intensity_scale": -0.1}, r"intensity_scale -0\.1"),
    ],
)
def test_unsuitable_arguments_are_refused(
    stacks: Tensor, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        random_shift_and_intensity(stacks, generator=seeded(0), **options)  # type: ignore[arg-type]
