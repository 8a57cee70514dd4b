"""The policy: the part of an agent that actors and evaluation hold, frozen and loadable."""

from typing import Any

import torch
from torch import Tensor, nn

from agents.interface import PolicyInput, RecurrentState
from agents.networks import ConvEncoder, RecurrentQNetwork


class Policy:
    """What acting needs, frozen.

    Args:
      modules: `online`, a RecurrentQNetwork; and `given_encoder`, a ConvEncoder, if one gives it
        features. They are the policy's from here on.
    """

    def __init__(self, modules: nn.ModuleDict) -> None:
        self._parts: dict[str, Any] = dict(modules.requires_grad_(False).eval().items())
        self._online: RecurrentQNetwork = self._parts["online"]
        self._given_encoder: ConvEncoder | None = self._parts.get("given_encoder")
        self.version_updates = 0

    def initial_state(self, lanes: int) -> RecurrentState:
        """Zeros."""
        return self._online.initial_state(lanes)

    @torch.inference_mode()
    def q_values(self, seen: PolicyInput) -> tuple[Tensor, RecurrentState]:
        """One step for all lanes.

        Returns:
          Q-values float32[B, A] in rescaled space, and the state after this step.
        """
        return self._unroll(self.features(seen.stacks), seen)

    @torch.inference_mode()
    def features(self, stacks: Tensor) -> Tensor:
        """What the LSTM is given of the pictures, by all encoders: float32[B, F'].

        Args:
          stacks: uint8[B, S, H, W], or float32 of what `see` yields.
        """
        given = None if self._given_encoder is None else self._given_encoder(stacks)
        return self._online.encode(stacks, given)

    def see(self, frames: Tensor) -> Tensor:
        """Frames [..., H, W] in [0, 255] as the encoders see them: see `ConvEncoder.see`."""
        return self._online.encoder.see(frames)

    def pixel_gradient(self, seen: PolicyInput) -> Tensor:
        """How the largest Q-value changes with each pixel, through all encoders.

        Args:
          seen: on any device.

        Returns:
          float32[B, S, H, W], on the policy's device.
        """
        seen = seen.to(next(self._online.parameters()).device)
        pixels = seen.stacks.float().requires_grad_()
        # Copies: the state comes from `q_values`, and autograd keeps no tensor of inference mode.
        state = RecurrentState(seen.state.hidden.clone(), seen.state.cell.clone())
        # Not `encode`, which lets no gradient into a separate encoder.
        given = [] if self._given_encoder is None else [self._given_encoder]
        encoders = [*self._online.encoders, *given]
        with torch.backends.cudnn.flags(enabled=False):  # its LSTM goes back in training mode only
            stacks = self._online.encoder.see(pixels)
            features = torch.cat([encoder(stacks) for encoder in encoders], dim=-1)
            q, _ = self._unroll(features, seen._replace(state=state))
            (gradient,) = torch.autograd.grad(q.amax(dim=-1).sum(), pixels)
        return gradient

    def _unroll(self, features: Tensor, seen: PolicyInput) -> tuple[Tensor, RecurrentState]:
        q, state = self._online.unroll(
            features[None], seen.previous_actions[None], seen.previous_rewards[None], seen.state
        )
        return q[0], state

    def load(self, parts: dict[str, dict[str, Tensor]], version_updates: int) -> None:
        """Takes over newer parameters, from `R2D2Agent.parameters_for_policy`."""
        for name, part in self._parts.items():
            part.load_state_dict(parts[name])
        self.version_updates = version_updates

    def parameters(self) -> dict[str, dict[str, Tensor]]:
        """State dicts by part, not copied: what `load` takes."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def state(self) -> dict[str, Any]:
        """Parameters as arrays, and their version: an actor may act with older ones."""
        arrays = {
            name: {key: tensor.cpu().numpy() for key, tensor in parameters.items()}
            for name, parameters in self.parameters().items()
        }
        return {"version_updates": self.version_updates, "parameters": arrays}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave; copies, as an actor's memory may be read-only."""
        tensors = {
            part: {name: torch.tensor(array) for name, array in arrays.items()}
            for part, arrays in state["parameters"].items()
        }
        self.load(tensors, int(state["version_updates"]))
