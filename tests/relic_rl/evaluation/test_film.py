"""Films of a real agent that has learned nothing: read back and held against its evaluation."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import imageio
import numpy as np
import psutil
import pytest
import torch
from PIL import Image, ImageSequence

from agents.interface import PolicyInput
from relic_rl import cli
from relic_rl.evaluation import film
from relic_rl.evaluation.overlay import BAR_PIXELS, Thought, draw, saliency
from relic_rl.evaluation.trained import TrainedAgent, load_trained
from relic_rl.runtime.player import Player


def watch(run: Path, video: Path, *arguments: str) -> int:
    return cli.main(["watch", str(run), "--video", str(video), *arguments])


def pictures(video: Path) -> list[np.ndarray]:
    with imageio.get_reader(video) as reader:
        return [np.asarray(picture) for picture in reader]


def test_an_mp4_shows_every_frame_at_native_resolution(breakout_run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in breakout_run.rglob("*")}
    status = watch(breakout_run, tmp_path / "film.mp4", "--max-frames", "122")
    shown = pictures(tmp_path / "film.mp4")
    with imageio.get_reader(tmp_path / "film.mp4") as reader:
        frames_per_second = reader.get_meta_data()["fps"]

    assert (status, len(shown), frames_per_second) == (0, 122, 60)
    assert {picture.shape for picture in shown} == {(210, 160, 3)}
    bricks = shown[-1][58:62, 20:140].reshape(-1, 3)
    assert np.abs(np.median(bricks, axis=0) - (200, 72, 72)).max() < 12  # Breakout's red
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert {path: path.stat().st_mtime_ns for path in breakout_run.rglob("*")} == before


def test_an_overlay_is_three_times_as_large_with_a_bar_of_text(
    breakout_run: Path, tmp_path: Path
) -> None:
    assert watch(breakout_run, tmp_path / "o.mp4", "--overlay", "--max-frames", "40") == 0
    shown = pictures(tmp_path / "o.mp4")

    assert len(shown) == 40
    assert {picture.shape for picture in shown} == {(3 * 210 + BAR_PIXELS, 3 * 160, 3)}
    assert shown[-1][3 * 210 :].max() > 200  # letters


def test_a_gif_shows_a_picture_a_step_and_loops(breakout_run: Path, tmp_path: Path) -> None:
    assert watch(breakout_run, tmp_path / "film.gif", "--max-frames", "400") == 0
    with Image.open(tmp_path / "film.gif") as gif:
        durations = [picture.info["duration"] for picture in ImageSequence.Iterator(gif)]
        size, loop = gif.size, gif.info["loop"]

    assert (size, loop) == ((160, 210), 0)
    assert sum(durations) == pytest.approx(1000 * 400 / 60, abs=5)  # in 1/100 s; equals merged
    assert 50 < len(durations) <= 100
    assert set(durations) >= {60, 70}


def test_a_gif_that_its_default_limit_ends_is_said_to_be(
    breakout_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(film, "GIF_FRAMES", 40)
    capsys.readouterr()
    lines = []
    for video, flags in (("film.gif", ()), ("film.gif", ("--max-frames", "40"))):
        assert watch(breakout_run, tmp_path / video, *flags) == 0
        lines.append(capsys.readouterr().out)

    assert "filmed 40 frames" in lines[0]
    assert lines[0].endswith("; a .gif ends after 40 frames unless --max-frames says more\n")
    assert lines[1].endswith("film.gif\n")


def test_the_film_is_the_episode_that_evaluation_scores(
    breakout_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for seed in ("2", "3"):
        flags = ["--episodes", "1", "--seed", seed]
        capsys.readouterr()
        assert cli.main(["evaluate", str(breakout_run), *flags, "--json"]) == 0
        (score,) = json.loads(capsys.readouterr().out)["scores"]
        assert watch(breakout_run, tmp_path / "film.gif", *flags) == 0
        assert f"scores {score:.0f}, in" in capsys.readouterr().out
        found.append(score)

    assert found[0] != found[1]  # or any episode would do


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("--video film.avi", 2, [".mp4 or .gif"]),
        ("--video film.mp4 --episodes 0", 2, ["--episodes is 0"]),
        ("--video film.mp4 --max-frames 0", 2, ["--max-frames is 0"]),
        ("--video film.mp4 --track offline", 2, ["was not tracked"]),
        ("--video /proc/film.mp4", 1, ["film.mp4: No such file or directory"]),
        ("", 2, ["--video"]),
    ],
)
def test_a_mistake_gives_one_line_and_no_file(
    breakout_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    status: int,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    found = cli.main(["watch", str(breakout_run), *arguments.split()])
    out, err = capsys.readouterr()

    assert (found, out, err.count("\n")) == (status, "", 1)
    assert all(word in err for word in words)
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from relic_rl import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
run, *videos = sys.argv[1:]
for video in videos:
    assert cli.main(["watch", run, "--video", video, "--max-frames", "200"]) == 1
"""


