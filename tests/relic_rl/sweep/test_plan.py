"""What a sweep will take: the arithmetic by hand, and a trial of real runs."""

import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from envs.games import GAME_SETS, slug_of
from relic_rl import cli
from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.machine.resources import disk_bytes, left_bytes, replay_bytes
from relic_rl.records.run_status import RunStatus, read_status
from relic_rl.sweep import plan
from relic_rl.sweep.plan import Rate, Work
from relic_rl.sweep.request import PlannedRun

RATE = Rate(
    begun_seconds=30, begun_frames=20_000, frames_per_second=1_000, acting_seconds_per_step=1e-3
)
SMALL = ("--preset", "smoke", "--run.threads", "1", "--env.threads", "1")


def config(**settings: Any) -> Config:
    given = {"every_minutes": 0, "episodes": 2, "interim_episodes": 1}
    given = {f"evaluation.{name}": value for name, value in given.items()}
    texts = {name.replace("__", "."): value for name, value in settings.items()}
    merged = {name: str(value) for name, value in (given | texts).items()}
    return configuration.resolve("laptop", merged).config


def work(config: Config, done: RunStatus | None = None) -> Work:
    return Work(PlannedRun("runs/pong-s0", "Pong", 0, {}, {}), config, done or RunStatus())


@pytest.mark.parametrize(
    ("settings", "done", "seconds"),
    [
        # 30 s for the first 20,000 frames, 1,000 a second after; evaluation 2 x 4,000 steps, half
        # of that on the way.
        ({"run__frames": 120_000, "run__minutes": 0}, RunStatus(), 30 + 100 + 8),
        ({"run__frames": 10_000, "run__minutes": 0}, RunStatus(), 30 + 8),
        ({"run__frames": 10**9, "run__minutes": 2}, RunStatus(), 120 + 8),
        ({"run__frames": 10**9, "run__minutes": 2}, RunStatus(minutes=1.5), 30 + 8),
        ({"run__frames": 120_000, "run__minutes": 0}, RunStatus(env_frames=50_000), 30 + 50 + 8),
        (
            {"run__frames": 10**9, "run__minutes": 2, "evaluation__every_minutes": 0.9},
            RunStatus(),
            120 + 8,  # its minutes go on while it evaluates on the way
        ),
        (
            {"run__frames": 120_000, "run__minutes": 0, "evaluation__every_minutes": 0.9},
            RunStatus(),
            30 + 100 + 2 * 4 + 8,
        ),
        # At 50,000 and 100,000 frames, and at the end; where it ends at 100,000, once there.
        (
            {"run__frames": 120_000, "run__minutes": 0, "evaluation__every_frames": 50_000},
            RunStatus(),
            30 + 100 + 2 * 4 + 8,
        ),
        (
            {"run__frames": 100_000, "run__minutes": 0, "evaluation__every_frames": 50_000},
            RunStatus(env_frames=60_000),
            30 + 20 + 8,
        ),
        (
            {"run__frames": 100_000, "run__minutes": 0, "evaluation__every_frames": 50_000},
            RunStatus(env_frames=100_000),
            30 + 8,
        ),
        (
            {"run__frames": 10**9, "run__minutes": 2, "evaluation__every_frames": 50_000},
            RunStatus(),
            120 + 8,
        ),
    ],
)
def test_a_run_takes_its_start_its_frames_or_minutes_and_its_evaluations(
    settings: dict[str, Any], done: RunStatus, seconds: float
) -> None:
    assert RATE.seconds(config(**settings), done) == pytest.approx(seconds)


def test_runs_start_where_one_has_ended() -> None:
    short, long = (config(run__frames=frames, run__minutes=0) for frames in (120_000, 320_000))
    works = [work(short), work(long), work(short), work(short)]
    rates = {short: RATE, long: RATE}

    # 138 s each, and 338: the second slot is busy with the long one while the others follow.
    assert plan.expected_seconds(works, rates, 1) == pytest.approx(3 * 138 + 338)
    assert plan.expected_seconds(works, rates, 2) == pytest.approx(3 * 138)
    assert plan.expected_seconds(works, rates, 9) == pytest.approx(338)


def test_disk_is_what_all_leave_and_what_those_at_work_have_beside() -> None:
    all_kept, policy = config(run__keep="replay"), config(run__keep="policy")

    for one in (all_kept, policy):
        left, beside = left_bytes(one), disk_bytes(one) - left_bytes(one)
        assert beside >= replay_bytes(one)
        assert plan.needed_disk_bytes([one] * 5, 2) == 5 * left + 2 * beside
    assert left_bytes(policy) < left_bytes(config(run__keep="checkpoint")) < disk_bytes(policy) / 10


