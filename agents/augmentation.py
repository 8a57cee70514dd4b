"""ReLIC's augmentation of frame stacks: a random shift of up to 4 pixels and a random intensity.

A stack is padded on all sides by copies of its border pixels, a window of the original size is cut
at a uniformly drawn place, and all of it is multiplied by s = 1 + 0.1 clip(N(0, 1), -2, 2). Each
stack gets one shift and one s for all its frames, so motion inside it is kept.

Source: Mitrovic et al., "Representation Learning via Invariant Causal Mechanisms" (ReLIC), 2021,
app. E.6. "One draw per stack" is our reading: the paper does not say whether frames of a stack
share a draw; public code of the same augmentation draws once per stack.

Nothing is padded: cutting from a replicate-padded image is reading it at clamped rows and columns,
so one gather on the bytes does both, and one pass turns them into scaled floats.
"""

import torch
from torch import Tensor


def random_shift_and_intensity(
    stacks: Tensor,
    *,
    generator: torch.Generator,
    pad_pixels: int = 4,
    intensity_scale: float = 0.1,
) -> Tensor:
    """Returns the stacks, each shifted and scaled by draws of its own.

    out[i, c, y, x] = s_i stacks[i, c, clamp(y + dy_i, 0, H - 1), clamp(x + dx_i, 0, W - 1)],
    dy_i, dx_i uniform in {-pad, ..., pad},  s_i = 1 + intensity_scale · clip(N(0, 1), -2, 2).

    The pixels stay on the input's scale, [0, 255 · 1.2] for bytes: the encoder scales them. Values
    above 255 are not clipped.

    Args:
      stacks: uint8 or float32[N, C, H, W], contiguous or channels_last: equal values either way.
        4 channels of bytes in channels_last are the fast case.
      generator: the only source of randomness. On the CPU it gives the same draws for any device
        of `stacks`; on that device it saves a transfer.
      pad_pixels: largest shift, >= 0; 0 shifts nothing.
      intensity_scale: standard deviation of s before clipping, >= 0; 0 leaves intensity alone.
        Neither changes how much is drawn from the generator.

    Returns:
      float32[N, C, H, W] in the memory layout of the input.

    Raises:
      ValueError: on another shape or dtype, or a negative size.
    """
    if stacks.ndim != 4:
        raise ValueError(f"stacks has shape {tuple(stacks.shape)}, must be [N, C, H, W]")
    if stacks.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"stacks has dtype {stacks.dtype}, must be uint8 or float32")
    if pad_pixels < 0 or not intensity_scale >= 0:
        raise ValueError(
            f"pad_pixels is {pad_pixels} and intensity_scale {intensity_scale}, must be >= 0"
        )
    N = stacks.shape[0]
    device = generator.device
    shifts = torch.randint(
        -pad_pixels, pad_pixels + 1, (2, N), generator=generator, device=device
    ).to(stacks.device)
    noise = torch.randn(N, generator=generator, device=device).clamp_(-2, 2).to(stacks.device)
    intensity = 1 + intensity_scale * noise
    # In place on the gathered copy: a product of bytes and floats would take a pass more.
    return _shift(stacks, shifts).float().mul_(intensity[:, None, None, None])


def random_disturbance(
    stacks: Tensor,
    *,
    generator: torch.Generator,
    pad_pixels: int = 4,
    brightness: float = 0.3,
    noise_deviation: float = 15.0,
) -> Tensor:
    """Returns the stacks as a disturbed camera shows them: moved, lighter or darker, noisy.

    out = clamp(b_i shifted(stacks)[i] + σ_i N(0, 1), 0, 255), each pixel with noise of its own;
    b_i uniform in 1 ± brightness, σ_i uniform in [0, noise_deviation]. A black frame stays black:
    it stands for one that is not there, before an episode's first.

    [ours] ReLIC's own augmentation (`random_shift_and_intensity`) has the shift, a narrower
    intensity and no noise.

    Args:
      stacks: uint8[N, C, H, W], of the game's frames as they are; contiguous is the fast case.
      generator: the only source of randomness.
      pad_pixels: largest shift, >= 0; border pixels are repeated.
      brightness: largest change of it, as a share.
      noise_deviation: largest, in grey levels.

    Returns:
      float32[N, C, H, W] in [0, 255], in the memory layout of the input.
    """
    device = generator.device
    out = random_shift_and_intensity(
        stacks, generator=generator, pad_pixels=pad_pixels, intensity_scale=0.0
    )
    is_picture = out.amax(dim=(-2, -1), keepdim=True) > 0
    drawn = torch.rand(2, len(stacks), 1, 1, 1, generator=generator, device=device).to(out.device)
    noise = torch.randn(out.shape, generator=generator, device=device).to(out.device)
    out.mul_(1 + brightness * (2 * drawn[0] - 1)).addcmul_(noise, noise_deviation * drawn[1])
    return out.clamp_(0, 255).mul_(is_picture)


def _shift(stacks: Tensor, shifts: Tensor) -> Tensor:
    """A copy: each stack read at rows and columns moved by its shift, int64[2, N], clamped."""
    N, C, H, W = stacks.shape
    rows = (torch.arange(H, device=stacks.device) + shifts[0, :, None]).clamp_(0, H - 1)
    columns = (torch.arange(W, device=stacks.device) + shifts[1, :, None]).clamp_(0, W - 1)
    source = (rows[:, :, None] * W + columns[:, None, :]).view(N, H * W)

    if stacks.is_contiguous() or not stacks.is_contiguous(memory_format=torch.channels_last):
        flat = stacks.reshape(N, C, H * W)
        return flat.gather(2, source[:, None].expand(N, C, H * W)).view(N, C, H, W)
    pixels = stacks.permute(0, 2, 3, 1)
    if stacks.dtype == torch.uint8 and C == 4 and stacks.storage_offset() % 4 == 0:
        words = pixels.view(torch.int32).view(N, H * W)  # a pixel's 4 bytes move as one word
        moved = words.gather(1, source).view(torch.uint8)
    else:
        moved = pixels.reshape(N, H * W, C).gather(1, source[:, :, None].expand(N, H * W, C))
    return moved.view(N, H, W, C).permute(0, 3, 1, 2)