def test_a_full_disk_ends_a_film_with_one_line_and_leaves_the_one_before(
    breakout_run: Path, tmp_path: Path
) -> None:
    videos = [tmp_path / "film.gif", tmp_path / "film.mp4"]
    for video in videos:
        video.write_bytes(b"the film before")
    command = [sys.executable, "-c", LIMITED, str(breakout_run), *map(str, videos)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    for line, video in zip(result.stderr.splitlines(), videos, strict=True):
        assert f"cannot write the film {video}: " in line
        assert video.read_bytes() == b"the film before"
    assert sorted(tmp_path.iterdir()) == videos


def test_an_ffmpeg_that_fails_gives_one_line_and_no_film(
    breakout_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    capsys.readouterr()
    status = watch(breakout_run, tmp_path / "film.mp4", "--max-frames", "40")
    err = capsys.readouterr().err

    assert (status, err.count("\n")) == (1, 1), err
    assert "cannot write the film" in err
    assert list(tmp_path.iterdir()) == []


def test_a_toy_is_filmed_as_it_is_seen(toy_run: Path, tmp_path: Path) -> None:
    assert watch(toy_run, tmp_path / "film.mp4", "--overlay") == 0

    assert len(pictures(tmp_path / "film.mp4")) == 8
    assert (toy_run / "curves.png").is_file()


def test_ctrl_c_ends_a_film_which_is_whole_as_far_as_it_got(
    toy_run: Path, wait_until: Callable[..., None], tmp_path: Path
) -> None:
    video, begun = tmp_path / "film.mp4", tmp_path / ".partial-film.mp4"
    film = ("watch", str(toy_run), "--video", str(video), "--episodes", "1000000")
    process = subprocess.Popen(
        [sys.executable, "-m", "relic_rl", *film],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: begun.exists() and begun.stat().st_size, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: ffmpeg's process, too
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()

    assert (process.returncode, err) == (0, "")
    (frames,) = re.findall(r": filmed ([\d,]+) frames, scores .* in " + str(video), out)
    assert len(pictures(video)) == int(frames.replace(",", ""))
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_signal_while_a_film_is_counted_does_not_make_it_too_short(
    toy_run: Path, tmp_path: Path
) -> None:
    video, counted = tmp_path / "film.mp4", threading.Event()
    assert watch(toy_run, video, "--max-frames", "2000") == 0
    told, length = [], len(pictures(video))

    def tell_ffmpeg() -> None:  # as a terminal does, whose group it is in
        while not counted.is_set():
            for process in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGINT)
                    told.append(process.pid)
            time.sleep(0.001)

    terminal = threading.Thread(target=tell_ffmpeg)
    terminal.start()
    try:
        film._expect_whole(video, length)
    finally:
        counted.set()
        terminal.join()
    assert told


# --- the overlay ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(breakout_run: Path) -> TrainedAgent:
    return load_trained(breakout_run)


def test_an_agent_trained_with_what_only_a_gpu_has_plays_anywhere(
    breakout_run: Path, tmp_path: Path, trained: TrainedAgent
) -> None:
    moved = Path(shutil.copytree(breakout_run, tmp_path / "moved"))
    text = (moved / "config.toml").read_text()
    for here, there in (
        ('device = "auto"', 'device = "cuda"'),
        ("bfloat16 = false", "bfloat16 = true"),
        ("compile_encoders = false", "compile_encoders = true"),
    ):
        assert here in text
        text = text.replace(here, there)
    (moved / "config.toml").write_text(text)
    values = [
        agent.evaluation_policy().q_values(seen(trained, 1))[0]
        for agent in (load_trained(moved).agent, trained.agent)
    ]

    assert torch.equal(values[0].cpu(), values[1].cpu())


def seen(trained: TrainedAgent, seed: int) -> PolicyInput:
    frames = np.random.default_rng(seed).integers(0, 256, (1, 84, 84), dtype=np.uint8)
    player = Player(
        trained.agent.evaluation_policy(),
        frames,
        frame_stack=4,
        epsilons=torch.zeros(1),
        device=torch.device("cpu"),
        seed=0,
    )
    return player.act().seen


def test_saliency_is_in_0_to_1_and_depends_on_the_picture(trained: TrainedAgent) -> None:
    policy = trained.agent.evaluation_policy()
    first, again, other = (saliency(policy, seen(trained, seed)) for seed in (1, 1, 2))

    assert (first.shape, first.dtype) == ((84, 84), np.float32)
    assert (first.min(), first.max()) == (pytest.approx(0.0, abs=0.2), 1.0)
    assert (first == again).all()
    assert (first != other).any()


def test_saliency_sees_through_a_separate_encoder(
    trained: TrainedAgent,
) -> None:
    playing, newest = trained.agent.evaluation_policy(), trained.agent.policy()
    before = saliency(playing, seen(trained, 1))
    parts = trained.agent.parameters_for_policy()
    parts["given_encoder"]["projection.weight"] = torch.zeros_like(
        parts["given_encoder"]["projection.weight"]
    )
    newest.load(parts, 1)
    blind = saliency(newest, seen(trained, 1))

    assert np.abs(before - blind).max() > 1e-3


def test_a_pixels_gradient_is_what_a_small_change_of_it_does_to_the_value(
    trained: TrainedAgent,
) -> None:
    policy = trained.agent.evaluation_policy()
    given = seen(trained, 1)
    gradient = policy.pixel_gradient(given)
    row, column = divmod(int(gradient[0, -1].abs().argmax()), 84)
    values = []
    for change in (-8.0, 8.0):
        changed = given.stacks.float()
        changed[0, -1, row, column] += change
        values.append(policy.q_values(given._replace(stacks=changed))[0].max().item())

    assert (values[1] - values[0]) / 16.0 == pytest.approx(
        gradient[0, -1, row, column].item(), rel=0.2
    )


def test_the_salient_place_is_tinted_and_the_rest_is_only_enlarged() -> None:
    picture = np.full((210, 160, 3), 100, np.uint8)
    picture[50, 60] = (1, 2, 3)
    heat = np.zeros((84, 84), np.float32)
    heat[60:84, 60:84] = 1.0
    drawn = draw(picture, Thought("FIRE", 1.5, 20.0, heat))

    assert (drawn[: 3 * 100, : 3 * 60][0] == 100).all()
    assert (drawn[150:153, 180:183] == (1, 2, 3)).all()
    red, green, blue = drawn[3 * 200, 3 * 150].astype(int)
    assert red > 180
    assert max(green, blue) < 90
