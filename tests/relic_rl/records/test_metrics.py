import csv
import errno
import json
import logging
import math
import os

import numpy as np
import pytest

from relic_rl.records.metrics import (
    FILES,
    Episode,
    Evaluation,
    MetricsLog,
    reproducible,
)

EPISODE = Episode(
    env_frames=4000,
    minutes=0.5,
    lane=3,
    epsilon=0.4,
    score=-21.0,
    episode_frames=3056,
    terminated=True,
)


@pytest.fixture
def log(tmp_path):
    log = MetricsLog(tmp_path)
    yield log
    log.close()


def write_evaluation(log, scores=(1.0, 2.0, 6.0)):
    evaluation = Evaluation.of(
        scores,
        env_frames=8000,
        minutes=1.25,
        updates=100,
        human_normalized_score=0.5,
        epsilon=0.001,
        protocol="noop",
    )
    log.write_evaluation(evaluation)
    return evaluation


def json_lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def csv_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_row_is_in_the_file_when_the_call_returns(tmp_path, log):
    log.write_metrics({"env_frames": 4000, "rl_loss": 0.25, "phase": "learn"})

    assert json_lines(tmp_path) == [{"env_frames": 4000, "rl_loss": 0.25, "phase": "learn"}]


def test_values_that_json_has_not_are_null_and_named(tmp_path, log):
    log.write_metrics({"loss": math.nan, "norm": -math.inf, "updates": np.int64(3)})

    line = (tmp_path / "metrics.jsonl").read_text()
    strict = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert strict == {
        "loss": None,
        "norm": None,
        "updates": 3,
        "not_finite": {"loss": "nan", "norm": "-inf"},
    }


def test_episodes_round_trip_through_the_table(tmp_path, log):
    log.write_episodes([EPISODE, EPISODE])

    rows = csv_rows(tmp_path / "episodes.csv")
    assert len(rows) == 2
    assert rows[0] == {
        "env_frames": "4000",
        "minutes": "0.5",
        "lane": "3",
        "epsilon": "0.4",
        "score": "-21.0",
        "episode_frames": "3056",
        "terminated": "1",
    }


def test_evaluation_statistics_by_hand(tmp_path, log):
    # 1, 2, 6: mean 3, median 2, population variance (4 + 1 + 9) / 3.
    evaluation = write_evaluation(log)

    assert (evaluation.episodes, evaluation.mean_score, evaluation.median_score) == (3, 3.0, 2.0)
    assert (evaluation.min_score, evaluation.max_score) == (1.0, 6.0)
    assert evaluation.std_score == pytest.approx(math.sqrt(14 / 3), rel=1e-12)
    (row,) = csv_rows(tmp_path / "evaluations.csv")
    assert row["scores"] == "1.0;2.0;6.0"
    assert float(row["std_score"]) == evaluation.std_score


EPISODES_HEADER = "env_frames,minutes,lane,epsilon,score,episode_frames,terminated\n"
EVALUATIONS_HEADER = (
    "env_frames,minutes,updates,episodes,mean_score,median_score,std_score,min_score,max_score,"
    "human_normalized_score,epsilon,protocol,scores\n"
)


def test_tables_have_the_columns_that_runs_on_disk_have(tmp_path, log):
    assert (tmp_path / "episodes.csv").read_text() == EPISODES_HEADER
    assert (tmp_path / "evaluations.csv").read_text() == EVALUATIONS_HEADER


def test_truncate_drops_what_came_after_the_checkpoint(tmp_path, log):
    log.write_metrics({"env_frames": 1})
    log.write_episodes([EPISODE])
    at_checkpoint, before = log.offsets(), contents(tmp_path)
    log.write_metrics({"env_frames": 2})
    log.write_episodes([EPISODE])
    write_evaluation(log)
    log.close()

    resumed = MetricsLog(tmp_path)
    resumed.truncate(at_checkpoint)

    assert contents(tmp_path) == before
    resumed.write_metrics({"env_frames": 3})
    resumed.close()
    assert json_lines(tmp_path) == [{"env_frames": 1}, {"env_frames": 3}]


