"""When a run is finished, and what its long tables say of it."""

from pathlib import Path

import pytest

from relic_rl import config as configuration
from relic_rl.config import resolve
from relic_rl.records.run_status import RunStatus, is_finished, read_status


@pytest.mark.parametrize(
    ("minutes", "evaluation", "expected"),
    [
        (0.0, {}, False),
        (0.0, {"env_frames": 1000, "minutes": 1.0, "episodes": 10}, True),
        (0.0, {"env_frames": 999, "minutes": 1.0, "episodes": 10}, False),
        (0.0, {"env_frames": 1000, "minutes": 1.0, "episodes": 3}, False),
        (5.0, {"env_frames": 999, "minutes": 5.0, "episodes": 10}, True),
        (5.0, {"env_frames": 999, "minutes": 4.9, "episodes": 10}, False),
        (5.0, {"env_frames": 1000, "minutes": 4.9, "episodes": 10}, True),
    ],
)
def test_a_run_is_finished_by_a_whole_evaluation_after_its_frames_or_minutes(
    minutes: float, evaluation: dict[str, float], expected: bool
) -> None:
    settings = {"run.frames": 1000, "run.minutes": minutes, "evaluation.episodes": 10}

    assert is_finished(settings, evaluation) is expected


def test_a_long_runs_tables_are_read_from_their_end_and_half_a_line_is_no_line(
    tmp_path: Path,
) -> None:
    config = configuration.dump(
        resolve("smoke", {"run.frames": 20_000_000}).config, game="Pong", seed=0, preset="smoke"
    )
    (tmp_path / "config.toml").write_text(config)
    rows = [f'{{"env_frames": {4000 * i}, "minutes": {i / 10}}}' for i in range(1, 4001)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + '\n{"env_frames": 999999')
    table = [f"{4000 * i},{i / 10},1,{i / 1000}" for i in range(1, 4001)]
    head = "env_frames,minutes,episodes,mean_score"
    (tmp_path / "evaluations.csv").write_text("\n".join([head, *table]) + "\n16999999,9,1,99")
    for name in ("metrics.jsonl", "evaluations.csv"):
        assert (tmp_path / name).stat().st_size > 65_536

    found = read_status(tmp_path)

    assert (found.env_frames, found.minutes) == (16_000_000, 400.0)
    assert (found.score, found.is_evaluated) == (4.0, True)


def test_a_run_whose_last_evaluation_has_thousands_of_episodes_is_finished(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    head, row = (run / "evaluations.csv").read_text().splitlines()
    rows = [f"{frames},{row.partition(',')[2]},{'1.0;' * 20_000}" for frames in (500, 1000)]
    (run / "evaluations.csv").write_text("\n".join([f"{head},scores", *rows, ""]))

    assert read_status(run).finished


def a_run(folder: Path, *checkpoints: str) -> Path:
    """A run of 1,000 frames with the evaluation at its end."""
    config = resolve("smoke", {"run.frames": 1000}).config
    text = configuration.dump(config, game="Pong", seed=0, preset="smoke")
    (folder / "config.toml").write_text(text)
    row = f"1000,0.5,{config.evaluation.episodes},3.0"
    (folder / "evaluations.csv").write_text(f"env_frames,minutes,episodes,mean_score\n{row}\n")
    for name in checkpoints:
        (folder / "checkpoints" / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("checkpoints", "expected"),
    [
        (("000000000900", "000000001000"), True),
        (("000000000900",), False),
        ((".staging-000000000900", "000000000900"), False),
        ((), True),  # removed since: nobody evaluates before there is one
    ],
)
def test_a_run_is_finished_once_a_checkpoint_holds_its_evaluation_and_stays_so_without_any(
    tmp_path: Path, checkpoints: tuple[str, ...], expected: bool
) -> None:
    assert read_status(a_run(tmp_path, *checkpoints)).finished is expected


def test_a_run_of_another_version_is_as_finished_as_one_of_this(tmp_path: Path) -> None:
    file = a_run(tmp_path, "000000001000") / "config.toml"
    text = file.read_text()
    assert "target_decay = 0.0\n" in text
    file.write_text(text.replace("target_decay = 0.0\n", "of_old = 1\n"))

    found = read_status(tmp_path)

    assert (found.finished, found.env_frames, found.score) == (True, 1000, 3.0)


@pytest.mark.parametrize("harm", ["frames = '1000'", "", "frames = ["])
def test_a_run_whose_budget_cannot_be_read_is_as_one_that_is_not_there(
    tmp_path: Path, harm: str
) -> None:
    file = a_run(tmp_path, "000000001000") / "config.toml"
    file.write_text(file.read_text().replace("frames = 1000", harm))

    assert read_status(tmp_path) == RunStatus()


@pytest.mark.parametrize("damage", [b"x" * 200_000, bytes(200_000) + b"\n", b"\xff\n1,2\n"])
def test_a_table_of_anything_counts_as_not_there(tmp_path: Path, damage: bytes) -> None:
    (a_run(tmp_path) / "evaluations.csv").write_bytes(damage)

    assert read_status(tmp_path) == RunStatus()


@pytest.mark.parametrize(
    "row",
    [
        *("[]", "3", "{}", "[" * 60_000),
        *('{"env_frames": null, "minutes": 1}', '{"env_frames": 1e999, "minutes": 1}'),
    ],
)
def test_a_row_without_its_frames_counts_as_not_there(tmp_path: Path, row: str) -> None:
    folder = a_run(tmp_path)
    (folder / "metrics.jsonl").write_text(f'{{"env_frames": 2000, "minutes": 1}}\n{row}\n')
    with (folder / "evaluations.csv").open("a") as file:
        file.write("inf,1.0,2,nan\n")

    found = read_status(folder)

    assert (found.env_frames, found.score) == (2000, 3.0)
