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
from agents.diagnostics import delta_q, effective_rank, error_quantiles, gradient_cosine
from agents.interface import RecurrentState, TrainingBatch, UpdateReport
from agents.networks import ConvEncoder, RecurrentQNetwork, stacks_from_frames
from agents.r2d2_loss import R2D2Loss, r2d2_loss
from agents.representation.contrast_set import choose_contrast_set
from agents.representation.objective import (
    LOSS_ARMS,
    Arm,
    ContrastOptions,
    RepresentationLoss,
    RepresentationObjective,
)

Join = Literal["shared", "separate"]
ActingEncoder = Literal["online", "momentum"]
DIAGNOSED_STACKS = 256
"""At most so many, evenly spaced over the batch, give the effective rank."""


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
    recurrent: bool


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
    acting_encoder: ActingEncoder
    """Which of f and h gives its features to the Q-network, where the join is separate."""
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
        if representation.acting_encoder == "momentum" and representation.join == "shared":
            raise ValueError(
                "acting_encoder is 'momentum' and join 'shared', needs join 'separate': only a "
                "separate encoder hands its features over"
            )
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
            recurrent=network.recurrent,
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

    @property
    def given_encoder(self) -> ConvEncoder | None:
        """The encoder whose features the Q-network is given, in learning and in acting."""
        if self.separate_encoder is None or self.objective is None:
            return None
        if self.representation.acting_encoder == "momentum":
            return self.objective.momentum_encoder
        return self.separate_encoder

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
        policy = Policy(copy.deepcopy(self.online), copy.deepcopy(self.given_encoder))
        policy.version_updates = self.updates
        return policy

    def parameters_for_policy(self) -> dict[str, dict[str, Tensor]]:
        """State dicts, not copied, for `Policy.load`."""
        parts = {"online": self.online.state_dict()}
        if self.given_encoder is not None:
            parts["given_encoder"] = self.given_encoder.state_dict()
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
        every = self._diagnostics_every_updates
        if every and self.updates % every == 0:
            metrics |= self._diagnostics(batch, stacks, rl, rep)
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
        if self.given_encoder is None:
            return None
        with torch.no_grad():
            features = self.given_encoder(stacks.flatten(0, 1))
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
        """The M stacks of the contrast set: of the trained rows, and the burn-in's if asked for."""
        burn_in, T = self.sequence.burn_in_steps, self.sequence.unroll_steps
        first = 0 if self.representation.use_burn_in else burn_in
        rows, lanes = choose_contrast_set(
            batch.is_step[first : burn_in + T],
            self.representation.stacks_per_sequence,
            self.generator,
        )
        return self._stacks_at(batch, first + rows, lanes)

    def _stacks_at(self, batch: TrainingBatch, rows: Tensor, lanes: Tensor) -> Tensor:
        """uint8[M, S, H, W] of M places in the batch, channels-last."""
        window = torch.arange(self.network.frame_stack, device=self.device)
        stacks = batch.frames[rows[:, None] + window, lanes[:, None]]
        return stacks.contiguous(memory_format=torch.channels_last)

    def _diagnostics(
        self, batch: TrainingBatch, stacks: Tensor, rl: R2D2Loss, rep: RepresentationLoss | None
    ) -> dict[str, Tensor]:
        """Costly metrics. Neither they nor their absence change what is learned."""
        metrics = error_quantiles(rl.td_errors, rl.mask)
        metrics["effective_rank"] = self._effective_rank(batch)
        if rep is not None and self.separate_encoder is None:
            shared = list(self.online.encoder.parameters())
            metrics["gradient_cosine"] = gradient_cosine(
                torch.autograd.grad(rl.loss, shared, retain_graph=True),
                torch.autograd.grad(rep.loss, shared, retain_graph=True),
            )
        if self.sequence.burn_in_steps and batch.has_burn_in.any():
            metrics["delta_q"] = self._delta_q(batch, stacks.unflatten(0, batch.actions.shape))
        return metrics

    @torch.no_grad()
    def _effective_rank(self, batch: TrainingBatch) -> Tensor:
        burn_in, T = self.sequence.burn_in_steps, self.sequence.unroll_steps
        rows, lanes = batch.is_step[burn_in : burn_in + T].nonzero(as_tuple=True)
        spread = torch.linspace(0, len(rows) - 1, DIAGNOSED_STACKS, device=self.device)
        chosen = spread.long().unique()
        stacks = self._stacks_at(batch, burn_in + rows[chosen], lanes[chosen])
        return effective_rank(self.represented_encoder(stacks))

    @torch.no_grad()
    def _delta_q(self, batch: TrainingBatch, stacks: Tensor) -> Tensor:
        burn_in = self.sequence.burn_in_steps
        stacks = stacks[: burn_in + 1]
        given = self._given_features(stacks)
        before, first = slice(0, burn_in), slice(burn_in, burn_in + 1)
        burned_in = self._burned_in(self.online, batch, stacks, given, before)
        q, stored_q = (
            self._unroll(self.online, batch, stacks, given, first, state)[0][0]
            for state in (burned_in, batch.unroll_state)
        )
        return delta_q(q, stored_q, batch.has_burn_in)

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
    """What acting needs: the online network (and the encoder that gives it features), frozen."""

    def __init__(self, online: RecurrentQNetwork, given_encoder: ConvEncoder | None) -> None:
        self._online = online.requires_grad_(False).eval()
        self._given_encoder = given_encoder
        if given_encoder is not None:
            given_encoder.requires_grad_(False).eval()
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
        given = None if self._given_encoder is None else self._given_encoder(stacks)
        features = self._online.encode(stacks, given)
        q, state = self._online.unroll(
            features[None], previous_actions[None], previous_rewards[None], state
        )
        return q[0], state

    def load(self, parts: dict[str, dict[str, Tensor]], version_updates: int) -> None:
        """Takes over newer parameters, from `R2D2Agent.parameters_for_policy`."""
        self._online.load_state_dict(parts["online"])
        if self._given_encoder is not None:
            self._given_encoder.load_state_dict(parts["given_encoder"])
        self.version_updates = version_updates

    def state(self) -> dict[str, Any]:
        """Parameters as arrays, and their version: an actor may act with older ones."""
        parts = {"online": self._online.state_dict()}
        if self._given_encoder is not None:
            parts["given_encoder"] = self._given_encoder.state_dict()
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
        "largest_q": rl.largest_q,
        "masked_fraction": 1.0 - rl.mask.float().mean(),
    }
