from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.returns import n_step_double_q_targets, q_lambda_targets
from agents.value_rescaling import rescale, unrescale

EPSILON = 1e-3
NAN = float("nan")


@dataclass
class Sequences:
    """Arguments of the target functions, and the values V[L][B] they are to bootstrap from."""

    rewards: Tensor
    terminated: Tensor
    is_step: Tensor
    online_q: Tensor
    target_q: Tensor

    def arguments(self) -> dict[str, Any]:
        return dict(vars(self))

    def values(self) -> list[list[float]]:
        chosen = self.online_q.argmax(-1).tolist()
        L, B, _ = self.target_q.shape
        return [
            [unrescale(self.target_q[t, b, chosen[t][b]], EPSILON).item() for b in range(B)]
            for t in range(L)
        ]

    def to(self, dtype: torch.dtype) -> "Sequences":
        return replace(
            self,
            rewards=self.rewards.to(dtype),
            online_q=self.online_q.to(dtype),
            target_q=self.target_q.to(dtype),
        )


def one_episode(last_step: int, how: str) -> Sequences:
    """Seven rows with r_t = 2^t and V_t = 100 (t + 1), the episode ending after `last_step`.

    Whatever must not be read is NaN: rewards of rows that are no step, and values after the
    final observation; with termination the final observation's value too.
    """
    L = 7
    row = torch.arange(L)
    is_step = row <= last_step
    rewards = torch.where(is_step, 2.0**row, NAN)
    values = 100.0 * (row + 1)
    values[last_step + (1 if how == "terminated" else 2) :] = NAN
    # Rows that are no step may even claim to terminate.
    terminated = ~is_step if how == "truncated" else row >= last_step
    # Double Q: the online network prefers action 1, whose value the target network holds.
    online_q = torch.tensor([0.0, 1.0, 0.5]).expand(L, 1, 3)
    target_q = torch.full((L, 1, 3), 1e6)
    target_q[:, 0, 1] = rescale(values, EPSILON)
    return Sequences(rewards[:, None], terminated[:, None], is_step[:, None], online_q, target_q)


def n_step_returns(sequences: Sequences, discount: float, n_steps: int) -> Tensor:
    targets = n_step_double_q_targets(
        **sequences.arguments(), discount=discount, n_steps=n_steps, epsilon=EPSILON
    )
    return unrescale(targets, EPSILON)


# n = 3, γ = 1/2, T = 4. The rewards' parts γ^k r_{t+k} are then all equal: r_t each.
# Nothing ends:                      the bootstrap is γ³ V_{t+3} = V_{t+3} / 8
#   G_0 = 1 + 1 + 1 + 400/8 = 53     G_1 = 2 + 2 + 2 + 500/8 = 68.5
#   G_2 = 4 + 4 + 4 + 600/8 = 87     G_3 = 8 + 8 + 8 + 700/8 = 111.5
WHOLE = [53.0, 68.5, 87.0, 111.5]
TERMINATED_AFTER = {
    0: [1.0, 0.0, 0.0, 0.0],  # G_0 = 1
    1: [2.0, 2.0, 0.0, 0.0],  # G_0 = 1 + 1            G_1 = 2
    2: [3.0, 4.0, 4.0, 0.0],  # G_0 = 1 + 1 + 1        G_1 = 2 + 2        G_2 = 4
    3: [53.0, 6.0, 8.0, 8.0],  # G_1 = 2 + 2 + 2       G_2 = 4 + 4        G_3 = 8
    4: [53.0, 68.5, 12.0, 16.0],  # G_2 = 4 + 4 + 4    G_3 = 8 + 8
    5: [53.0, 68.5, 87.0, 24.0],  # G_3 = 8 + 8 + 8
}
TRUNCATED_AFTER = {
    0: [101.0, 0.0, 0.0, 0.0],  # G_0 = 1 + 200/2
    1: [77.0, 152.0, 0.0, 0.0],  # G_0 = 2 + 300/4     G_1 = 2 + 300/2
    2: [53.0, 104.0, 204.0, 0.0],  # G_1 = 4 + 400/4   G_2 = 4 + 400/2
    3: [53.0, 68.5, 133.0, 258.0],  # G_2 = 8 + 500/4  G_3 = 8 + 500/2
    4: [53.0, 68.5, 87.0, 166.0],  # G_3 = 16 + 600/4
    5: WHOLE,  # the final observation is row 6, where G_3 bootstraps anyway
}


def test_n_step_mid_episode_matches_hand_worked_returns() -> None:
    sequences = one_episode(last_step=6, how="truncated")

    returns = n_step_returns(sequences, discount=0.5, n_steps=3)

    assert returns.flatten().tolist() == pytest.approx(WHOLE, rel=1e-5)


