"""What an agent's representation knows of the game: linear probes of the variables in its memory.

Each representation of an observed play is asked for each variable, on episodes that its probes did
not learn from. Beside the agent's own two, its encoder and its LSTM, stand two controls: an encoder
of the same shape that has learned nothing, and the pixels. Of the encoders it is also said how many
dimensions they use, and how alike two views of a stack are to them.

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (AtariARI), NeurIPS
2019: variables and categories, the entropy that a variable needs, the average over categories, and
that no test frame was trained on. Deviations: the agent's own stacks of 84 x 84 pixels, where the
paper has frames of 160 x 210; 20,000 steps, where it has 50,000; see `linear_probe`, too.
"""

from collections.abc import Callable
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.augmentation import random_shift_and_intensity
from agents.diagnostics import effective_rank, mean_share
from agents.policy import Policy
from agents.representation.arm import embedding_metrics
from agents.representation.relic import relic_loss
from envs.ram import RamVariable
from envs.registry import ENVIRONMENTS
from relic_rl import build
from relic_rl.errors import UsageError, UserError
from relic_rl.evaluation.linear_probe import (
    Split,
    classification_f1,
    entropies,
    regression_r2,
    split_by_episode,
)
from relic_rl.evaluation.observed_play import EPSILON, ObservedPlay, observe_play
from relic_rl.evaluation.options import LEAST_PROBE_STEPS
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.records.probes import Probing, Readout, Representation, averages
from relic_rl.stop import StopRequest

LEAST_ENTROPY = 0.6
"""In nats; what has less is not asked for. [AtariARI]"""
COMPARED_STACKS = 256
"""At most so many are told apart, and have a rank: as many as in `metrics.jsonl`."""
TEMPERATURE = 0.1
"""Of the divergence between views, of unit embeddings: one for all runs, so that they compare."""

Tell = Callable[[str, int, int, str], None]
"""Told what is done, and how far it is: so many of how many, and of what."""


def expect_variables(game: str) -> tuple[RamVariable, ...]:
    """The variables of a game's memory that are known.

    Raises:
      UsageError: none are; the message names the games that have some.
    """
    variables = ENVIRONMENTS[game].ram_variables
    if not variables:
        known = ", ".join(name for name, env in ENVIRONMENTS.items() if env.ram_variables)
        raise UsageError(f"nobody has annotated the memory of {game}: there are probes of {known}")
    return variables


def probe_agent(
    trained: TrainedAgent, *, seed: int, stop: StopRequest, tell: Tell, steps: int | None = None
) -> Probing | None:
    """Plays and probes; None if stopped. Every random number is from generators of its own.

    Args:
      trained: plays with its `evaluation_policy`.
      seed: of the episodes, the untrained encoder, and the order in which probes learn.
      stop: looked at before each step, and while probes learn.
      tell: how far it is.
      steps: to play, over all episodes; None: the run's `evaluation.probe_steps`.

    Raises:
      UsageError: nothing is known of the game's memory, or the steps are too few.
      UserError: hardly a variable changed in what was played.
    """
    agent, spec = trained.agent, trained.spec
    steps = trained.config.evaluation.probe_steps if steps is None else steps
    variables = expect_variables(spec.name)
    if steps < LEAST_PROBE_STEPS:
        raise UsageError(f"steps is {steps}, must be at least {LEAST_PROBE_STEPS}")
    if stop.requested:  # emulators take a while to start
        return None
    control = agent.untrained_policy(build.named_seed(seed, "untrained encoder"))
    play = observe_play(
        trained,
        control,
        seed=seed,
        steps=steps,
        stop=stop,
        tell=lambda done: tell("playing", done, steps, "step"),
    )
    if play is None:
        return None
    labels = play.memory[:, [variable.byte for variable in variables]]
    changes = [entropy >= LEAST_ENTROPY for entropy in entropies(labels)]
    asked = [v for v, changing in zip(variables, changes, strict=True) if changing]
    if not asked:
        raise UserError(
            f"none of {len(variables)} variables of {spec.name} changed enough in {steps:,} steps "
            "to be asked for: give more --steps, or train longer"
        )
    whole = split_by_episode(play.episodes, seed=build.named_seed(seed, "probe episodes"))
    split = without_repeated(whole, play.digests).to(agent.device)
    labels = labels[:, changes].to(agent.device)
    encoders = {"encoder": agent.evaluation_policy(), "random_encoder": control}
    found = {}
    for number, (name, features) in enumerate(play.representations.items()):
        if not features.isfinite().all():
            raise UserError(f"the {name.replace('_', ' ')}'s features are not finite: it is broken")
        tell(f"probing {name}", number, len(play.representations), "representation")
        there = (features.to(agent.device), labels, split)
        f1 = classification_f1(*there, seed=seed, stop=stop)
        r2 = regression_r2(*there, stop=stop)
        if stop.requested:
            return None
        readouts = {
            variable.name: Readout(variable.category, *scores)
            for variable, scores in zip(asked, zip(f1, r2, strict=True), strict=True)
        }
        shape = geometry(play, name, encoders.get(name), agent.device, seed=seed)
        found[name] = Representation(*averages(readouts), readouts, **shape)
    return Probing(
        game=spec.name,
        env_frames=trained.env_frames,
        updates=agent.updates,
        seed=seed,
        steps=len(play.memory),
        episodes=len(np.unique(play.episodes)),
        train_steps=len(split.train),
        test_steps=len(split.test),
        repeated_steps=len(whole.test) - len(split.test),
        epsilon=EPSILON,
        protocol=spec.protocol.name if spec.protocol else None,
        dropped=tuple(v.name for v in variables if v not in asked),
        chance=1 / len(_groups(play)[0]),
        representations=found,
    )


