"""The agent: R2D2 and a representation loss, joined on a shared or a separate encoder.

    act      one step for all lanes, for actors and evaluation
    update   one optimizer step on a batch of sequences, for the learner
    state    everything that an exact resume needs

Two ways to join (ReLIC leaves the first to us and states the second in appendix E.6):
  shared    one encoder; loss = RL + weight x representation loss; one optimizer.
  separate  a second encoder of the same shape, trained by the representation loss alone with an
            optimizer of its own; its features enter the Q-network beside the first encoder's.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from agents.augmentation import random_shift_and_intensity
from agents.interface import RecurrentState, TrainingBatch, UpdateReport
from agents.networks import ConvEncoder, RecurrentQNetwork, stacks_from_frames
from agents.r2d2_loss import R2D2Loss, r2d2_loss
from agents.representation.objective import (
    LOSS_ARMS,
    Arm,
    ContrastOptions,
    RepresentationLoss,
    RepresentationObjective,
)

Join = Literal["shared", "separate"]


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the Q-network and what it looks at."""

    actions: int
    frame_stack: int
    frame_height: int
    frame_width: int
    channels: tuple[int, ...]
    features: int
    lstm: int
    hidden: int
    previous_reward: Literal["raw", "tanh"]
    skip_core: bool


@dataclass(frozen=True)
class SequenceShape:
    """How the rows of a sequence are used: burn-in, trained, bootstrap."""

    burn_in_steps: int
    unroll_steps: int
    n_steps: int


@dataclass(frozen=True)
class ReinforcementOptions:
    """R2D2's loss and optimizer."""

    discount: float
    trace_lambda: float
    rescaling_epsilon: float
    priority_mix: float
    learning_rate: float
    adam_epsilon: float
    clip_norm: float
    target_period_updates: int


@dataclass(frozen=True)
class RepresentationOptions:
    """Which representation loss, on which frames, and how it joins the RL loss."""

    arm: Arm
    join: Join
    weight: float
    momentum: float
    stacks_per_sequence: int
    use_burn_in: bool
    learning_rate: float
    adam_epsilon: float
    clip_norm: float
    contrast: ContrastOptions


