"""What `relic-rl watch --overlay` draws: what the agent does, expects and looks at."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agents.interface import PolicyInput
from agents.policy import Policy
from envs.interface import Picture

WIDTH_PIXELS = 480
BAR_PIXELS = 42
_BLUR_PIXELS = 5
_HEAT_COLOUR = np.array([255.0, 64.0, 32.0])
_HEAT_OPACITY = 0.65
_BAR_COLOUR, _TEXT_COLOUR = (16, 16, 20), (240, 240, 240)


class Thought(NamedTuple):
    """What the agent had in mind at one step."""

    action: str
    value: float
    """Its largest Q-value, in points of the game, discounted."""
    score: float
    """Of the episode so far."""
    saliency: NDArray[np.float32]
    """float32[H, W] in [0, 1], over the frame that the agent saw."""


def saliency(policy: Policy, seen: PolicyInput) -> NDArray[np.float32]:
    """Where a small change of the newest frame would change the largest Q-value most.

    |d max_a Q / d pixel| through all encoders, blurred, divided by its maximum.

    Args:
      policy: what plays.
      seen: of one lane.

    Returns:
      float32[H, W] in [0, 1].
    """
    gradient = policy.pixel_gradient(seen)
    heat = gradient[:, -1:].abs()
    for _ in range(2):
        heat = torch.nn.functional.avg_pool2d(heat, _BLUR_PIXELS, 1, _BLUR_PIXELS // 2)
    heat /= heat.max().clamp(min=1e-12)
    return heat[0, 0].cpu().numpy()


def draw(picture: Picture, thought: Thought) -> Picture:
    """The picture enlarged, a game's three times, its salient places tinted, over a bar."""
    scale = max(1, WIDTH_PIXELS // picture.shape[1])
    height, width = scale * picture.shape[0], scale * picture.shape[1]
    large = np.kron(picture, np.ones((scale, scale, 1), np.uint8)).astype(np.float32)
    heat = Image.fromarray(thought.saliency).resize((width, height), Image.Resampling.BILINEAR)
    opacity = _HEAT_OPACITY * np.asarray(heat)[..., None]
    tinted = (large * (1.0 - opacity) + _HEAT_COLOUR * opacity).astype(np.uint8)

    canvas = Image.new("RGB", (width, height + BAR_PIXELS), _BAR_COLOUR)
    canvas.paste(Image.fromarray(tinted), (0, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=20)
    texts = (thought.action, f"value {thought.value:.2f}", f"score {thought.score:,.0f}")
    for column, text in enumerate(texts):
        place = (10 + column * width // len(texts), height + BAR_PIXELS // 2)
        pen.text(place, text, fill=_TEXT_COLOUR, font=font, anchor="lm")
    return np.asarray(canvas)
