"""What crosses the border of the `agents` package: dimension letters and plain records.

Dimension letters, used in every docstring and as local variables:
  T  agent steps that are trained on          L  rows of a sequence: burn-in + T + bootstrap rows
  B  batch (sequences) or lanes               S  frames in a stack
  A  actions                                  C, H, W  channels, height, width of an image
  D  recurrent width                          F  features an encoder yields
Sequences are time-major: [L, B, ...]. Frames are uint8 in [0, 255] until a network sees them.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class EnvShape(NamedTuple):
    """What an agent must know of the environment that it is made for."""

    actions: int
    """A."""
    frame_height: int
    """H, in pixels."""
    frame_width: int
    """W, in pixels."""


class RecurrentState(NamedTuple):
    """State of the LSTM: hidden and cell, float32[B, D] each."""

    hidden: Tensor
    cell: Tensor

    @staticmethod
    def where(mask: Tensor, chosen: "RecurrentState", other: "RecurrentState") -> "RecurrentState":
        """Lane-wise choice: `chosen` where mask (bool[B]) holds, `other` elsewhere."""
        mask = mask[:, None]
        return RecurrentState(
            torch.where(mask, chosen.hidden, other.hidden),
            torch.where(mask, chosen.cell, other.cell),
        )


class PolicyInput(NamedTuple):
    """What a policy acts on: all that it is given before a step of B lanes."""

    stacks: Tensor
    """uint8[B, S, H, W]: the newest frame last, zeros before an episode's first."""
    previous_actions: Tensor
    """int64[B]: -1 at an episode's start."""
    previous_rewards: Tensor
    """float32[B]: unclipped; 0 at an episode's start."""
    state: RecurrentState
    """Before this step."""

    def to(self, device: torch.device) -> "PolicyInput":
        """The same there."""
        return PolicyInput(
            self.stacks.to(device),
            self.previous_actions.to(device),
            self.previous_rewards.to(device),
            RecurrentState(self.state.hidden.to(device), self.state.cell.to(device)),
        )


class TrainingBatch(NamedTuple):
    """A batch of sequences as the learner trains on them; on its device, but for the last tensor.

    Row t of a sequence is a moment: its stack is frames[t : t + S], its action was taken there.
    Rows [0, burn_in) warm the state up, the next T are trained, the last n bootstrap.
    """

    frames: Tensor
    """uint8[L + S - 1, B, H, W]: each frame once."""
    previous_actions: Tensor
    """int64[L, B]: the action before the row, -1 where there was none."""
    previous_rewards: Tensor
    """float32[L, B]: the unclipped reward it brought."""
    actions: Tensor
    """int64[L, B]: 0 where the row holds no step."""
    rewards: Tensor
    """float32[L, B]: received for the row's action."""
    terminated: Tensor
    """bool[L, B]: the row's action ended the episode for good, or a life that ends returns."""
    is_step: Tensor
    """bool[L, B]: False before the episode, after its end, and where burn-in is missing."""
    has_burn_in: Tensor
    """bool[B]"""
    state: RecurrentState
    """The actor's state before the first present row: of the burn-in where there is one."""
    unroll_state: RecurrentState
    """The actor's state before the first trained row (what burn-in should reproduce)."""
    weights: Tensor
    """float32[B]: importance weights."""
    is_step_on_host: Tensor | None
    """bool[L, B], on the CPU: `is_step` once more, to be counted without waiting for a GPU.

    None: the sizes of what is computed must not depend on it."""


class UpdateReport(NamedTuple):
    """What one update tells the rest of the system; on the device, which may not be done yet."""

    priorities: Tensor
    """float32[B]: new sequence priorities."""
    metrics: dict[str, Tensor]
    """Scalars by name."""
    finite: Tensor
    """bool[]. False: loss or gradient was not finite, and what learns was left as it was."""