def test_a_rate_is_of_the_windows_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TRIAL_SECONDS", 5.0)
    first = {"env_frames": 20_000, "window_seconds": 9.0, "frames_per_second": 9e9}
    later = {
        "window_seconds": 3.0,
        "frames_per_second": 400.0,
        "steps_per_second": 100.0,
        "environment_seconds": 0.2,
        "inference_seconds": 0.1,
    }
    rows = [first, later | {"env_frames": 21_200}, later | {"env_frames": 22_400}]

    assert plan._rate(rows[:2], 20.0, is_over=False) is None
    assert plan._rate([], 20.0, is_over=True) is None
    assert plan._rate(rows, 25.0, is_over=False) == pytest.approx((25.0, 22_400, 400.0, 0.001))


def test_a_dry_run_says_speed_time_memory_and_disk_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "TRIAL_SECONDS", 0.5)
    places: list[Path] = []
    begin = plan._trial

    def begun(path: Path, *rest: Any) -> Any:
        places.append(path)
        return begin(path, *rest)

    monkeypatch.setattr(plan, "_trial", begun)
    sweep = tmp_path / "sweep"
    left = tmp_path / ".relic-rl-trial-of-a-dry-run-that-was-killed"
    left.mkdir()
    os.utime(left, times=(0, time.time() - 4000))
    asked = ["--games", "pong", "--seeds", "0", "1", "2", "--frames", "40k", *SMALL]
    asked += ["--replay.min_steps", "64", "--replay.replay_ratio", "4"]  # learns soon, and much

    assert cli.main(["sweep", str(sweep), *asked, "--max-parallel", "1", "--dry-run"]) == 0

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith(f"3 runs to do in {sweep}")
    assert [line.split()[0] for line in lines[1:]] == ["speed", "time", "memory", "disk"]
    assert "trial: runs/" in err
    assert [place.parent for place in places] == [tmp_path]  # on the sweep's own disk
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_says_why_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--games", "toy_memory", *SMALL, "--replay.max_bytes", "1k"]

    status = cli.main(["sweep", str(tmp_path / "sweep"), *asked, "--dry-run"])

    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert "the trial of toy_memory-s0 failed: max_bytes is 1000" in err.splitlines()[-1]


def test_a_trial_whose_run_is_over_too_soon_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--games", "toy_memory", *SMALL, "--frames", "400"]

    status = cli.main(["sweep", str(tmp_path / "sweep"), *asked, "--dry-run"])

    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert "toy_memory-s0 was over before its speed could be measured" in last
    assert "/" not in last


def test_the_printed_commands_are_the_sweeps_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    preset = tmp_path / "my preset.toml"
    preset.write_text('base = "smoke"\n[replay]\nmin_steps = 200\n[run]\nframes = 1_600\n')
    asked = ["sweep", str(sweep), "--games", "pong", "breakout", "--preset", str(preset)]
    asked += ["--run.threads", "1", "--evaluation.episodes", "1", "--learner.discount", ".9", ".99"]

    assert cli.main([*asked, "--commands"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    first = shlex.split(lines[0])
    assert first[:4] == ["relic-rl", "train", "breakout", "--run-dir"]
    preset.unlink()  # the sweep has its copy
    assert cli.main(first[1:]) == 0
    assert read_status(Path(first[4])).finished
    capsys.readouterr()
    (begun,) = [shlex.split(line)[4] for line in lines[1:2]]
    Path(begun).mkdir(parents=True)
    shutil.copy(Path(first[4]) / "config.toml", begun)
    assert cli.main(["sweep", str(sweep), "--commands"]) == 0
    resumed = f"relic-rl resume {shlex.quote(begun)}"
    assert capsys.readouterr().out.splitlines() == [resumed, *lines[2:]]


def test_a_set_of_games_is_a_run_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--games", "AtaRi100k", "pitfall", "pong", "--preset", "atari100k", "--commands"]

    assert cli.main(["sweep", str(tmp_path / "sweep"), *asked]) == 0

    games = [shlex.split(line)[2] for line in capsys.readouterr().out.splitlines()]
    assert games == [slug_of(game) for game in sorted([*GAME_SETS["atari100k"].games, "Pitfall"])]


def test_a_sweep_whose_runs_together_fill_the_disk_is_refused_before_any_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = shutil.disk_usage(tmp_path).free // 3  # three of them do not fit, one does
    asked = ["sweep", str(tmp_path / "sweep"), "--games", "pong", "breakout", "boxing", *SMALL]
    large = ["--replay.capacity_steps", "10b", "--replay.max_bytes", str(some)]

    status = cli.main([*asked, *large, "--max-parallel", "1"])

    assert status == 1
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert "the runs need about" in refusal
    assert "--keep policy" in refusal
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["lock"]
    # Nothing binds the next try to what was refused.
    fitting = ["--replay.max_bytes", "20m", "--commands"]
    assert cli.main([*asked, *fitting]) == 0
