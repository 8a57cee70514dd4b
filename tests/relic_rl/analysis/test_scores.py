import itertools

import numpy as np
import pytest
import rliable.metrics

from envs.games import ATARI57
from relic_rl.analysis.scores import (
    ROW_LABELS,
    aggregate,
    human_normalized,
    mean_share_over_games,
    performance_profile,
    probability_of_improvement,
)


@pytest.fixture
def three_seeds():
    """Raw scores of four games with three seeds each, HNS about 0.2 to 3."""
    generator = np.random.default_rng(7)
    games = [ATARI57[name] for name in ("Pong", "Breakout", "Seaquest", "Hero")]
    return {
        game.name: list(game.random + (game.human - game.random) * generator.uniform(0.2, 3, 3))
        for game in games
    }


def normalized_matrix(scores):
    columns = [[human_normalized(game, score) for score in scores[game]] for game in scores]
    return np.array(columns).T


def test_human_normalized_score_of_pong_by_hand():
    # Pong: random -20.7, human 14.6; (21 + 20.7) / (14.6 + 20.7) = 41.7 / 35.3.
    assert human_normalized("Pong", 21.0) == pytest.approx(41.7 / 35.3, rel=1e-12)
    assert human_normalized("ALE/Pong-v5", 14.6) == 1.0
    assert human_normalized("pong", -20.7) == 0.0


def test_aggregate_names_the_games_without_scores_and_counts_them_nowhere():
    result = aggregate({"ms_pacman": 6951.6, "Pong": -20.7, "Hero": []})

    assert result.games == ("MsPacman", "Pong")
    assert len(result.missing) == 55
    assert "Hero" in result.missing
    assert result.mean == pytest.approx(50.0)


def test_capped_mean_counts_worse_than_random_as_zero():
    # HNS of Pong at -20.7 - 35.3 = -56 is -1; of Freeway at 29.6 it is 1.
    result = aggregate({"Pong": -56.0, "Freeway": 29.6})

    assert result.capped_mean == pytest.approx(50.0)
    assert result.mean == pytest.approx(0.0, abs=1e-9)


def test_a_game_at_exactly_the_humans_score_counts_as_superhuman():
    assert aggregate({"Pong": 14.5, "Freeway": 29.6}).superhuman_games == 1


@pytest.mark.parametrize("poorest", [[21.0], [21.0, 20.0]])
def test_fewer_than_three_seeds_of_a_single_game_give_no_interval(three_seeds, poorest):
    scores = {**three_seeds, "Pong": poorest}

    assert aggregate(scores).intervals is None
    assert aggregate(scores).seeds == len(poorest)
    assert performance_profile(scores, [0.5]).low is None
    for sides in ((scores, three_seeds), (three_seeds, scores)):
        estimate = probability_of_improvement(*sides)
        assert (estimate.low, estimate.high) == (None, None)


def test_seeds_are_averaged_per_game_before_the_papers_rows(three_seeds):
    means = {game: float(np.mean(scores)) for game, scores in three_seeds.items()}

    with_seeds, with_means = aggregate(three_seeds).rows(), aggregate(means).rows()

    for name in ROW_LABELS.keys() - {"iqm", "optimality_gap"}:
        assert with_seeds[name] == pytest.approx(with_means[name], rel=1e-12)


@pytest.mark.parametrize("games", [3, 4])
def test_iqm_and_optimality_gap_equal_rliable(three_seeds, games):
    # Of 9 runs rliable cuts 2 off either end, and no quarter of a third.
    three_seeds = dict(list(three_seeds.items())[:games])
    matrix = normalized_matrix(three_seeds)

    result = aggregate(three_seeds)

    assert result.iqm == pytest.approx(100 * rliable.metrics.aggregate_iqm(matrix), rel=1e-12)
    gap = rliable.metrics.aggregate_optimality_gap(matrix)
    assert result.optimality_gap == pytest.approx(100 * gap, rel=1e-12)


def test_probability_of_improvement_equals_rliable(three_seeds):
    worse = {game: [score - 0.5 for score in scores[:2]] for game, scores in three_seeds.items()}

    estimate = probability_of_improvement(three_seeds, worse)

    expected = rliable.metrics.probability_of_improvement(
        normalized_matrix(three_seeds), normalized_matrix(worse)
    )
    assert estimate.value == pytest.approx(expected, rel=1e-12)


def test_interval_of_the_probability_of_improvement_equals_a_naive_bootstrap(three_seeds):
    # Of the other side's runs of a game, one is like ours, one far below, one far above.
    other = {game: [scores[0], scores[1] - 1e6, 1e6] for game, scores in three_seeds.items()}
    generator = np.random.default_rng(0)
    naive = []
    for _ in range(4000):
        pairs = [
            np.sign(generator.choice(ours, 3)[:, None] - generator.choice(theirs, 3)).mean()
            for ours, theirs in zip(three_seeds.values(), other.values(), strict=True)
        ]
        naive.append(0.5 + 0.5 * np.mean(pairs))
    low, high = np.percentile(naive, [2.5, 97.5])

    estimate = probability_of_improvement(three_seeds, other)

    assert estimate.low < estimate.value < estimate.high
    # Monte Carlo quantiles of 4000 and of 2000 draws, of a number in steps of 1 / 72.
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=2 / 72)


def test_probability_of_improvement_over_itself_is_one_half(three_seeds):
    assert probability_of_improvement(three_seeds, three_seeds).value == pytest.approx(0.5)


