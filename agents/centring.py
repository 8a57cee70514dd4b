"""Centred input: a game's mean picture taken off its frames, pixel by pixel.

    out = clip((x - mean) / (deviation + 20), -5, 5)

Most of an Atari frame is a background that never changes. Left in, it makes up 99.9 % of what an
encoder yields on Pong: features of all frames point the same way, and the ball hardly shows.

Mean and deviation are measured once, on frames that were played before learning began, and stay as
they are: what a network has learned would not fit other ones.

Source: Burda et al., "Exploration by Random Network Distillation", 2018, section 2.4, who whiten
observations by the statistics of a random agent and clip at 5. Deviations: the agent's own first
frames; 20 grey levels are added to the deviation, so that a pixel that hardly ever changes is not
blown up when the picture is noisy or darker; the statistics are frozen.
"""

import torch
from torch import Tensor, nn

LEAST_DEVIATION = 20.0
"""In grey levels, added to each pixel's deviation."""
LIMIT = 5.0
UNMEASURED_SCALE = 1.0 / 255.0
"""Until it is measured, the mean is 0 and pixels lie in [0, 1]."""


class FrameCentring(nn.Module):
    """Per-pixel mean and scale, as buffers: they are in checkpoints and go where parameters go.

    Args:
      height: of the frames.
      width: of the frames.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.measured_frames: Tensor
        self.register_buffer("mean", torch.zeros(height, width))
        self.register_buffer("scale", torch.full((height, width), UNMEASURED_SCALE))
        self.register_buffer("measured_frames", torch.zeros((), dtype=torch.int64))

    @property
    def is_measured(self) -> bool:
        """Whether `measure` was called. Waits for a GPU."""
        return bool(self.measured_frames)

    @torch.no_grad()
    def measure(self, frames: Tensor) -> None:
        """Sets mean and scale; black frames do not count.

        Args:
          frames: uint8[N, H, W], at least one that is not black.

        Raises:
          ValueError: there is none.
        """
        pictures = frames[frames.flatten(1).amax(dim=1) > 0].to(self.mean)
        if not len(pictures):
            raise ValueError(f"none of {len(frames)} frames shows anything: nothing to centre on")
        deviation, mean = torch.std_mean(pictures, dim=0, correction=0)
        self.mean.copy_(mean)
        self.scale.copy_(1.0 / (deviation + LEAST_DEVIATION))
        self.measured_frames.fill_(len(pictures))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [..., H, W] in [0, 255] -> float32[..., H, W] in [-5, 5].

        A black frame stays zero: it stands for one that is not there, before an episode's first.
        """
        pixels = frames.float()
        is_picture = pixels.detach().amax(dim=(-2, -1), keepdim=True) > 0
        centred = torch.addcmul(-self.mean * self.scale, pixels, self.scale)
        return centred.clamp(-LIMIT, LIMIT) * is_picture
