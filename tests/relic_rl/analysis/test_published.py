"""The published scores: complete, and the source of the aggregates that papers print."""

import numpy as np
import pytest

from envs.games import ATARI57, GAME_SETS
from relic_rl.analysis.published import METHODS, find_methods, published_scores
from relic_rl.analysis.report import read_report
from relic_rl.analysis.scores import aggregate

# Mitrovic et al., ICLR 2021, Table 4, as printed.
TABLE_4_ROWS = (
    "capped_mean",
    "superhuman_games",
    "mean",
    "median",
    "percentile_40",
    "percentile_30",
    "percentile_20",
    "percentile_10",
    "percentile_5",
)
TABLE_4 = {
    "relic": (91.46, 51, 3003.73, 832.50, 356.27, 202.49, 133.93, 83.79, 20.87),
    "simclr": (88.76, 49, 2086.16, 592.83, 266.07, 174.19, 120.84, 37.19, 12.74),
    "curl": (90.72, 49, 2413.12, 819.56, 409.46, 190.96, 126.10, 59.09, 20.56),
    "byol": (89.43, 49, 1769.43, 483.39, 224.80, 150.21, 118.36, 44.14, 7.75),
    "augmentation": (80.60, 34, 503.15, 132.17, 94.35, 80.04, 57.95, 32.74, 2.85),
}


ATARI100K = GAME_SETS["atari100k"].games
# Median, mean and IQM as printed, in fractions; no IQM where the package has per-game means alone.
ATARI100K_PRINTED = {
    # SPR's Table 1 (Schwarzer et al., ICLR 2021).
    "der": (0.161, 0.285, None),
    # EfficientZero's Table 1 (Ye et al., NeurIPS 2021): 1.090 and 1.943.
    "efficientzero": (1.090, 1.943, None),
    # DIAMOND's Table 6 (Alonso et al., NeurIPS 2024), which has no medians.
    "curl-100k": (None, 0.261, 0.113),
    # BBF's Table A.1 (Schwarzer et al., ICML 2023).
    "drq-eps": (0.313, 0.465, 0.280),
    "spr": (0.396, 0.616, 0.337),
    "iris": (0.289, 1.046, 0.501),
    "sr-spr": (0.685, 1.272, None),
    "bbf": (0.917, 2.247, None),
}
# Of these, DIAMOND's Table 6 has the IQM over the means of games.
IQM_OVER_GAMES = {"efficientzero": 1.047, "sr-spr": 0.700, "bbf": 1.139}
RUNS = {"curl-100k": 100, "drq-eps": 100, "spr": 100, "iris": 5}


@pytest.mark.parametrize("method", TABLE_4)
def test_published_table_10_gives_published_table_4(method):
    rows = aggregate(published_scores(method)).rows()

    # 0.01: two of the 45 numbers come from scores of more digits than Table 10 prints.
    assert [rows[name] for name in TABLE_4_ROWS] == pytest.approx(TABLE_4[method], abs=0.01)


def test_published_aggregates_of_the_r2d2_paper_come_out_of_its_table():
    # Kapturowski et al., ICLR 2019, Table 1: mean 4024.9 %, median 1920.6 %; 52 of 57 games. The
    # median is DoubleDunk, whose human is 2.2 above random: a rounded digit moves it by 2 %.
    ours = aggregate(published_scores("r2d2"))

    assert round(ours.mean, 1) == 4024.9
    assert ours.median == pytest.approx(1920.6, abs=5)
    assert ours.superhuman_games == 52


@pytest.mark.parametrize("method", METHODS)
def test_every_published_method_has_finite_scores_of_each_game_of_its_benchmark(method):
    scores = published_scores(method)

    games = ATARI57 if METHODS[method].benchmark == "57" else ATARI100K
    assert list(scores) == list(games)
    assert all(len(runs) > 0 and np.isfinite(runs).all() for runs in scores.values())