@pytest.mark.parametrize(("last_step", "expected"), TERMINATED_AFTER.items())
def test_n_step_bootstraps_nothing_past_termination(last_step: int, expected: list[float]) -> None:
    sequences = one_episode(last_step, "terminated")

    returns = n_step_returns(sequences, discount=0.5, n_steps=3)

    assert returns.flatten().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("last_step", "expected"), TRUNCATED_AFTER.items())
def test_n_step_bootstraps_the_final_observation_of_a_truncated_episode(
    last_step: int, expected: list[float]
) -> None:
    sequences = one_episode(last_step, "truncated")

    returns = n_step_returns(sequences, discount=0.5, n_steps=3)

    assert returns.flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_q_lambda_matches_hand_worked_returns() -> None:
    # λ = γ = 1/2, so G_t = r_t + V_{t+1}/4 + G_{t+1}/4. Terminated after row 3, n = 3, T = 4:
    #   G_3 = 8          G_2 = 4 + 400/4 + 8/4 = 106      G_1 = 2 + 300/4 + 106/4 = 103.5
    #   G_0 = 1 + 200/4 + 103.5/4 = 76.875
    # Truncated after row 3 (G_4 = V_4 = 500):
    #   G_3 = 8 + 500/2 = 258    G_2 = 4 + 400/4 + 258/4 = 168.5
    #   G_1 = 2 + 300/4 + 168.5/4 = 119.125      G_0 = 1 + 200/4 + 119.125/4 = 80.78125
    constants: dict[str, Any] = {"discount": 0.5, "n_steps": 3, "lambda_": 0.5, "epsilon": EPSILON}
    ended = q_lambda_targets(**one_episode(3, "terminated").arguments(), **constants)
    cut = q_lambda_targets(**one_episode(3, "truncated").arguments(), **constants)

    assert unrescale(ended, EPSILON).flatten().tolist() == pytest.approx(
        [76.875, 103.5, 106.0, 8.0], rel=1e-5
    )
    assert unrescale(cut, EPSILON).flatten().tolist() == pytest.approx(
        [80.78125, 119.125, 168.5, 258.0], rel=1e-5
    )


def test_targets_use_the_online_network_to_choose_and_the_target_network_to_value() -> None:
    sequences = one_episode(last_step=6, how="truncated")
    other_choice = replace(sequences, online_q=sequences.online_q.roll(1, dims=-1))

    # The other actions are worth 10^6 rescaled: the plain maximum would have shown above.
    assert n_step_returns(other_choice, 0.5, 3).min() > 1e6


@st.composite
def random_sequences(draw: st.DrawFn) -> tuple[Sequences, int]:
    n_steps = draw(st.integers(1, 6))
    T = draw(st.integers(1, 8))
    L, B, A = T + n_steps, draw(st.integers(1, 3)), 3
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    is_step = torch.zeros(L, B, dtype=torch.bool)
    terminated = torch.zeros(L, B, dtype=torch.bool)
    for b in range(B):
        first = draw(st.integers(0, L - 1))
        last = draw(st.integers(first, L - 1))
        is_step[first : last + 1, b] = True
        terminated[last, b] = draw(st.booleans())
    return Sequences(
        rewards=10 * torch.randn(L, B, generator=generator, dtype=torch.float64),
        terminated=terminated,
        is_step=is_step,
        online_q=torch.randn(L, B, A, generator=generator, dtype=torch.float64),
        target_q=10 * torch.randn(L, B, A, generator=generator, dtype=torch.float64),
    ), n_steps


def k_step_return(s: Sequences, V: list[list[float]], t: int, b: int, k: int, γ: float) -> float:
    total = sum(γ**j * s.rewards[t + j, b].item() for j in range(k))
    if s.terminated[t + k - 1, b]:
        return total
    return total + γ**k * V[t + k][b]


def steps_ahead(s: Sequences, t: int, b: int) -> int:
    """How many steps from row t on are in the sequence before its episode or its rows end."""
    k = 0
    while t + k < len(s.rewards) - 1 and s.is_step[t + k, b]:
        k += 1
        if s.terminated[t + k - 1, b]:
            break
    return k


