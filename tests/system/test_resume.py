"""`relic-rl resume`: what may change, what may not, and runs that never had a checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from relic_rl import cli
from relic_rl.records.checkpoint import CheckpointStore

TOY = (
    *("train", "toy_memory", "--preset", "smoke", "--frames", "500", "--run.threads", "1"),
    *("--replay.min_steps", "64", "--run.metrics_every_updates", "2"),
)
LEARNING_RATE = "learner.learning_rate"
RunHere = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "finished"
    assert cli.main([*TOY, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run to go on with."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def resume(run: Path, run_here: Callable[..., tuple[int, str, str]]) -> RunHere:
    """Resumes it with these arguments: status, and all that was said."""

    def resume(*arguments: str, frames: str = "600") -> tuple[int, str]:
        status, out, err = run_here("resume", str(run), "--frames", frames, *arguments)
        return status, out + err

    return resume


def test_a_changed_setting_is_shown_and_refused_unless_it_is_allowed(
    run: Path, resume: RunHere
) -> None:
    status, said = resume(f"--{LEARNING_RATE}", "0.002")

    assert (status, said.count("\n")) == (2, 1)
    assert f"{LEARNING_RATE} (0.0003 to 0.002): give --allow-change {LEARNING_RATE}" in said
    assert CheckpointStore(run).load().state["progress"]["env_steps"] == 500

    status, said = resume(f"--{LEARNING_RATE}", "0.002", "--allow-change", LEARNING_RATE)
    checkpoint = CheckpointStore(run).load()

    assert (status, f"changed: {LEARNING_RATE} from 0.0003 to 0.002" in said) == (0, True)
    assert "playing the games up to where they stood" in said  # or it would be silent meanwhile
    assert checkpoint.state["settings"][LEARNING_RATE] == 0.002
    assert checkpoint.optimizer["main"]["param_groups"][0]["lr"] == 0.002  # it is what is used


def test_where_to_act_and_who_is_told_always_may_change(run: Path, resume: RunHere) -> None:
    status, _ = resume("--run.ray_address", "auto", "--run.track", "tensorboard")
    settings = CheckpointStore(run).load().state["settings"]

    assert status == 0
    assert (settings["run.ray_address"], settings["run.track"]) == ("auto", ["tensorboard"])


def test_allowing_one_change_allows_no_other(run: Path, resume: RunHere) -> None:
    arguments = (f"--{LEARNING_RATE}", "0.002", "--learner.n_steps", "2")
    status, said = resume(*arguments, "--allow-change", LEARNING_RATE)

    assert status == 2
    assert "learner.n_steps (3 to 2)" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("discount = 0.99", "discount = 0.9", "learner.discount (0.99 to 0.9): give --allow"),
        ("seed = 0", "seed = 1", "seed (0 to 1): a run keeps its seed"),
        ('game = "toy_memory"', 'game = "Pong"', "game (toy_memory to Pong): a run keeps its"),
    ],
)
def test_an_edit_of_the_configuration_is_a_change_too(
    run: Path, resume: RunHere, old: str, new: str, words: str
) -> None:
    text = (run / "config.toml").read_text()
    assert old in text
    (run / "config.toml").write_text(text.replace(old, new, 1))
    status, said = resume()

    assert (status, said.count("\n")) == (2, 1)
    assert words in said


def test_shapes_that_the_checkpoint_does_not_have_are_refused_in_one_line(
    run: Path, resume: RunHere
) -> None:
    before = (run / "config.toml").read_text(), (run / "metrics.jsonl").read_text()
    status, said = resume("--network.lstm", "64", "--allow-change", "network.lstm")

    assert status == 1
    assert said.splitlines()[-1].startswith("relic-rl: checkpoint ")
    assert "does not fit the configuration" in said
    assert ((run / "config.toml").read_text(), (run / "metrics.jsonl").read_text()) == before
    assert resume()[0] == 0


def test_a_run_moved_to_a_machine_without_its_gpu_is_refused_and_stays_as_it_is(
    run: Path, resume: RunHere
) -> None:
    before = (run / "config.toml").read_text(), (run / "metrics.jsonl").read_text()
    status, said = resume("--run.device", "cuda", "--allow-change", "run.device")

    assert status == 1
    assert said.splitlines()[-1].startswith("relic-rl: run.device is cuda, but no CUDA device")
    assert ((run / "config.toml").read_text(), (run / "metrics.jsonl").read_text()) == before


def test_a_run_of_a_gpu_goes_on_here_without_what_only_a_gpu_can_do(
    run: Path, resume: RunHere, forge: Callable[[Path], None]
) -> None:
    (checkpoint,) = (run / "checkpoints").iterdir()
    state = json.loads((checkpoint / "state.json").read_text())
    state["settings"] |= {"run.engine": "threads", "learner.bfloat16": True}
    (checkpoint / "state.json").write_text(json.dumps(state))
    forge(checkpoint)
    text = (run / "config.toml").read_text()
    for old, new in (("bfloat16 = false", "bfloat16 = true"), ('= "inline"', '= "threads"')):
        assert old in text
        text = text.replace(old, new, 1)
    (run / "config.toml").write_text(text)

    assert resume()[0] == 1
    without = ("--learner.bfloat16", "false")
    assert resume(*without)[0] == 2
    status, said = resume(*without, "--allow-change", "learner.bfloat16")
    assert (status, "changed: learner.bfloat16 from True to False" in said) == (0, True)
    assert CheckpointStore(run).load().state["settings"]["learner.bfloat16"] is False


@pytest.mark.parametrize(
    ("frames", "minutes", "words"),
    [
        ("500", "0", "run.frames is 500, and 500 are done: give more --frames"),
        ("600", "1e-9", "run.minutes is 1e-09, and 0.0 are done: give more --minutes, or 0"),
    ],
)
def test_a_finished_run_whose_budget_is_not_raised_is_left_as_it_is(
    run: Path, resume: RunHere, frames: str, minutes: str, words: str
) -> None:
    status, said = resume("--minutes", minutes, frames=frames)

    assert (status, said.count("\n")) == (2, 1)
    assert f"the run is finished: {words}" in said
    assert len((run / "evaluations.csv").read_text().splitlines()) == 2


def test_a_run_without_its_evaluation_at_the_end_is_not_finished_whatever_was_evaluated_before(
    run: Path, resume: RunHere
) -> None:
    # Its budget is spent, and its last evaluation, of one episode, is at its last frame.
    more = ("--evaluation.episodes", "2", "--allow-change", "evaluation.episodes")
    status, said = resume(*more, frames="500")

    assert (status, "finished: mean score" in said) == (0, True)
    *_, last = (run / "evaluations.csv").read_text().splitlines()
    assert last.split(",")[0] == "500"
    assert resume(frames="500")[0] == 2


def test_a_run_goes_on_only_with_the_emulator_it_was_begun_on(run: Path, resume: RunHere) -> None:
    file = run / "metadata.json"
    begun = json.loads(file.read_text())
    for other, words in (
        ({"ale_py": "0.9.0"}, "began with ale-py 0.9.0, here is "),
        ({"rom_md5": "d41d8cd98f"}, "began with another ROM (MD5 d41d8cd98f, here None)"),
    ):
        file.write_text(json.dumps(begun | other))
        status, said = resume()
        assert (status, said.count("\n")) == (1, 1)
        assert words in said
    file.unlink()
    assert resume()[0] == 0


def remove_checkpoints(run: Path) -> None:
    for folder in ("checkpoints", "segments"):
        shutil.rmtree(run / folder)


def test_a_finished_run_whose_checkpoints_are_gone_keeps_its_tables(
    run: Path, resume: RunHere
) -> None:
    remove_checkpoints(run)
    tables = ("metrics.jsonl", "episodes.csv", "evaluations.csv", "config.toml")
    before = [(run / name).read_bytes() for name in tables]
    status, said = resume()

    assert (status, said.count("\n")) == (1, 1)
    assert "is finished and its checkpoints are gone: its tables stay as they are" in said
    assert [(run / name).read_bytes() for name in tables] == before


@pytest.mark.parametrize(
    ("damage", "is_kept"),
    [
        (lambda text: text.replace("\n", " "), True),
        (lambda text: text.replace("500", "x"), True),
        (lambda text: text.partition("\n")[0] + "\n", False),  # ended before its first evaluation
        (lambda text: text.partition("\n")[0] + "\n500,0.", False),  # ended while it wrote that
        (lambda text: text[:9], False),
    ],
    ids=["no lines", "no number", "no row", "a row cut short", "a head cut short"],
)
def test_tables_stay_where_nothing_says_whether_the_run_is_finished(
    run: Path, resume: RunHere, damage: Callable[[str], str], is_kept: bool
) -> None:
    remove_checkpoints(run)
    table = run / "evaluations.csv"
    table.write_text(damage(table.read_text()))
    before = (run / "episodes.csv").read_bytes(), table.read_bytes()
    status, said = resume()

    assert status == is_kept
    assert ("evaluations.csv is damaged, and without a checkpoint" in said) == is_kept
    assert (((run / "episodes.csv").read_bytes(), table.read_bytes()) == before) == is_kept


def test_a_changed_setting_is_refused_before_the_first_checkpoint_too(
    run: Path, resume: RunHere
) -> None:
    remove_checkpoints(run)
    (run / "evaluations.csv").unlink()
    before = (run / "config.toml").read_bytes()
    status, said = resume("--learner.n_steps", "2")

    assert (status, said.count("\n")) == (2, 1)
    assert "resume would change learner.n_steps" in said
    assert (run / "config.toml").read_bytes() == before


def test_a_run_that_trained_for_long_and_has_no_checkpoint_keeps_its_tables(
    run: Path, resume: RunHere
) -> None:
    remove_checkpoints(run)
    (run / "evaluations.csv").unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"env_frames": 400, "minutes": 21.0}\n')
    before = (run / "metrics.jsonl").read_bytes()
    status, said = resume()

    assert (status, said.count("\n")) == (1, 1)
    assert "has trained for longer than to its first checkpoint, and none is there" in said
    assert (run / "metrics.jsonl").read_bytes() == before


def test_what_a_run_goes_on_with_is_recorded_beside_what_it_was_begun_with(
    run: Path, resume: RunHere
) -> None:
    file = run / "metadata.json"
    begun = json.loads(file.read_text()) | {"torch": "1.2.3"}
    file.write_text(json.dumps(begun))
    assert resume("--learner.n_steps", "2")[0] == 2  # refused: nothing went on
    assert json.loads(file.read_text()) == begun

    assert resume()[0] == 0
    found = json.loads(file.read_text())
    (resumed,) = found.pop("resumed")
    assert found == begun
    assert resumed["torch"] == torch.__version__
    assert {"commit", "machine", "learner_device", "started"} <= resumed.keys()


def test_a_run_keeps_its_seed_also_before_its_first_checkpoint(run: Path, resume: RunHere) -> None:
    remove_checkpoints(run)
    (run / "evaluations.csv").unlink()
    config = run / "config.toml"
    edited = config.read_text().replace("seed = 0\n", "seed = 1\n")
    config.write_text(edited)

    status, said = resume()

    assert (status, "resume would change seed (0 to 1)" in said) == (2, True)
    assert config.read_text() == edited


def test_a_run_that_ended_before_its_first_checkpoint_starts_again(
    run: Path, finished: Path, resume: RunHere
) -> None:
    remove_checkpoints(run)
    (run / "evaluations.csv").unlink()
    (run / "checkpoints" / ".staging-000000000400").mkdir(parents=True)
    status, said = resume()
    rows, before = (
        [
            json.loads(line)["updates"]
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (run, finished)
    )

    assert (status, "ended before its first checkpoint and starts again" in said) == (0, True)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000000000600"]
    assert len(before) >= 2
    assert rows[: len(before)] == before  # none of the broken session's
    assert rows == sorted(set(rows))
