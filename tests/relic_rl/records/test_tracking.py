"""The real wandb, offline or against servers that are not there."""

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from wandb.proto import wandb_internal_pb2

from relic_rl import cli
from relic_rl.errors import UserError
from relic_rl.records import background_tracker, tracking
from relic_rl.records.tracking import TrackedRun, make_tracker
from relic_rl.records.uploads import upload_report

pytestmark = pytest.mark.usefixtures("no_wandb_settings")

ROOT = Path(tracking.__file__).parents[2]
KEY = "0" * 40

SESSION = """
import sys, time
from pathlib import Path
from relic_rl.records.tracking import TrackedRun, make_tracker
tracker = make_tracker(["online"], TrackedRun(Path(sys.argv[1]), "pong-1"))
times = []
for i in range(200):
    begun = time.perf_counter()
    tracker.log({"env_frames": i, "loss": 0.5})
    times.append(time.perf_counter() - begun)
begun = time.perf_counter()
tracker.close()
print(sorted(times)[-20], time.perf_counter() - begun)
"""


def run_session(run_dir, environment, limit_seconds):
    run_dir.mkdir()
    begun = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", SESSION, str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_seconds,
        check=True,
    )
    slowest_log_seconds, close_seconds = map(float, result.stdout.split())
    return slowest_log_seconds, close_seconds, time.monotonic() - begun, result.stderr


def given_file(run_dir, name):
    """The one copy of a file given to wandb, whose own process makes it a moment later."""
    give_up = time.monotonic() + 60
    while not (found := list(run_dir.glob(f"wandb/offline-run-*/files/{name}"))):
        assert time.monotonic() < give_up, name
        time.sleep(0.05)
    (path,) = found
    return path