def test_probability_of_improvement_uses_the_common_games_only():
    estimate = probability_of_improvement({"Pong": 21.0, "Hero": 0.0}, {"pong": 0.0})

    assert estimate.value == 1.0
    with pytest.raises(ValueError, match="no game"):
        probability_of_improvement({"Pong": 21.0}, {"Hero": 0.0})


def test_performance_profile_is_the_fraction_of_runs_above_each_threshold():
    # Freeway: random 0, human 29.6: HNS 0.5, 1, 1.5 of three seeds.
    profile = performance_profile({"Freeway": [14.8, 29.6, 44.4]}, [0.0, 0.75, 1.0, 2.0])

    assert profile.value == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    assert (profile.low <= profile.value).all()
    assert (profile.high >= profile.value).all()


def test_same_scores_give_the_same_interval_whatever_the_global_generator_does(three_seeds):
    np.random.seed(0)
    first = aggregate(three_seeds).intervals
    np.random.seed(1)
    second = aggregate(three_seeds).intervals

    assert first == second
    assert first.keys() == ROW_LABELS.keys()


def test_other_scores_give_another_interval(three_seeds):
    other = {**three_seeds, "Pong": [score + 1 for score in three_seeds["Pong"]]}

    assert aggregate(three_seeds).intervals["iqm"] != aggregate(other).intervals["iqm"]


@pytest.mark.parametrize("more", [{}, {"Pong": [-20.0, 5.0, 9.0, 30.0, 31.0]}])
def test_interval_of_the_mean_equals_a_naive_stratified_bootstrap(three_seeds, more):
    scores = {**three_seeds, **more}
    generator = np.random.default_rng(0)
    columns = [[human_normalized(game, score) for score in seeds] for game, seeds in scores.items()]
    naive = []
    for _ in range(4000):
        games = [generator.choice(column, len(column)) for column in columns]
        naive.append(100 * np.mean([np.mean(game) for game in games]))
    low, high = np.percentile(naive, [2.5, 97.5])

    interval = aggregate(scores, repetitions=4000).intervals["mean"]

    # Two Monte Carlo quantiles of 4000 draws each: a few percent of the width apart.
    assert interval == pytest.approx((low, high), abs=0.05 * (high - low))


def test_an_interval_is_of_all_the_seeds_that_its_number_is_of(three_seeds):
    # The first three of Pong, as many as the other games have, are its worst.
    unequal = {**three_seeds, "Pong": [-20.0, -20.0, -20.0, *[20.0] * 6]}

    result = aggregate(unequal)
    profile = performance_profile(unequal, [0.5])

    assert result.seeds == 3
    for name, value in result.rows().items():
        low, high = result.intervals[name]
        assert low <= value <= high, name
    assert profile.value == pytest.approx([(6 / 9 + above_half(three_seeds)) / 4])
    assert profile.low <= profile.value <= profile.high


def above_half(scores):
    """Of the games but Pong, the sum of the fractions of seeds with an HNS above 0.5."""
    matrix = normalized_matrix({game: s for game, s in scores.items() if game != "Pong"})
    return (matrix > 0.5).mean(axis=0).sum()


def test_every_game_weighs_the_same_however_many_seeds_it_has():
    # Freeway: random 0, human 29.6; Pong: random -20.7, human 14.6. HNS 0 and 1, and 2 to 5.
    pong = [-20.7 + 35.3 * hns for hns in (2, 3, 4, 5)]
    result = aggregate({"Freeway": [0.0, 29.6], "Pong": pong})

    # Runs weigh 1/4, 1/4, and 1/8 each. Of six, one's share of the weight goes off either end: 1/6.
    # Left of 0 is 1/12; 5 goes with its 1/8, and 4 keeps 1/8 - 1/24 = 1/12.
    expected = (0 / 12 + 1 / 4 + 2 / 8 + 3 / 8 + 4 / 12) / (2 / 3)
    assert result.iqm == pytest.approx(100 * expected, rel=1e-12)
    # Freeway stays one half below the human on average, Pong not at all.
    assert result.optimality_gap == pytest.approx(25.0)
    assert result.mean == pytest.approx(100 * (0.5 + 3.5) / 2)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"Pong": float("nan")}, "Pong"),
        ({"Pong": 1.0, "pong": 2.0}, "Pong twice"),
        ({}, "no scores"),
    ],
)
def test_scores_that_cannot_count_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        aggregate(scores)


def test_a_share_is_of_means_and_its_interval_draws_both_sides_of_a_seed():
    pairs = {"a": [(5.0, 10.0), (3.0, 20.0), (30.0, 30.0)], "b": [(1.0, 4.0)] * 4}
    found = mean_share_over_games(pairs)

    assert found.value == pytest.approx((38 / 60 + 1 / 4) / 2)
    drawn = [  # all 27 draws of three seeds; of `b` every draw keeps a quarter
        (sum(part for part, _ in draw) / sum(whole for _, whole in draw) + 1 / 4) / 2
        for draw in itertools.product(pairs["a"], repeat=3)
    ]
    # Either bound is a draw that occurs about 1 in 27 times, and so more than 2.5 % of them.
    assert (found.low, found.high) == pytest.approx((min(drawn), max(drawn)))


def test_a_share_whose_whole_may_be_nothing_has_no_interval():
    found = mean_share_over_games({"a": [(0.0, 0.0), (10.0, 20.0), (10.0, 20.0)]})

    assert (float(found.value), found.low, found.high) == (0.5, None, None)
