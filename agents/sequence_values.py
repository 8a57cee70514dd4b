"""Q-values over a batch of sequences: burn-in without gradient, trained rows, bootstrap rows."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from agents.interface import RecurrentState, TrainingBatch
from agents.networks import RecurrentQNetwork
from agents.sequences import SequenceOptions


class Features(NamedTuple):
    """What the Q-networks' encoders yield for the trained rows, without gradient."""

    online: Tensor
    """float32[T, B, F]."""
    target: Tensor
    """float32[T, B, F]."""


class Unrolled(NamedTuple):
    """A network over some rows."""

    q: Tensor
    """float32[rows, B, A]."""
    state: RecurrentState
    """After the last row."""
    features: Tensor
    """float32[rows, B, F]: what it was read from."""


@dataclass(frozen=True)
class SequenceValues:
    """A batch with its stacks built, ready to be run through networks."""

    batch: TrainingBatch
    stacks: Tensor
    """[L, B, S, H, W] as the encoder sees them, channels-last for each row."""
    given: Tensor | None
    """float32[L, B, G], features of a separate encoder."""
    sequence: SequenceOptions

    def online(self, network: RecurrentQNetwork) -> tuple[Unrolled, Tensor]:
        """The trained rows, with gradient, and Q-values [T + n, B, A] after burn-in, without."""
        trained, after = self.sequence.trained, slice(self.sequence.trained.stop, None)
        with torch.no_grad():
            state = self.burned_in(network)
        unrolled = self.unrolled(network, trained, state)
        with torch.no_grad():
            q_after = self.unrolled(network, after, unrolled.state).q
        return unrolled, torch.cat([unrolled.q.detach(), q_after])

    @torch.no_grad()
    def target(self, network: RecurrentQNetwork) -> Unrolled:
        """All T + n rows after the network's own burn-in, without gradient."""
        state = self.burned_in(network)
        return self.unrolled(network, slice(self.sequence.burn_in_steps, None), state)

    def burned_in(self, network: RecurrentQNetwork) -> RecurrentState:
        """State before the first trained row; the stored one where there is no burn-in."""
        if self.sequence.burn_in_steps == 0:
            return self.batch.state
        rows = slice(0, self.sequence.burn_in_steps)
        _, state = network.advance(*self._inputs(network, rows), self.batch.state)
        return RecurrentState.where(self.batch.has_burn_in, state, self.batch.state)

    def unrolled(self, network: RecurrentQNetwork, rows: slice, state: RecurrentState) -> Unrolled:
        """A network over some rows, from a state."""
        features, actions, rewards = self._inputs(network, rows)
        q, state = network.unroll(features, actions, rewards, state)
        return Unrolled(q, state, features)

    def _inputs(self, network: RecurrentQNetwork, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Features, previous actions and previous rewards of some rows."""
        stacks = self.stacks[rows]
        given = None if self.given is None else self.given[rows].flatten(0, 1)
        features = network.encode(stacks.flatten(0, 1), given).unflatten(0, stacks.shape[:2])
        return features, self.batch.previous_actions[rows], self.batch.previous_rewards[rows]