class R2D2Agent:
    """Online and target Q-networks, representation objective, optimizers, counters."""

    def __init__(
        self,
        *,
        network: NetworkShape,
        sequence: SequenceShape,
        reinforcement: ReinforcementOptions,
        representation: RepresentationOptions,
        diagnostics_every_updates: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self.network = network
        self.sequence = sequence
        self.reinforcement = reinforcement
        self.representation = representation
        self.device = device
        self.updates = 0
        self._diagnostics_every_updates = diagnostics_every_updates
        self.generator = torch.Generator(device).manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(network, representation)
        self._modules = {
            "online": self.online,
            "target": self.target,
            **({"separate_encoder": self.separate_encoder} if self.separate_encoder else {}),
            **({"objective": self.objective} if self.objective else {}),
        }
        self.optimizers = self._build_optimizers()

    def _build(self, network: NetworkShape, representation: RepresentationOptions) -> None:
        arm, separate = representation.arm, representation.join == "separate"
        encoder_sizes: dict[str, Any] = {
            "frame_stack": network.frame_stack,
            "frame_height": network.frame_height,
            "frame_width": network.frame_width,
            "channels": network.channels,
            "features": network.features,
        }
        has_loss = arm in LOSS_ARMS
        self.online = RecurrentQNetwork(
            **encoder_sizes,
            actions=network.actions,
            lstm=network.lstm,
            hidden=network.hidden,
            previous_reward=network.previous_reward,
            skip_core=network.skip_core,
            encoders=2 if separate and arm == "augmentation" else 1,
            given_features=network.features if separate and has_loss else 0,
        ).to(self.device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.separate_encoder: ConvEncoder | None = None
        if separate and has_loss:
            self.separate_encoder = ConvEncoder(**encoder_sizes).to(self.device)
        self.objective: RepresentationObjective | None = None
        if has_loss:
            self.objective = RepresentationObjective(
                arm,
                self.represented_encoder,
                momentum=representation.momentum,
                options=representation.contrast,
            ).to(self.device)

    @property
    def represented_encoder(self) -> ConvEncoder:
        """f: the encoder that the representation loss trains."""
        return self.separate_encoder if self.separate_encoder is not None else self.online.encoder

    def _build_optimizers(self) -> dict[str, torch.optim.Adam]:
        def adam(
            parameters: Iterable[nn.Parameter], rate: float, epsilon: float
        ) -> torch.optim.Adam:
            return torch.optim.Adam(list(parameters), lr=rate, eps=epsilon, fused=True)

        rl, rep = self.reinforcement, self.representation
        heads = list(_trainable(self.objective)) if self.objective is not None else []
        main = list(self.online.parameters())
        if self.separate_encoder is None:
            return {"main": adam([*main, *heads], rl.learning_rate, rl.adam_epsilon)}
        apart = [*self.separate_encoder.parameters(), *heads]
        return {
            "main": adam(main, rl.learning_rate, rl.adam_epsilon),
            "representation": adam(apart, rep.learning_rate, rep.adam_epsilon),
        }

    # --- acting ---------------------------------------------------------------------------------

    def policy(self) -> "Policy":
        """A copy of what acting needs; `load` brings it up to date."""
        policy = Policy(copy.deepcopy(self.online), copy.deepcopy(self.separate_encoder))
        policy.version_updates = self.updates
        return policy

    def parameters_for_policy(self) -> dict[str, dict[str, Tensor]]:
        """State dicts, not copied, for `Policy.load`."""
        parts = {"online": self.online.state_dict()}
        if self.separate_encoder is not None:
            parts["separate_encoder"] = self.separate_encoder.state_dict()
        return parts

    # --- learning -------------------------------------------------------------------------------

    def update(self, batch: TrainingBatch) -> UpdateReport:
        """One optimizer step on the batch; skipped when loss or gradient is not finite."""
        stacks = self._augmented(stacks_from_frames(batch.frames, self.network.frame_stack))
        rl = self.reinforcement_loss(batch, stacks)
        rep = self.representation_loss(batch)
        metrics = {"rl_loss": rl.loss.detach()}
        if rep is not None:
            metrics |= {"representation_loss": rep.loss.detach(), **rep.metrics}
        norms = self._backward(rl, rep)
        finite = bool(torch.isfinite(torch.stack([rl.loss.detach(), *norms.values()])).all())
        if finite:
            self._step()
        metrics |= norms
        return UpdateReport(rl.priorities.cpu(), metrics | _error_metrics(rl), finite)

    def reinforcement_loss(self, batch: TrainingBatch, stacks: Tensor) -> R2D2Loss:
        """The R2D2 loss over `stacks` [L * B, S, H, W], which the arm may have augmented."""
        burn_in, T = self.sequence.burn_in_steps, self.sequence.unroll_steps
        L, B = batch.actions.shape
        stacks = stacks.unflatten(0, (L, B))
        given = self._given_features(stacks)
        online_q, bootstrap_q = self._online_values(batch, stacks, given)
        with torch.no_grad():
            target_q = self._target_values(batch, stacks, given)
        rows = slice(burn_in, burn_in + T + self.sequence.n_steps)
        o = self.reinforcement
        return r2d2_loss(
            online_q=online_q,
            bootstrap_online_q=bootstrap_q,
            target_q=target_q,
            actions=batch.actions[rows],
            rewards=batch.rewards[rows],
            terminated=batch.terminated[rows],
            is_step=batch.is_step[rows],
            weights=batch.weights,
            discount=o.discount,
            n_steps=self.sequence.n_steps,
            trace_lambda=o.trace_lambda,
            rescaling_epsilon=o.rescaling_epsilon,
            priority_mix=o.priority_mix,
        )

    def representation_loss(self, batch: TrainingBatch) -> RepresentationLoss | None:
        """The arm's loss over some of the batch's stacks; None for arms without one."""
        if self.objective is None:
            return None
        stacks = self._contrast_stacks(batch)
        return self.objective.loss(self.represented_encoder, stacks, self.generator)

    def _augmented(self, stacks: Tensor) -> Tensor:
        if self.representation.arm != "augmentation":
            return stacks
        return random_shift_and_intensity(stacks, generator=self.generator)

    def _given_features(self, stacks: Tensor) -> Tensor | None:
        if self.separate_encoder is None:
            return None
        with torch.no_grad():
            features = self.separate_encoder(stacks.flatten(0, 1))
        return cast(Tensor, features.unflatten(0, stacks.shape[:2]))

    def _online_values(
        self, batch: TrainingBatch, stacks: Tensor, given: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Online Q-values: of the trained rows with gradient, of those and the n after without."""
        burn_in, T = self.sequence.burn_in_steps, self.sequence.unroll_steps
        before, trained, after = (
            slice(0, burn_in),
            slice(burn_in, burn_in + T),
            slice(burn_in + T, None),
        )
        with torch.no_grad():
            state = self._burned_in(self.online, batch, stacks, given, before)
        q, state = self._unroll(self.online, batch, stacks, given, trained, state)
        with torch.no_grad():
            q_after, _ = self._unroll(self.online, batch, stacks, given, after, state.detach())
        return q, torch.cat([q.detach(), q_after])

    def _target_values(self, batch: TrainingBatch, stacks: Tensor, given: Tensor | None) -> Tensor:
        """Target Q-values of the trained rows and the n after them."""
        burn_in = self.sequence.burn_in_steps
        state = self._burned_in(self.target, batch, stacks, given, slice(0, burn_in))
        return self._unroll(self.target, batch, stacks, given, slice(burn_in, None), state)[0]

    def _burned_in(
        self,
        network: RecurrentQNetwork,
        batch: TrainingBatch,
        stacks: Tensor,
        given: Tensor | None,
        rows: slice,
    ) -> RecurrentState:
        """State before the first trained row; the stored one where there is no burn-in."""
        if self.sequence.burn_in_steps == 0:
            return batch.state
        _, state = self._unroll(network, batch, stacks, given, rows, batch.state)
        return RecurrentState.where(batch.has_burn_in, state, batch.state)

    def _unroll(
        self,
        network: RecurrentQNetwork,
        batch: TrainingBatch,
        stacks: Tensor,
        given: Tensor | None,
        rows: slice,
        state: RecurrentState,
    ) -> tuple[Tensor, RecurrentState]:
        part = stacks[rows]
        features = network.encode(
            part.flatten(0, 1), None if given is None else given[rows].flatten(0, 1)
        )
        return network.unroll(
            features.unflatten(0, part.shape[:2]),
            batch.previous_actions[rows],
            batch.previous_rewards[rows],
            state,
        )

    def _contrast_stacks(self, batch: TrainingBatch) -> Tensor:
        """The M stacks of the contrast set: k of each sequence, spread evenly over its rows.

        The first of the k is placed at random, so that every row is chosen equally often. Rows that
        hold no step are left out, so M is at most B x k.
        """
        burn_in, T = self.sequence.burn_in_steps, self.sequence.unroll_steps
        first = 0 if self.representation.use_burn_in else burn_in
        rows, B = burn_in + T - first, batch.actions.shape[1]
        k = min(self.representation.stacks_per_sequence, rows)
        offset = torch.rand(1, B, generator=self.generator, device=self.device) * (rows / k)
        spread = torch.arange(k, device=self.device)[:, None] * (rows / k)
        chosen = first + (spread + offset).long().clamp(max=rows - 1)
        lanes = torch.arange(B, device=self.device).expand(k, B)
        real = batch.is_step[chosen, lanes]
        chosen, lanes = chosen[real], lanes[real]
        window = torch.arange(self.network.frame_stack, device=self.device)
        stacks = batch.frames[chosen[:, None] + window, lanes[:, None]]
        return stacks.contiguous(memory_format=torch.channels_last)

    def _backward(self, rl: R2D2Loss, rep: RepresentationLoss | None) -> dict[str, Tensor]:
        """Gradients of both losses into .grad; returns the clipped optimizers' norms."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if rep is None:
            rl.loss.backward()
        elif self.separate_encoder is None:
            (rl.loss + self.representation.weight * rep.loss).backward()
        else:
            rl.loss.backward()
            rep.loss.backward()
        clip = {
            "main": self.reinforcement.clip_norm,
            "representation": self.representation.clip_norm,
        }
        return {
            f"{name}_gradient_norm": torch.nn.utils.clip_grad_norm_(
                optimizer.param_groups[0]["params"], clip[name]
            )
            for name, optimizer in self.optimizers.items()
        }

    def _step(self) -> None:
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.updates += 1
        if self.objective is not None:
            self.objective.update_momentum(self.represented_encoder)
        if self.updates % self.reinforcement.target_period_updates == 0:
            self.target.load_state_dict(self.online.state_dict())

    # --- state ----------------------------------------------------------------------------------

    def model_state(self) -> dict[str, dict[str, Tensor]]:
        """Parameters of every network, by name."""
        return {name: module.state_dict() for name, module in self._modules.items()}

    def optimizer_state(self) -> dict[str, dict[str, Any]]:
        """State of every optimizer, by name."""
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state(
        self,
        model: dict[str, dict[str, Tensor]],
        optimizer: dict[str, dict[str, Any]],
        generator: Tensor,
        updates: int,
    ) -> None:
        """Restores what `model_state`, `optimizer_state` and the generator's state gave.

        Raises:
          ValueError: networks, shapes or dtypes differ from this agent's.
        """
        if model.keys() != self._modules.keys() or optimizer.keys() != self.optimizers.keys():
            raise ValueError(
                f"checkpoint holds {sorted(model)} and {sorted(optimizer)}, this configuration "
                f"needs {sorted(self._modules)} and {sorted(self.optimizers)}"
            )
        for name, module in self._modules.items():
            _expect_same_shapes(name, module.state_dict(), model[name])
            module.load_state_dict(model[name])
        for name, state in optimizer.items():
            self.optimizers[name].load_state_dict(state)
        self.generator.set_state(generator)
        self.updates = updates


class Policy:
    """What acting needs: the online network (and the separate encoder), frozen."""

    def __init__(self, online: RecurrentQNetwork, separate_encoder: ConvEncoder | None) -> None:
        self._online = online.requires_grad_(False).eval()
        self._separate_encoder = separate_encoder
        if separate_encoder is not None:
            separate_encoder.requires_grad_(False).eval()
        self.version_updates = 0

    def initial_state(self, lanes: int) -> RecurrentState:
        """Zeros."""
        return self._online.initial_state(lanes)

    @torch.inference_mode()
    def q_values(
        self,
        stacks: Tensor,
        previous_actions: Tensor,
        previous_rewards: Tensor,
        state: RecurrentState,
    ) -> tuple[Tensor, RecurrentState]:
        """One step for all lanes.

        Args:
          stacks: uint8[B, S, H, W]
          previous_actions: int64[B], -1 at an episode's start.
          previous_rewards: float32[B]
          state: before this step.

        Returns:
          Q-values float32[B, A] in rescaled space, and the state after this step.
        """
        given = None if self._separate_encoder is None else self._separate_encoder(stacks)
        features = self._online.encode(stacks, given)
        q, state = self._online.unroll(
            features[None], previous_actions[None], previous_rewards[None], state
        )
        return q[0], state

    def load(self, parts: dict[str, dict[str, Tensor]], version_updates: int) -> None:
        """Takes over newer parameters, from `R2D2Agent.parameters_for_policy`."""
        self._online.load_state_dict(parts["online"])
        if self._separate_encoder is not None:
            self._separate_encoder.load_state_dict(parts["separate_encoder"])
        self.version_updates = version_updates

    def state(self) -> dict[str, Any]:
        """Parameters as arrays, and their version: an actor may act with older ones than learned."""
        parts = {"online": self._online.state_dict()}
        if self._separate_encoder is not None:
            parts["separate_encoder"] = self._separate_encoder.state_dict()
        arrays = {
            part: {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
            for part, tensors in parts.items()
        }
        return {"version_updates": self.version_updates, "parameters": arrays}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        tensors = {
            part: {name: torch.from_numpy(array) for name, array in arrays.items()}
            for part, arrays in state["parameters"].items()
        }
        self.load(tensors, int(state["version_updates"]))


def _trainable(module: nn.Module) -> Iterable[nn.Parameter]:
    return (p for p in module.parameters() if p.requires_grad)


def _expect_same_shapes(name: str, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    if expected.keys() != found.keys():
        raise ValueError(
            f"{name}: parameters {sorted(expected.keys() ^ found.keys())} do not match"
        )
    for key, tensor in expected.items():
        other = found[key]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            raise ValueError(
                f"{name}.{key} is {other.dtype}{list(other.shape)}, "
                f"needs {tensor.dtype}{list(tensor.shape)}"
            )


def _error_metrics(rl: R2D2Loss) -> dict[str, Tensor]:
    errors = rl.td_errors.abs()
    trained = rl.mask.sum().clamp(min=1)
    return {
        "td_error_mean": errors.sum() / trained,
        "td_error_max": errors.max(),
        "masked_fraction": 1.0 - rl.mask.float().mean(),
    }