@settings(derandomize=True, deadline=None, max_examples=150)
@given(random_sequences(), st.sampled_from([0.0, 0.9, 0.997, 1.0]))
def test_n_step_equals_a_naive_double_loop(drawn: tuple[Sequences, int], γ: float) -> None:
    sequences, n_steps = drawn
    V = sequences.values()
    T, B = len(V) - n_steps, len(V[0])

    targets = n_step_double_q_targets(
        **sequences.arguments(), discount=γ, n_steps=n_steps, epsilon=EPSILON
    )

    assert targets.shape == (T, B)
    for t in range(T):
        for b in range(B):
            m = min(n_steps, steps_ahead(sequences, t, b))
            expected = k_step_return(sequences, V, t, b, m, γ) if m else 0.0
            assert unrescale(targets[t, b], EPSILON).item() == pytest.approx(expected, rel=1e-9)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(random_sequences(), st.sampled_from([0.9, 0.997]), st.sampled_from([0.0, 0.3, 0.95, 1.0]))
def test_q_lambda_equals_the_mixture_of_k_step_returns(
    drawn: tuple[Sequences, int], γ: float, λ: float
) -> None:
    sequences, n_steps = drawn
    V = sequences.values()
    T, B = len(V) - n_steps, len(V[0])

    targets = q_lambda_targets(
        **sequences.arguments(), discount=γ, n_steps=n_steps, lambda_=λ, epsilon=EPSILON
    )

    for t in range(T):
        for b in range(B):
            K = steps_ahead(sequences, t, b)
            # The forward view: G = (1 - λ) Σ_{k<K} λ^(k-1) G^(k) + λ^(K-1) G^(K).
            expected = 0.0
            for k in range(1, K + 1):
                weight = λ ** (k - 1) * (1.0 if k == K else 1 - λ)
                expected += weight * k_step_return(sequences, V, t, b, k, γ)
            assert unrescale(targets[t, b], EPSILON).item() == pytest.approx(
                expected, rel=1e-8, abs=1e-9
            )


def test_q_lambda_of_zero_is_the_one_step_target() -> None:
    sequences = one_episode(3, "truncated")
    one_more_row: dict[str, Any] = {"discount": 0.9, "epsilon": EPSILON}
    first_rows = {name: tensor[:5] for name, tensor in sequences.arguments().items()}

    one_step = n_step_double_q_targets(**first_rows, n_steps=1, **one_more_row)
    traced = q_lambda_targets(**sequences.arguments(), n_steps=3, lambda_=0.0, **one_more_row)

    assert torch.allclose(one_step, traced, rtol=1e-6)


def test_float32_targets_agree_with_float64_to_1e_6() -> None:
    generator = torch.Generator().manual_seed(0)
    L, B, A = 45, 16, 6
    exact = Sequences(
        rewards=100 * torch.rand(L, B, generator=generator, dtype=torch.float64),
        terminated=torch.zeros(L, B, dtype=torch.bool),
        is_step=torch.ones(L, B, dtype=torch.bool),
        online_q=torch.rand(L, B, A, generator=generator, dtype=torch.float64),
        target_q=20 * torch.rand(L, B, A, generator=generator, dtype=torch.float64),
    )
    constants: dict[str, Any] = {"discount": 0.997, "n_steps": 5}

    rounded = n_step_double_q_targets(**exact.to(torch.float32).arguments(), **constants)
    expected = n_step_double_q_targets(**exact.arguments(), **constants)

    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("traced", [False, True])
def test_targets_carry_no_gradient(traced: bool) -> None:
    sequences = one_episode(6, "truncated")
    sequences.target_q.requires_grad_()
    constants: dict[str, Any] = {"discount": 0.9, "n_steps": 3}

    if traced:
        targets = q_lambda_targets(**sequences.arguments(), lambda_=0.5, **constants)
    else:
        targets = n_step_double_q_targets(**sequences.arguments(), **constants)

    assert not targets.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "n_steps is 0"),
        ({"n_steps": 7}, r"rewards has shape \(7, 1\).*n_steps = 7"),
        ({"discount": 1.5}, r"discount is 1\.5"),
        ({"terminated": torch.zeros(6, 1)}, r"terminated has shape \(6, 1\), must be \(7, 1\)"),
        ({"is_step": torch.zeros(7, 2)}, r"is_step has shape \(7, 2\), must be \(7, 1\)"),
        ({"online_q": torch.zeros(7, 2, 3)}, r"online_q has shape \(7, 2, 3\)"),
        (
            {"target_q": torch.zeros(7, 1, 4)},
            r"target_q has shape \(7, 1, 4\), must be \(7, 1, 3\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    arguments = one_episode(6, "truncated").arguments() | {"discount": 0.9, "n_steps": 3} | change

    with pytest.raises(ValueError, match=message):
        n_step_double_q_targets(**arguments)


def test_lambda_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lambda_ is -0\.1"):
        q_lambda_targets(
            **one_episode(6, "truncated").arguments(), discount=0.9, n_steps=3, lambda_=-0.1
        )
