"""Runs on a GPU, and moved between it and the CPU. `RELIC_RL_TEST_CUDA=simulated`: without one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from relic_rl import cli

pytestmark = pytest.mark.cuda
SMALL = {
    "run.threads": "1",
    "env.threads": "1",
    "actor.lanes": "4",
    "learner.batch_sequences": "2",
    "network.channels": "4,8,8",
    "network.features": "16",
    "network.lstm": "16",
    "network.hidden": "16",
    "learner.segment_steps": "10",
    "learner.unroll_steps": "20",
    "learner.diagnostics_every_updates": "3",
    "replay.min_steps": "300",
    "replay.capacity_steps": "20000",
    "replay.replay_ratio": "2",
    "run.metrics_every_updates": "2",
    "evaluation.every_minutes": "0",
    "evaluation.episodes": "1",
    "evaluation.epsilon": "0.5",
}
FLAGS = [word for name, value in SMALL.items() for word in (f"--{name}", value)]


@pytest.fixture
def relic_rl(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that succeeds; returns what it printed."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        status = cli.main(list(arguments))
        printed = capsys.readouterr()
        assert status == 0, printed.out + printed.err
        return printed.out

    return run


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]


def updates(run: Path) -> int:
    return int(metrics(run)[-1]["updates"])


@pytest.mark.parametrize(
    ("preset", "flags"),
    [
        ("workstation", ()),
        ("workstation", ("--learner.cuda_graph", "true", "--actor.cuda_graph", "true")),
        ("paper", ("--learner.burn_in_steps", "10")),
        (
            "paper",
            ("--engine", "inline", "--learner.burn_in_steps", "10", "--learner.bfloat16", "true"),
        ),
    ],
    ids=["workstation", "workstation-graphs", "paper-threads", "paper-inline-bfloat16"],
)
def test_a_preset_trains_resumes_evaluates_and_is_filmed_on_a_gpu(
    relic_rl: Callable[..., str], tmp_path: Path, preset: str, flags: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    relic_rl(
        *("train", "breakout", "--preset", preset, "--run.device", "cuda", *FLAGS, *flags),
        *("--frames", "2000", "--run-dir", str(run)),
    )
    first = updates(run)
    relic_rl("resume", str(run), "--frames", "2600")
    rows = metrics(run)
    judged = json.loads(relic_rl("evaluate", str(run), "--episodes", "1", "--json"))
    film = tmp_path / "film.gif"
    relic_rl("watch", str(run), "--video", str(film), "--overlay", "--max-frames", "40")

    engine = flags[flags.index("--engine") + 1] if "--engine" in flags else "threads"
    assert f'engine = "{engine}"' in (run / "config.toml").read_text()
    assert rows[-1]["updates"] > first >= 2
    assert all(row["gpu_bytes"] > 0 for row in rows)
    assert all(0 <= row["gpu_busy_fraction"] <= 1 for row in rows)
    assert all(row["environment_seconds"] > 0 for row in rows)
    assert len(judged["scores"]) == 1
    assert film.stat().st_size > 0


def test_a_run_moves_from_a_gpu_to_the_cpu_and_back(
    relic_rl: Callable[..., str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    relic_rl(
        *("train", "breakout", "--preset", "workstation", "--run.device", "cuda", *FLAGS),
        *("--frames", "2000", "--run-dir", str(run)),
    )
    made = [updates(run)]
    for frames, device in (("2600", "cpu"), ("3200", "cuda")):
        relic_rl(
            *("resume", str(run), "--frames", frames),
            *("--run.device", device, "--allow-change", "run.device"),
        )
        made.append(updates(run))

    assert made == sorted(set(made))
