"""Linear probes: against float64 twins, by hand, on what is known exactly, and on what is not."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.atari import AtariLanes
from envs.ram import ram_variables
from envs.toy import MemoryLanes
from relic_rl.evaluation.linear_probe import (
    STRENGTHS,
    Split,
    classification_f1,
    entropies,
    regression_r2,
    split_by_episode,
    weighted_f1,
)
from relic_rl.stop import StopRequest


def thirds(rows: int) -> Split:
    part = rows // 3
    places = torch.arange(rows)
    return Split(places[:part], places[part : 2 * part], places[2 * part :])


def shuffled(labels: Tensor) -> Tensor:
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def f1_of(features: Tensor, labels: Tensor, split: Split) -> list[float]:
    return classification_f1(features, labels, split, seed=0, stop=StopRequest())


# --- the parts ------------------------------------------------------------------------------------


def test_no_episode_is_in_two_parts_and_none_is_lost() -> None:
    rng = np.random.default_rng(0)
    episodes = np.repeat(np.arange(40), rng.integers(1, 60, size=40))
    rng.shuffle(episodes)
    split = split_by_episode(episodes, seed=3)
    parts = [set(episodes[part.numpy()].tolist()) for part in split]

    assert sorted(torch.cat(list(split)).tolist()) == list(range(len(episodes)))
    assert not parts[0] & (parts[1] | parts[2])
    assert not parts[1] & parts[2]
    shares = [len(part) / len(episodes) for part in split]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.06)


@pytest.mark.parametrize("lengths", [(5, 5, 5), (100, 1, 1), (1, 1, 100), (9, 9, 9, 9)])
def test_every_part_has_an_episode_if_there_are_three(lengths: tuple[int, ...]) -> None:
    episodes = np.repeat(np.arange(len(lengths)), lengths)

    for seed in range(10):
        assert all(len(part) for part in split_by_episode(episodes, seed=seed))


# --- the maths ------------------------------------------------------------------------------------


def test_f1_by_hand() -> None:
    # 1: predicted 2, actual 3, hits 2: 4/5. 2: predicted 2, actual 1, hits 1: 2/3. 7: missed. 9: 0.
    actual = torch.tensor([1, 1, 1, 2, 7], dtype=torch.uint8)
    predicted = torch.tensor([1, 1, 2, 2, 9], dtype=torch.uint8)

    assert weighted_f1(predicted, actual) == pytest.approx((3 * 4 / 5 + 2 / 3 + 0) / 5)
    assert weighted_f1(actual, actual) == 1.0
    assert weighted_f1(actual + 1, actual) == 0.0


def test_entropy_is_in_nats() -> None:
    labels = torch.tensor([[0, 5], [1, 5], [0, 5], [1, 5]], dtype=torch.uint8)

    assert entropies(labels) == pytest.approx([np.log(2), 0.0])


def twin_r2(x: NDArray[np.float64], y: NDArray[np.float64], split: Split) -> float:
    """One target: the normal equations solved outright for each strength, step by step."""
    train, validation, test = (part.numpy() for part in split)
    x = (x - x[train].mean(0)) / x[train].std(0)
    best, answer = np.inf, np.nan
    for strength in STRENGTHS:
        A = x[train].T @ x[train] + len(train) * strength * np.eye(x.shape[1])
        w = np.linalg.solve(A, x[train].T @ (y[train] - y[train].mean()))
        said = x @ w + y[train].mean()
        error = ((said - y)[validation] ** 2).mean()
        if error < best:
            best = error
            residual = ((said - y)[test] ** 2).sum()
            answer = 1 - residual / ((y[test] - y[test].mean()) ** 2).sum()
    return float(answer)


def test_the_regression_is_that_of_its_twin() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 20)) * rng.uniform(0.1, 9, size=20) + 5
    y = x[:, :3] @ rng.normal(size=(3, 2)) + rng.normal(size=(90, 2)) * [0.1, 5.0]
    split = thirds(90)
    found = regression_r2(torch.from_numpy(x), torch.from_numpy(y), split, stop=StopRequest())

    assert found == pytest.approx([twin_r2(x, y[:, v], split) for v in range(2)], rel=1e-9)


def test_a_feature_that_never_varies_in_training_says_nothing_and_one_value_has_no_r2() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=rng)
    y = torch.stack([x[:, 0], torch.ones(60)], dim=1)
    dead = torch.cat([torch.zeros(40, 1), 1e6 * torch.ones(20, 1)])  # 0 in training, then huge
    split = thirds(60)
    with_dead, without = (
        regression_r2(f, y, split, stop=StopRequest()) for f in (torch.cat([x, dead], 1), x)
    )

    assert with_dead[0] == pytest.approx(without[0])
    assert with_dead[1] is without[1] is None


def test_a_classifier_tells_values_that_lie_in_directions_of_their_own() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(6, (900, 2), generator=rng).to(torch.uint8) * 40
    codes = torch.randn(256, 16, generator=rng)
    features = torch.cat([codes[labels[:, v].long()] for v in range(2)], dim=1)
    features += 0.1 * torch.randn(features.shape, generator=rng)

    assert min(f1_of(features, labels, thirds(900))) > 0.99
    assert max(f1_of(features, shuffled(labels), thirds(900))) < 0.3


def test_a_value_that_training_lacks_is_never_said_and_counts_as_missed() -> None:
    labels = torch.tensor([3, 4] * 30, dtype=torch.uint8)[:, None]
    labels[40::4] = 200  # in the test only: half of its 3s
    features = torch.nn.functional.one_hot(labels[:, 0].long(), 256).float()

    # 4 is always right. A 200 looks like nothing known: it is taken for a 3 or a 4.
    (found,) = f1_of(features, labels, thirds(60))
    assert 0.4 < found < 0.85


def test_the_same_seed_gives_the_same_bits_and_the_global_generator_is_left_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(300, 8, generator=rng)
    labels = (features[:, :2] > 0).to(torch.uint8)
    before = torch.get_rng_state()

    assert f1_of(features, labels, thirds(300)) == f1_of(features, labels, thirds(300))
    assert torch.equal(torch.get_rng_state(), before)


# --- states that are known exactly ----------------------------------------------------------------


def test_a_classifier_knows_the_cue_from_the_raw_state_and_from_shuffled_labels_only_guesses() -> (
    None
):
    state, episodes, _ = toy_memory()
    split, cues = split_by_episode(episodes, seed=0), state[:, :1]

    assert f1_of(state.float(), cues, split) == [1.0]
    assert f1_of(state.float(), shuffled(cues), split)[0] < 0.7


def toy_memory() -> tuple[Tensor, NDArray[np.int64], list[int]]:
    env = MemoryLanes(8, seed=0)
    env.reset()
    ram = env.ram()
    told, episodes = [], []
    for step in range(80):
        told.append(ram.read())
        episodes.append(np.arange(8) + 8 * (step // 8))
        env.step(np.zeros(8, np.int64))
    return torch.from_numpy(np.concatenate(told)), np.concatenate(episodes), [0, 1]


def pong_memory() -> tuple[Tensor, NDArray[np.int64], list[int]]:
    env = AtariLanes("pong", 4, 0, "noop", action_set="minimal", reseed_steps=0)
    env.reset()
    ram = env.ram()
    rng = np.random.default_rng(0)
    told = []
    for _ in range(250):
        told.append(ram.read())
        actions = rng.integers(6, size=4)
        ram.follow(actions, env.step(actions))
    ball = [v.byte for v in ram_variables()["Pong"] if v.name in ("ball_x", "ball_y")]
    return torch.from_numpy(np.concatenate(told)), np.tile(np.arange(4), 250), ball


@pytest.mark.parametrize("memory", [toy_memory, pong_memory])
def test_from_the_raw_state_a_probe_knows_the_state_and_from_shuffled_labels_nothing(
    memory: object,
) -> None:
    state, episodes, asked = memory()  # type: ignore[operator]
    split = split_by_episode(episodes, seed=0)
    known = regression_r2(state.float(), state[:, asked], split, stop=StopRequest())
    unknown = regression_r2(state.float(), shuffled(state[:, asked]), split, stop=StopRequest())

    assert min(r2 or 0.0 for r2 in known) > 0.99
    assert max(r2 or 0.0 for r2 in unknown) < 0.05