def without_repeated(split: Split, digests: NDArray[np.uint64]) -> Split:
    """Leaves steps out of the test whose stack was learned from; not if no other would be left.

    Args:
      split: of N steps.
      digests: uint64[N], of equal stacks equal.
    """
    learned_from = digests[torch.cat([split.train, split.validation]).numpy()]
    fresh = split.test[torch.from_numpy(~np.isin(digests[split.test.numpy()], learned_from))]
    return split._replace(test=fresh) if len(fresh) else split


def geometry(
    play: ObservedPlay, name: str, encoder: Policy | None, device: torch.device, *, seed: int
) -> dict[str, float]:
    """Of a representation: the numbers of `records.probes.Representation` that need no labels.

    Args:
      play: with stacks to look at.
      name: of the representation.
      encoder: what yields it, if that is an encoder: then two views of each stack are compared.
      device: that the encoder is on.
      seed: of the views.
    """
    features = play.representations[name][play.sampled]
    generator = torch.Generator().manual_seed(build.named_seed(seed, "probe views"))
    found: dict[str, list[float]] = {}
    for group in _groups(play):
        measured = {
            "effective_rank": effective_rank(features[group]),
            "mean_share": mean_share(features[group]),
        }
        if encoder is not None:
            stacks = play.stacks[group].to(device)
            measured |= _views_compared(encoder, stacks, generator)
        for key, value in measured.items():
            found.setdefault(key, []).append(float(value))
    return {key: fmean(values) for key, values in found.items()}


def _views_compared(
    encoder: Policy, stacks: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """ReLIC's two views of M stacks: KL(p12 || p21), and how often the other view is nearest."""
    seen = encoder.see(stacks)
    first, second = (
        encoder.features(random_shift_and_intensity(seen, generator=generator)) for _ in range(2)
    )
    loss = relic_loss(
        first, second, first, second, temperature=TEMPERATURE, alpha=0.0, normalize=True
    )
    measured = embedding_metrics((first, second), (second, first), normalize=True)
    return {
        "invariance": loss.invariance,
        "contrastive_accuracy": measured["contrastive_accuracy"],
    }


def _groups(play: ObservedPlay) -> list[Tensor]:
    """Places among the sampled stacks, int64[`COMPARED_STACKS`] or less, each over all of time."""
    sampled = len(play.sampled)
    groups = max(1, sampled // COMPARED_STACKS)
    chosen = torch.linspace(0, sampled - 1, min(sampled, groups * COMPARED_STACKS)).round().long()
    return [chosen[group::groups] for group in range(groups)]
