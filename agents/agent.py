"""The agent: R2D2 and a representation loss, joined on a shared or a separate encoder.

    act      one step for all lanes, for actors and evaluation
    update   one optimizer step on a batch of sequences, for the learner
    state    everything that an exact resume needs

The arm (`agents.representation.arm`) says what the representation loss is, the join
(`agents.joins`) whose encoder it trains.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.centring import FrameCentring
from agents.diagnostics import delta_q, effective_rank, error_quantiles, gradient_cosine
from agents.graphs import Graphed
from agents.interface import EnvShape, TrainingBatch, UpdateReport
from agents.networks import (
    RecurrentQNetwork,
    copied,
    load_parameters,
    move_towards,
    stacks_at,
    stacks_from_frames,
)
from agents.options import LearnerOptions, NetworkOptions
from agents.policy import Policy
from agents.r2d2_loss import R2D2Loss, r2d2_loss
from agents.representation.arm import RepresentationLoss, arm_class
from agents.representation.options import RepresentationOptions
from agents.sequence_values import Features, SequenceValues

DIAGNOSED_STACKS = 256
"""At most so many, evenly spaced over the batch, give the effective rank."""


class Losses(NamedTuple):
    """Of a batch; both with a gradient."""

    rl: R2D2Loss
    rep: RepresentationLoss | None
    """None: the arm has none."""


class R2D2Agent:
    """Online and target Q-networks, the representation arm, optimizers, counters.

    Args:
      env: that it acts in.
      network: its sizes.
      learner: how it learns to act.
      representation: what its encoder learns besides.
      priority_mix: η of the priorities that an update gives sequences.
      device: where it computes.
      seed: of parameters, augmentations and the contrast set.
    """

    def __init__(
        self,
        env: EnvShape,
        network: NetworkOptions,
        learner: LearnerOptions,
        representation: RepresentationOptions,
        *,
        priority_mix: float,
        device: torch.device,
        seed: int,
    ) -> None:
        self.env = env
        self.network = network
        self.learner = learner
        self.representation = representation
        self.device = device
        self.updates = 0
        self._priority_mix = priority_mix
        draws_on = "cpu" if device.type == "meta" else device  # meta: to count sizes; no generator
        self.generator = torch.Generator(draws_on).manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(env)
        self.average: nn.ModuleDict | None = None
        if learner.average_decay:
            self.average = copied(self._acting_modules()).requires_grad_(False)
        parts = {
            "online": self.online,
            "target": self.target,
            "separate_encoder": self.join.apart,
            "objective": self.arm if self.arm.state_dict() else None,
            "average": self.average,
        }
        self._modules = {name: module for name, module in parts.items() if module is not None}
        self.optimizers = self.join.optimizers(self.arm, learner, representation)
        for group in (g for o in self.optimizers.values() for g in o.param_groups):
            group["capturable"] = learner.cuda_graph
        self._graph = self._new_graph()
        if learner.compile_encoders:  # in place: names of parameters stay as they are
            for encoder in (*self.online.encoders, *self.target.encoders):
                encoder.compile()

    def _build(self, env: EnvShape) -> None:
        network, options = self.network, self.representation
        arm = arm_class(options.arm)
        join = arm.joins[options.encoder]
        self.online = RecurrentQNetwork(
            env,
            network,
            encoders=join.q_encoders,
            given_features=network.features * join.gives_features,
        ).to(self.device)
        self.target = copied(self.online).requires_grad_(False)
        self.join = join(env, network, self.online)
        self.arm = arm(options, self.learner, self.join.encoder).to(self.device)
        self.given_encoder = self.join.given(self.arm, options)

    # --- acting ---------------------------------------------------------------------------------

    def policy(self) -> Policy:
        """A copy of what acting needs; `load` brings it up to date."""
        return self._policy_of(self._acting_modules())

    def evaluation_policy(self) -> Policy:
        """What the agent is judged by: the averaged parameters, or the newest where none are kept.

        One moment's greedy policy scatters: on Pong, consecutive evaluations differed by 20 points.
        """
        return self._policy_of(self.average or self._acting_modules())

    def untrained_policy(self, seed: int) -> Policy:
        """One of the same shape that has learned nothing; it sees frames centred as this one does.

        Args:
          seed: of its parameters.
        """
        fresh = R2D2Agent(
            self.env,
            self.network,
            self.learner,
            self.representation,
            priority_mix=self._priority_mix,
            device=self.device,
            seed=seed,
        )
        for own, measured in zip(fresh._centrings(), self._centrings(), strict=True):
            own.load_state_dict(measured.state_dict())
        return fresh.evaluation_policy()

    def _acting_modules(self) -> nn.ModuleDict:
        given = {} if self.given_encoder is None else {"given_encoder": self.given_encoder}
        return nn.ModuleDict({"online": self.online, **given})

    def _policy_of(self, modules: nn.ModuleDict) -> Policy:
        policy = Policy(copied(modules))
        policy.version_updates = self.updates
        return policy

    def load_policy(self, parts: dict[str, dict[str, Tensor]], updates: int) -> None:
        """Plays from here on as a policy did, here or elsewhere; what else learns is as it was.

        Args:
          parts: state dicts by part, as `Policy.load` takes them.
          updates: that it had learned for.

        Raises:
          ValueError: parts, names, shapes or dtypes differ from this agent's.
        """
        for modules in filter(None, (self._acting_modules(), self.average)):
            if parts.keys() != set(modules):
                raise ValueError(f"parts are {sorted(parts)}, needs {sorted(modules)}")
            for name, module in modules.items():
                load_parameters(name, module, parts[name])
        self.updates = updates

    def parameters_for_policy(self) -> dict[str, dict[str, Tensor]]:
        """State dicts, not copied, for `Policy.load`."""
        return {name: module.state_dict() for name, module in self._acting_modules().items()}

    # --- learning -------------------------------------------------------------------------------

    def update(self, batch: TrainingBatch) -> UpdateReport:
        """One optimizer step on the batch; no GPU is waited for, but by diagnostics.

        Where loss or gradient is not finite, the device leaves networks and optimizers as they
        were. The update counts, and the means that follow a network take their step.

        With `learner.cuda_graph` the next update overwrites what this one reports.
        """
        every = self.learner.diagnostics_every_updates
        is_diagnosed = every > 0 and self.updates % every == 0
        graph = self._graph
        if graph is not None:  # of one size for all batches; so it is for updates that are in none
            batch = batch._replace(is_step_on_host=None)
        if graph is None or is_diagnosed:
            report = self._learn(batch, is_diagnosed=is_diagnosed)
        else:
            report = graph(batch)
        self.updates += 1
        self._follow()
        return report

    def _new_graph(self) -> Graphed[TrainingBatch, UpdateReport] | None:
        """Of `_learn`, if it is to be one; of the tensors that networks and optimizers now have."""
        if not self.learner.cuda_graph:
            return None
        return Graphed(self._learn, self.generator, "an update")

    def _learn(self, batch: TrainingBatch, *, is_diagnosed: bool = False) -> UpdateReport:
        """Moves what a loss has a gradient for."""
        stacks = self._q_stacks(batch)
        rl, rep = self.losses(batch, stacks)
        metrics = {"rl_loss": rl.loss.detach()}
        if rep is not None:
            metrics |= {"representation_loss": rep.loss.detach(), **rep.metrics}
        if is_diagnosed:
            metrics |= self._diagnostics(batch, stacks, rl, rep)
        norms = self._backward(rl, rep)
        finite = torch.isfinite(torch.stack([rl.loss.detach(), *norms.values()])).all()
        skipped = 1.0 - finite.float()
        for optimizer in self.optimizers.values():
            optimizer.found_inf = skipped  # type: ignore[attr-defined]  # how a GradScaler tells it
            optimizer.step()
        metrics |= norms
        return UpdateReport(rl.priorities, metrics | rl.metrics(), finite)

    @property
    def needs_frames(self) -> bool:
        """Whether `centre_input` is still to be called, before the first update."""
        return any(not centring.is_measured for centring in self._centrings())

    def centre_input(self, frames: Tensor) -> None:
        """Measures, once, the mean picture that every network takes off its input from here on.

        Args:
          frames: uint8[N, H, W], of the games as they were played so far.
        """
        for centring in self._centrings():
            centring.measure(frames.to(self.device))

    def _centrings(self) -> Iterator[FrameCentring]:
        for module in self._modules.values():
            yield from (part for part in module.modules() if isinstance(part, FrameCentring))

    def losses(self, batch: TrainingBatch, stacks: Tensor) -> Losses:
        """R2D2's loss over `stacks` [L * B, S, H, W], and the arm's."""
        o = self.learner
        # Without the cache: of weights cast in the burn-in, without gradient, none would learn.
        with torch.autocast(self.device.type, torch.bfloat16, o.bfloat16, cache_enabled=False):
            values = self._values(batch, stacks)
            online, bootstrap_q = values.online(self.online)
            target = values.target(self.target)
        rows = slice(o.burn_in_steps, None)
        rl = r2d2_loss(
            online_q=online.q,
            bootstrap_online_q=bootstrap_q,
            target_q=target.q,
            actions=batch.actions[rows],
            rewards=batch.rewards[rows],
            terminated=batch.terminated[rows],
            is_step=batch.is_step[rows],
            weights=batch.weights,
            discount=o.discount,
            n_steps=o.n_steps,
            trace_lambda=o.trace_lambda,
            rescaling_epsilon=o.rescaling_epsilon,
            priority_mix=self._priority_mix,
        )
        seen = Features(online.features.detach(), target.features[: o.unroll_steps])
        return Losses(rl, self.arm.loss(self.join.encoder, batch, seen, self.generator))

    def _q_stacks(self, batch: TrainingBatch) -> Tensor:
        """float32[L * B, S, H, W]: seen, cast once for all passes, and what the arm makes of it."""
        frames = self.online.encoder.see(batch.frames)
        stacks = stacks_from_frames(frames, self.network.frame_stack)
        return self.arm.q_stacks(stacks, self.generator)

    def _values(self, batch: TrainingBatch, stacks: Tensor) -> SequenceValues:
        given = None
        if self.given_encoder is not None:
            with torch.no_grad():
                given = self.given_encoder(stacks).unflatten(0, batch.actions.shape)
        return SequenceValues(batch, stacks.unflatten(0, batch.actions.shape), given, self.learner)

    def _diagnostics(
        self, batch: TrainingBatch, stacks: Tensor, rl: R2D2Loss, rep: RepresentationLoss | None
    ) -> dict[str, Tensor]:
        """Costly metrics. Neither they nor their absence change what is learned."""
        metrics = error_quantiles(rl.td_errors, rl.mask)
        metrics["effective_rank"] = self._effective_rank(batch)
        # A compiled backward pass runs once: it gives its buffers away.
        can_repeat = not self.learner.compile_encoders
        if rep is not None and self.join.apart is None and can_repeat:
            shared = list(self.online.encoder.parameters())
            metrics["gradient_cosine"] = gradient_cosine(
                torch.autograd.grad(rl.loss, shared, retain_graph=True),
                torch.autograd.grad(rep.loss, shared, retain_graph=True),
            )
        if self.learner.burn_in_steps and batch.has_burn_in.any():
            metrics["delta_q"] = self._delta_q(batch, stacks)
        return metrics

    @torch.no_grad()
    def _effective_rank(self, batch: TrainingBatch) -> Tensor:
        burn_in, T = self.learner.burn_in_steps, self.learner.unroll_steps
        rows, lanes = batch.is_step[burn_in : burn_in + T].nonzero(as_tuple=True)
        spread = torch.linspace(0, len(rows) - 1, DIAGNOSED_STACKS, device=self.device)
        chosen = spread.long().unique()
        stacks = stacks_at(batch, burn_in + rows[chosen], lanes[chosen])
        return effective_rank(self.join.encoder(stacks))

    @torch.no_grad()
    def _delta_q(self, batch: TrainingBatch, stacks: Tensor) -> Tensor:
        burn_in = self.learner.burn_in_steps
        values = self._values(batch, stacks)
        first = slice(burn_in, burn_in + 1)
        q, stored_q = (
            values.unrolled(self.online, first, state).q[0]
            for state in (values.burned_in(self.online), batch.unroll_state)
        )
        return delta_q(q, stored_q, batch.has_burn_in)

    def _backward(self, rl: R2D2Loss, rep: RepresentationLoss | None) -> dict[str, Tensor]:
        """Gradients of both losses into .grad; returns the clipped optimizers' norms."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if rep is None:
            rl.loss.backward()
        else:
            self.join.backward(rl.loss, rep.loss, self.representation.weight)
        clip = {
            "main": self.learner.clip_norm,
            "representation": self.representation.clip_norm,
        }
        return {
            f"{name}_gradient_norm": torch.nn.utils.clip_grad_norm_(
                optimizer.param_groups[0]["params"], clip[name]
            )
            for name, optimizer in self.optimizers.items()
        }

    def _follow(self) -> None:
        """Moves what follows a network."""
        o = self.learner
        self.arm.follow(self.join.encoder)
        if self.average is not None:
            # The first updates count for more, so that the initial parameters are soon forgotten.
            decay = min(o.average_decay, self.updates / (self.updates + 10))
            move_towards(self.average.parameters(), self._acting_modules().parameters(), decay)
        if o.target_decay:
            move_towards(self.target.parameters(), self.online.parameters(), o.target_decay)
        elif self.updates % o.target_period_updates == 0:
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

        Learning rates and the like stay this agent's own: only what was learned is taken over.

        Raises:
          ValueError: networks, shapes or dtypes differ from this agent's.
        """
        if model.keys() != self._modules.keys() or optimizer.keys() != self.optimizers.keys():
            raise ValueError(
                f"checkpoint holds {sorted(model)} and {sorted(optimizer)}, this configuration "
                f"needs {sorted(self._modules)} and {sorted(self.optimizers)}"
            )
        for name, module in self._modules.items():
            load_parameters(name, module, model[name])
        for name, own in self.optimizers.items():
            groups = own.state_dict()["param_groups"]
            own.load_state_dict(optimizer[name] | {"param_groups": groups})
        self.generator.set_state(generator)
        self.updates = updates
        self._graph = self._new_graph()