def stored_bytes(run_dir, *, until):
    """The offline run's data file, protocol buffers whose strings are plain bytes.

    wandb's own process flushes it a moment after the run has finished.
    """
    (path,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    give_up = time.monotonic() + 60
    while until not in path.read_bytes() and time.monotonic() < give_up:
        time.sleep(0.05)
    return path.read_bytes()


def test_off_has_no_id_writes_nothing_and_does_not_import_wandb(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from relic_rl.records.tracking import TrackedRun, make_tracker\n"
        f"tracker = make_tracker(['off'], TrackedRun(Path({str(tmp_path)!r}), 'x'))\n"
        "tracker.log({'env_frames': 1}); tracker.file(Path('x'))\n"
        "tracker.close(); print(tracker.id, 'wandb' in sys.modules)"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert result.stdout.split() == ["None", "False"]
    assert list(tmp_path.iterdir()) == []


def test_offline_writes_rows_config_and_files_without_a_network(tmp_path):
    config = {"game": "pong"}
    (tmp_path / "evaluations.csv").write_text("env_frames\n")

    tracker = make_tracker(["offline"], TrackedRun(tmp_path, "pong-1", config, close_seconds=120))
    for frames in (4000, 8000):
        tracker.log({"env_frames": frames, "rl_loss": 0.5})
    tracker.file(tmp_path / "evaluations.csv")
    tracker.close()

    stored = stored_bytes(tmp_path, until=b"8000")
    for name in (b"env_frames", b"8000", b"rl_loss", b"pong-1", b"game"):
        assert name in stored
    given_file(tmp_path, "evaluations.csv")
    assert tracker.dropped_items == 0


def records(run_dir):
    """What an offline run stored: protocol buffers in LevelDB's log format, behind 7 bytes."""
    (path,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    data, at, parts = path.read_bytes(), 7, []
    while at + 7 <= len(data):
        left_in_block = 32_768 - at % 32_768
        size, kind = struct.unpack_from("<HB", data, at + 4)
        if left_in_block < 7 or kind == 0:
            at += left_in_block
            continue
        parts.append(data[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # whole, or its last part
            yield wandb_internal_pb2.Record.FromString(b"".join(parts))
            parts = []


def test_a_run_of_a_sweep_is_mirrored_by_each_tracker_with_its_scalars_its_group_and_its_files(
    tmp_path, capsys
):
    sweep, out = tmp_path / "arms", tmp_path / "report"
    run = sweep / "arm=none/breakout-s0"
    run.parent.mkdir(parents=True)
    (sweep / "sweep.toml").touch()
    smoke = ["--preset", "smoke", "--frames", "1000", "--representation.arm", "none"]
    smoke += ["--replay.min_steps", "64", "--replay.replay_ratio", "4", "--run.threads", "1"]
    smoke += ["--run.metrics_every_updates", "2", "--evaluation.epsilon", "1"]
    offline = ["--track", "offline"]
    both = ["--track", "tensorboard,offline"]

    assert cli.main(["train", "breakout", "--run-dir", str(run), *smoke, *both]) == 0
    assert f"wandb: `wandb sync {run}/wandb/offline-run-*` uploads the run" in (
        capsys.readouterr().out.splitlines()
    )
    stored_bytes(run, until=b"human_normalized_score")
    mirrored = list(records(run))
    film = ["watch", str(run), "--video", str(tmp_path / "film.gif"), "--max-frames", "20"]
    assert cli.main([*film, *offline]) == 0
    assert cli.main(["report", str(run), "--out", str(out), *offline]) == 0

    (info,) = [record.run for record in mirrored if record.HasField("run")]
    assert (info.run_group, info.display_name) == ("arms", "arm=none/breakout-s0")
    axes = {record.metric.glob_name: record.metric.step_metric for record in mirrored}
    assert axes["*"] == "env_frames"
    history = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in row.history.item}
        for row in mirrored
        if row.HasField("history")
    ]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) > 2
    for row in rows:
        assert any(
            {k: v for k, v in row.items() if v is not None}.items() <= h.items() for h in history
        )
    assert [h["rl_loss"] for h in history if "rl_loss" in h] == [row["rl_loss"] for row in rows]
    assert any(
        {"env_frames", "evaluation_score", "human_normalized_score"} <= {*h} for h in history
    )
    assert len(events_of(run).Scalars("rl_loss")) == len(rows)

    assert given_file(run, "curves.png")
    assert given_file(run, "film.gif").parents[1].name.endswith(info.run_id)
    assert given_file(out, "report.html")
    stored_bytes(out, until=b"report of arms")
    (of_report,) = [record.run for record in records(out) if record.HasField("run")]
    assert (of_report.run_group, of_report.job_type) == ("arms", "report")
    assert "files of 'report of arms'" in capsys.readouterr().out


def test_the_users_project_and_team_at_wandb_hold_and_a_run_keeps_its_id(tmp_path, monkeypatch):
    def mirrored(name, run_id=None):
        (tmp_path / name).mkdir()
        run = TrackedRun(tmp_path / name, name, run_id=run_id, close_seconds=120)
        tracker = make_tracker(["offline"], run)
        tracker.close()
        stored_bytes(tmp_path / name, until=name.encode())
        (run,) = [one.run for one in records(tmp_path / name) if one.HasField("run")]
        assert run.run_id == tracker.id
        return run

    default = mirrored("default")
    monkeypatch.setenv("WANDB_PROJECT", "my-thesis")
    monkeypatch.setenv("WANDB_ENTITY", "my-team")
    chosen, resumed = mirrored("chosen"), mirrored("resumed", run_id=default.run_id)

    assert (default.project, default.entity) == ("relic-rl", "")
    assert (chosen.project, chosen.entity) == ("my-thesis", "my-team")
    assert resumed.run_id == default.run_id != chosen.run_id


def events_of(run):
    """TensorBoard's own reading of what a run left it."""
    accumulator = event_accumulator.EventAccumulator(str(run / "tensorboard"))
    return accumulator.Reload()


def test_tensorboard_reads_back_every_number_over_the_runs_frames(tmp_path):
    tracker = make_tracker(["tensorboard"], TrackedRun(tmp_path, "x", {"game": "pong"}))
    pixels = np.zeros((4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "curves.png")
    tracker.log({"env_frames": 4000, "rl_loss": 0.5, "mean_score": None, "skipped_batch": "a"})
    tracker.log({"env_frames": 12_000_000_000, "rl_loss": 0.25, "mean_score": -21.0})
    tracker.file(tmp_path / "curves.png")
    tracker.close()

    found = events_of(tmp_path)
    assert {*found.Tags()["scalars"]} == {"rl_loss", "mean_score"}
    assert [(e.step, e.value) for e in found.Scalars("rl_loss")] == [
        (4000, 0.5),
        (12_000_000_000, 0.25),
    ]
    assert [(e.step, e.value) for e in found.Scalars("mean_score")] == [(12_000_000_000, -21.0)]
    (picture,) = found.Images("curves")
    assert (picture.width, picture.height) == (6, 4)
    (settings,) = found.Tensors("settings/text_summary")
    assert b"game = pong" in settings.tensor_proto.string_val[0]


def test_tensorboard_shows_a_run_that_is_started_again_without_its_first_attempt(tmp_path):
    for loss, resumed in ((1.0, False), (2.0, False), (3.0, True)):
        time.sleep(1.1 if loss > 1.0 else 0.0)  # event files are told apart by their second
        tracker = make_tracker(["tensorboard"], TrackedRun(tmp_path, "x", resumed=resumed))
        tracker.log({"env_frames": 1000 * int(loss), "rl_loss": loss})
        tracker.close()

    assert [event.value for event in events_of(tmp_path).Scalars("rl_loss")] == [2.0, 3.0]


def test_without_the_extra_a_run_is_told_how_to_install_it_and_trains(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    tracker = make_tracker(["tensorboard"], TrackedRun(tmp_path, "x"))
    tracker.log({"env_frames": 1})
    tracker.close()

    assert tracker.mode == "off"
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "pip install 'relic-rl[tensorboard]'" in warning


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(background_tracker, "QUEUE_ITEMS", 10)
    # Importing wandb takes a while.
    tracker = make_tracker(["offline"], TrackedRun(tmp_path, "x", close_seconds=120))

    for frames in range(10_000):
        tracker.log({"env_frames": frames})
    with caplog.at_level(logging.WARNING):
        tracker.close()

    assert 0 < tracker.dropped_items < 10_000  # it was not waited for
    assert f"{tracker.dropped_items} rows or files were not mirrored" in caplog.text


def test_a_file_that_is_not_taken_is_counted_and_not_called_given(tmp_path, capsys, caplog):
    page = tmp_path / "report.html"
    page.write_text("a report")

    with caplog.at_level(logging.WARNING):
        upload_report([tmp_path], [page, tmp_path / "gone.png"], "offline")

    assert "given to the tracker, offline: 1 files" in capsys.readouterr().out
    assert "1 rows or files were not mirrored" in caplog.text


def test_online_without_a_key_falls_back_to_offline_with_one_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        tracker = make_tracker(["online"], TrackedRun(tmp_path, "x", close_seconds=120))
        tracker.log({"env_frames": 4000})
        tracker.close()

    assert caplog.text.count("wandb runs offline") == 1
    assert "no API key" in caplog.text
    assert tracker.mode == "offline"
    assert b"4000" in stored_bytes(tmp_path, until=b"4000")


def test_where_nothing_can_be_written_the_tracker_is_off_with_one_warning(tmp_path, caplog):
    (tmp_path / "wandb").write_text("a file where wandb wants a folder")

    with caplog.at_level(logging.WARNING):
        tracker = make_tracker(["offline"], TrackedRun(tmp_path, "x"))
        tracker.log({"env_frames": 4000})
        tracker.close()

    (ours,) = [
        record for record in caplog.records if record.name == "relic_rl.records.wandb_tracker"
    ]
    assert "wandb is off" in ours.getMessage()
    assert tracker.mode == "off"


def test_files_that_wandb_does_not_take_are_an_error_and_not_called_given(tmp_path, capsys):
    (tmp_path / "wandb").write_text("a file where wandb wants a folder")
    page = tmp_path / "report.html"
    page.write_text("a report")

    with pytest.raises(UserError, match="no tracker took any of 1 files"):
        upload_report([tmp_path], [page], "offline")

    assert "given" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_server_that_refuses_does_not_hold_the_run(tmp_path):
    slowest_log, close, whole, stderr = run_session(
        tmp_path / "run",
        {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY},
        limit_seconds=60,
    )

    assert slowest_log < 0.005
    assert close < 9
    assert whole < 40, stderr


@pytest.mark.slow  # it waits for as long as a run's end may
def test_a_server_that_never_answers_does_not_hold_the_run(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        slowest_log, close, whole, stderr = run_session(
            tmp_path / "run", {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}, limit_seconds=60
        )

    assert slowest_log < 0.005
    assert close < 9
    assert whole < 40, stderr