def test_opening_an_existing_folder_appends_without_a_second_header(tmp_path, log):
    log.write_episodes([EPISODE])
    log.close()

    again = MetricsLog(tmp_path)
    again.write_episodes([EPISODE])
    again.close()

    assert [row["lane"] for row in csv_rows(tmp_path / "episodes.csv")] == ["3", "3"]


def test_truncate_to_nothing_leaves_the_headers(tmp_path, log):
    log.write_episodes([EPISODE])

    log.truncate(dict.fromkeys(FILES, 0))

    assert (tmp_path / "episodes.csv").read_text() == EPISODES_HEADER


def test_truncate_beyond_the_end_keeps_the_lines_and_warns(tmp_path, log, caplog):
    log.write_metrics({"env_frames": 1})
    before = contents(tmp_path)

    log.truncate(dict.fromkeys(FILES, 10_000))

    assert contents(tmp_path) == before
    assert "no line's end at byte 10000, as it had at the checkpoint: rows are lost" in caplog.text


def test_half_a_line_where_lines_are_missing_does_not_spoil_the_next(tmp_path, log):
    log.write_metrics({"env_frames": 1})
    log.close()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"env_fr')

    again = MetricsLog(tmp_path)
    again.truncate(dict.fromkeys(FILES, 10_000))
    again.write_metrics({"env_frames": 2})

    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["env_frames"] for row in rows] == [1, 2]


def test_a_table_that_was_edited_loses_the_row_that_its_length_at_the_checkpoint_cuts(
    tmp_path, log, caplog
):
    log.write_episodes([EPISODE, EPISODE])
    offsets = log.offsets()
    log.close()
    table = tmp_path / "episodes.csv"
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))  # as a spreadsheet saves it

    again = MetricsLog(tmp_path)
    again.truncate(offsets)
    again.write_episodes([EPISODE])

    assert "episodes.csv has no line's end at byte" in caplog.text
    assert [row["lane"] for row in csv_rows(table)] == ["3", "3"]


def test_a_full_disk_warns_once_and_loses_nothing_that_fits_in_memory(
    tmp_path, log, caplog, files_limited_to
):
    rows = [{"env_frames": i, "text": "x" * 1000} for i in range(100)]

    with caplog.at_level(logging.WARNING):
        with files_limited_to(65_536):  # half a line is written first
            for row in rows[:80]:
                log.write_metrics(row)
            during = json_lines(tmp_path)
            log.sync()
        for row in rows[80:]:
            log.write_metrics(row)

    assert during == rows[: len(during)]
    assert 0 < len(during) < 80
    assert caplog.text.count("cannot be written") == 1
    assert json_lines(tmp_path) == rows
    assert log.offsets()["metrics.jsonl"] == (tmp_path / "metrics.jsonl").stat().st_size


def test_lines_that_the_system_took_and_could_not_put_on_the_disk_are_written_again(
    tmp_path, log, caplog, monkeypatch
):
    def write_and_sync(rows):
        for row in rows:
            log.write_metrics(row)
        log.sync()

    def refuse(descriptor):  # as NFS and quotas do; the file has what there was room for
        if os.path.samestat(os.fstat(descriptor), (tmp_path / "metrics.jsonl").stat()):
            os.truncate(descriptor, os.fstat(descriptor).st_size - 7)
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    rows = [{"env_frames": i} for i in range(9)]
    write_and_sync(rows[:3])
    good = log.offsets()
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(os, "fsync", refuse)
        write_and_sync(rows[3:6])
    assert log.offsets() == good  # what a checkpoint stores
    assert json_lines(tmp_path) == rows[:3]

    write_and_sync(rows[6:])
    assert json_lines(tmp_path) == rows
    assert log.offsets()["metrics.jsonl"] == (tmp_path / "metrics.jsonl").stat().st_size

    monkeypatch.setattr(os, "fsync", refuse)
    log.write_metrics({"env_frames": 9})
    log.close()  # the last try
    assert json_lines(tmp_path) == [*rows, {"env_frames": 9}]


def test_reproducible_removes_what_the_clock_wrote_and_nothing_else():
    row = {"env_frames": 1, "minutes": 2.0, "learn_seconds": 3.0, "frames_per_second": 4.0}
    row |= {"gpu_busy_fraction": 0.5, "gpu_bytes": 6}

    assert reproducible({**row, "seconds_left": 5}) == {"env_frames": 1, "seconds_left": 5}