@pytest.mark.parametrize("method", ATARI100K_PRINTED)
def test_published_aggregates_of_atari_100k_come_out_of_its_scores(method):
    ours = aggregate(published_scores(method), repetitions=1)
    median, mean, iqm = ATARI100K_PRINTED[method]

    # 0.001: three digits are printed, and per-game means are rounded to one.
    if median is not None:
        assert ours.median / 100 == pytest.approx(median, abs=0.001)
    assert ours.mean / 100 == pytest.approx(mean, abs=0.001)
    if iqm is not None:
        assert ours.iqm / 100 == pytest.approx(iqm, abs=0.0005)
    if method in IQM_OVER_GAMES:
        assert ours.iqm / 100 == pytest.approx(IQM_OVER_GAMES[method], abs=0.0005)
    assert ours.games == ATARI100K
    assert ours.seeds == RUNS.get(method, 1)


def test_the_released_runs_of_bbf_are_near_its_table_but_not_its_table():
    # Its Table A.1, over 50 runs: median 0.917, mean 2.247, IQM 1.045.
    ours = aggregate(published_scores("bbf-runs"), repetitions=1)

    assert ours.median / 100 == pytest.approx(0.917, rel=0.05)
    assert ours.mean / 100 == pytest.approx(2.247, rel=0.01)
    assert ours.iqm / 100 == pytest.approx(1.045, rel=0.02)
    assert {len(runs) for runs in published_scores("bbf-runs").values()} == {52, 56, 60}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["curl"], ["curl"]),
        (["relic", "curl"], ["relic", "curl"]),
        (["der", "curl", "spr", "bbf"], ["der", "curl-100k", "spr", "bbf"]),
        (["der", "curl", "relic"], ["der", "curl", "relic"]),
        (["curl-100k", "curl"], ["curl-100k", "curl"]),
    ],
)
def test_curl_is_that_of_atari_100k_beside_methods_of_atari_100k_alone(given, meant):
    assert find_methods(given) == meant


@pytest.fixture(scope="module")
def runs(tmp_path_factory, write_run):
    """Of Pitfall and each game of Atari 100k one, that plays as well as the human."""
    folder = tmp_path_factory.mktemp("sweep") / "ours"
    for game in (*ATARI100K, "Pitfall"):
        human = ATARI57[game].human
        write_run(folder / game, game, 0, (human,), frames=400_000)
    return folder


def test_runs_stand_beside_atari_100k_over_its_26_games(runs):
    report = read_report([runs], ["der", "curl", "spr", "bbf"])

    texts = report.texts()
    means = {column.label: round(column.aggregate.mean / 100, 3) for column in report.columns}
    assert means == {
        "ours": 1.0,
        "DER (Atari 100k)": 0.285,
        "CURL (Atari 100k)": 0.261,
        "SPR (Atari 100k)": 0.616,
        "BBF (Atari 100k)": 2.247,
    }
    assert "over the 26 games of Atari 100k." in texts["table.md"]
    assert "because another column lacks them: Pitfall" in texts["table.md"]
    assert "18 actions" not in texts["table.md"]
    assert "after 400,000 frames per game" not in texts["table.md"]


def test_two_benchmarks_stand_side_by_side_over_the_games_of_both(runs):
    report = read_report([runs], ["relic", "curl", "curl-100k"])

    labels = [column.label for column in report.columns]
    assert labels == ["ours", "ReLIC (published)", "CURL (published)", "CURL (Atari 100k)"]
    assert {column.aggregate.games for column in report.columns} == {ATARI100K}


def test_runs_longer_than_atari_100k_are_pointed_out(tmp_path, write_run):
    write_run(tmp_path / "ours/pong", frames=1_000_000)

    text = read_report([tmp_path / "ours"], ["spr"]).texts()["table.md"]

    assert (
        "Atari 100k are after 400,000 frames per game, these runs' after 1,000,000 frames." in text
    )
