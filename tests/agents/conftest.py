"""A small agent and made-up batches: 36x36 frames, 5 actions, burn-in 4, unroll 8, n = 2."""

import os
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import pytest
import torch
from torch import Tensor

from agents.agent import R2D2Agent
from agents.interface import EnvShape, RecurrentState, TrainingBatch
from agents.options import LearnerOptions, NetworkOptions
from agents.representation.options import RepresentationOptions

ACTIONS, STACK, SIZE, LSTM = 5, 4, 36, 12
BURN_IN, UNROLL, N_STEPS = 4, 8, 2
ROWS = BURN_IN + UNROLL + N_STEPS


DEVICES: list[Any] = ["cpu"]
if os.environ.get("RELIC_RL_TEST_CUDA"):
    DEVICES = [pytest.param("cuda", marks=pytest.mark.cuda)]


class Column(NamedTuple):
    """One sequence of a batch."""

    has_burn_in: bool = True
    steps: int = UNROLL + N_STEPS
    """Steps after the burn-in; fewer than `UNROLL + N_STEPS`: the episode ended there."""
    terminated: bool = False


COLUMNS = (
    Column(),
    Column(has_burn_in=False),
    Column(steps=3, terminated=True),
    Column(steps=3),  # truncated
    Column(steps=UNROLL + 1, terminated=True),
    Column(has_burn_in=False, steps=1),
)


class MakeAgent(Protocol):
    def __call__(self, *, seed: int = 0, **changes: Any) -> Any:
        """An agent; `changes` are fields of its option records, set in each that has them."""


class MakeBatch(Protocol):
    def __call__(self, columns: tuple[Column, ...] = COLUMNS, seed: int = 0) -> TrainingBatch:
        """A batch of random sequences of those kinds."""


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Where agents compute; the same tests are run on a CPU and on a GPU."""
    return str(request.param)


@pytest.fixture
def make_agent(device: str) -> MakeAgent:
    return partial(_make_agent, device=device)


@pytest.fixture
def make_batch(device: str) -> MakeBatch:
    def make(columns: tuple[Column, ...] = COLUMNS, seed: int = 0) -> TrainingBatch:
        return moved(_make_batch(columns, seed), device)

    return make


def moved(batch: TrainingBatch, device: str) -> TrainingBatch:
    """A batch on the device."""
    there = (
        RecurrentState(*[t.to(device) for t in p]) if isinstance(p, tuple) else p.to(device)
        for p in batch
    )
    return TrainingBatch(*there)._replace(is_step_on_host=batch.is_step_on_host)


def _make_agent(*, device: str = "cpu", seed: int = 0, **changes: Any) -> R2D2Agent:
    options: dict[str, Any] = {
        "network": NetworkOptions(
            frame_stack=STACK, channels=(4, 8, 8), features=16, lstm=LSTM, hidden=10
        ),
        "learner": LearnerOptions(
            segment_steps=BURN_IN,
            burn_in_steps=BURN_IN,
            unroll_steps=UNROLL,
            n_steps=N_STEPS,
            discount=0.9,
            learning_rate=1e-3,
            adam_epsilon=1e-5,
            target_period_updates=1000,
            diagnostics_every_updates=0,
        ),
        "representation": RepresentationOptions(
            arm="none",
            temperature=0.1,
            normalize=True,
            stacks_per_sequence=2,
            learning_rate=2e-3,
            adam_epsilon=1e-4,
        ),
    }
    unused = set(changes)
    for name, record in options.items():
        mine = {item.name for item in fields(record)} & set(changes)
        options[name] = replace(record, **{key: changes[key] for key in mine})
        unused -= mine
    assert not unused, unused
    return R2D2Agent(
        EnvShape(ACTIONS, SIZE, SIZE),
        **options,
        priority_mix=0.9,
        device=torch.device(device),
        seed=seed,
    )


def _make_batch(columns: tuple[Column, ...] = COLUMNS, seed: int = 0) -> TrainingBatch:
    generator = torch.Generator().manual_seed(seed)
    B = len(columns)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    is_step = torch.zeros(ROWS, B, dtype=torch.bool)
    terminated = torch.zeros(ROWS, B, dtype=torch.bool)
    is_row = torch.zeros(ROWS, B, dtype=torch.bool)  # a step, or an episode's final observation
    for b, column in enumerate(columns):
        first, end = 0 if column.has_burn_in else BURN_IN, BURN_IN + column.steps
        is_step[first:end, b] = True
        terminated[end - 1, b] = column.terminated
        is_row[first : end + 1, b] = True
    # Blocks of 6x6 equal pixels: a shift by up to 4 leaves them alike, as it does with games.
    blocks = integers(0, 256, ROWS + STACK - 1, B, SIZE // 6, SIZE // 6).to(torch.uint8)
    frames = blocks.repeat_interleave(6, dim=2).repeat_interleave(6, dim=3)
    frames[STACK - 1 :] *= is_row[..., None, None]
    state = RecurrentState(0.5 * normal(B, LSTM), normal(B, LSTM))
    has_burn_in = torch.tensor([column.has_burn_in for column in columns])
    unroll_state = RecurrentState(0.5 * normal(B, LSTM), normal(B, LSTM))
    return TrainingBatch(
        frames=frames,
        previous_actions=torch.where(is_row, integers(-1, ACTIONS, ROWS, B), -1),
        previous_rewards=normal(ROWS, B) * is_row,
        actions=integers(0, ACTIONS, ROWS, B) * is_step,
        rewards=3.0 * normal(ROWS, B) * is_step,
        terminated=terminated,
        is_step=is_step,
        has_burn_in=has_burn_in,
        state=RecurrentState.where(has_burn_in, state, unroll_state),
        unroll_state=unroll_state,
        weights=torch.rand(B, generator=generator) * 0.8 + 0.2,
        is_step_on_host=is_step,
    )
