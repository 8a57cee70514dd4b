import pytest
import torch

from agents.exploration import epsilon_greedy, epsilon_ladder


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ladder_equals_the_published_formula() -> None:
    lanes = 256
    published = [0.4 ** (1 + 7 * i / (lanes - 1)) for i in range(lanes)]

    ladder = epsilon_ladder(lanes, 0.4, 7.0)

    assert ladder.dtype == torch.float32
    assert ladder.tolist() == pytest.approx(published, rel=1e-6)


def test_ladder_ends_are_base_and_its_eighth_power() -> None:
    ladder = epsilon_ladder(5, 0.4, 7.0)

    assert ladder[0].item() == pytest.approx(0.4)
    assert ladder[-1].item() == pytest.approx(0.00065536)  # 0.4^8


def test_ladder_of_one_lane_is_base() -> None:
    assert epsilon_ladder(1, 0.25, 7.0).tolist() == [0.25]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lanes": 0}, "lanes is 0"),
        ({"lanes": 2, "base": 0.0}, r"base is 0\.0"),
        ({"lanes": 2, "exponent": -1.0}, r"exponent is -1\.0"),
    ],
)
def test_ladder_refuses_arguments_out_of_range(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epsilon_ladder(**({"base": 0.4, "exponent": 7.0} | arguments))  # type: ignore[arg-type]


def test_greedy_lanes_take_the_best_action_and_ties_the_first() -> None:
    q = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 2.0]]).repeat(500, 1)

    actions = epsilon_greedy(q, torch.zeros(1000), seeded(0))

    assert actions.dtype == torch.int64
    assert actions.tolist() == [1, 0] * 500


def test_lanes_that_always_explore_are_uniform_over_all_actions() -> None:
    q = torch.tensor([[9.0, 0.0, 0.0, 0.0]]).expand(40_000, 4)

    counts = epsilon_greedy(q, torch.ones(40_000), seeded(0)).bincount(minlength=4)

    # Standard deviation of a count: sqrt(40000 * 1/4 * 3/4) = 87.
    assert (counts - 10_000).abs().max() < 4 * 87


def test_each_lane_explores_at_its_own_rate() -> None:
    lanes = 40_000
    q = torch.tensor([[9.0, 0.0, 0.0, 0.0]]).expand(2 * lanes, 4)
    epsilon = torch.tensor([0.4] * lanes + [0.04] * lanes)

    others = epsilon_greedy(q, epsilon, seeded(0)) != 0

    # Of the explored, 3 in 4 are not the greedy action: 0.3 and 0.03, +- 4 standard deviations.
    assert others[:lanes].float().mean().item() == pytest.approx(0.3, abs=4 * 0.0023)
    assert others[lanes:].float().mean().item() == pytest.approx(0.03, abs=4 * 0.00085)


def test_same_seed_gives_equal_actions_and_another_seed_others() -> None:
    q, epsilon = torch.zeros(100, 6), torch.full((100,), 0.5)

    first, again, other = (epsilon_greedy(q, epsilon, seeded(s)) for s in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_drawn_does_not_depend_on_q_or_epsilon() -> None:
    one, two = seeded(0), seeded(0)
    epsilon_greedy(torch.zeros(10, 6), torch.zeros(10), one)
    epsilon_greedy(torch.randn(10, 6, generator=seeded(3)), torch.ones(10), two)

    assert torch.equal(one.get_state(), two.get_state())


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"q has shape \(3, 2\) and epsilon \(2,\)"):
        epsilon_greedy(torch.zeros(3, 2), torch.zeros(2), seeded(0))
