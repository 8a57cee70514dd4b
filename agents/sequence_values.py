"""Q-values over a batch of sequences: burn-in without gradient, trained rows, bootstrap rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.interface import RecurrentState, TrainingBatch
from agents.networks import RecurrentQNetwork
from agents.sequences import SequenceOptions


@dataclass(frozen=True)
class SequenceValues:
    """A batch with its stacks built, ready to be run through networks."""

    batch: TrainingBatch
    stacks: Tensor
    """[L, B, S, H, W] in [0, 255], channels-last for each row."""
    given: Tensor | None
    """float32[L, B, G], features of a separate encoder."""
    sequence: SequenceOptions

    def online(self, network: RecurrentQNetwork) -> tuple[Tensor, Tensor]:
        """Q-values float32[T, B, A] with gradient, and of those rows and the n after without."""
        trained, after = self.sequence.trained, slice(self.sequence.trained.stop, None)
        with torch.no_grad():
            state = self.burned_in(network)
        q, state = self.unrolled(network, trained, state)
        with torch.no_grad():
            q_after, _ = self.unrolled(network, after, state.detach())
        return q, torch.cat([q.detach(), q_after])

    @torch.no_grad()
    def target(self, network: RecurrentQNetwork) -> Tensor:
        """Q-values float32[T + n, B, A] after the network's own burn-in, without gradient."""
        state = self.burned_in(network)
        return self.unrolled(network, slice(self.sequence.burn_in_steps, None), state)[0]

    def burned_in(self, network: RecurrentQNetwork) -> RecurrentState:
        """State before the first trained row; the stored one where there is no burn-in."""
        if self.sequence.burn_in_steps == 0:
            return self.batch.state
        rows = slice(0, self.sequence.burn_in_steps)
        _, state = network.advance(*self._inputs(network, rows), self.batch.state)
        return RecurrentState.where(self.batch.has_burn_in, state, self.batch.state)

    def unrolled(
        self, network: RecurrentQNetwork, rows: slice, state: RecurrentState
    ) -> tuple[Tensor, RecurrentState]:
        """Q-values of some rows, float32[rows, B, A], and the state after them."""
        return network.unroll(*self._inputs(network, rows), state)

    def _inputs(self, network: RecurrentQNetwork, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Features, previous actions and previous rewards of some rows."""
        stacks = self.stacks[rows]
        given = None if self.given is None else self.given[rows].flatten(0, 1)
        features = network.encode(stacks.flatten(0, 1), given).unflatten(0, stacks.shape[:2])
        return features, self.batch.previous_actions[rows], self.batch.previous_rewards[rows]
