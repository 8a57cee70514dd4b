"""Training, in this process: what the same seed, a stop, a resume and each setting lead to."""

import copy
import csv
import gc
import io
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from agents.representation.arm import Arm, arm_class
from agents.representation.arms import ARMS
from relic_rl import cli, train
from relic_rl.config import preset_paths, resolve
from relic_rl.console import Console
from relic_rl.errors import ResourceError, UserError
from relic_rl.evaluation.evaluate import evaluate_agent
from relic_rl.records.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from relic_rl.records.metrics import reproducible
from relic_rl.records.probes import PROBES_FILE, append_probing, read_probings
from relic_rl.records.run_log import log_to
from relic_rl.records.run_status import read_status
from relic_rl.replay.segment import Segment
from relic_rl.stop import StopRequest
from relic_rl.train import Training

TINY = {
    "run.threads": 1,
    "run.frames": 500,
    "run.metrics_every_updates": 3,
    "replay.min_steps": 64,
    "replay.replay_ratio": 3.0,
    "learner.diagnostics_every_updates": 3,
    "learner.target_period_updates": 4,
    "actor.publish_every_updates": 2,
    "evaluation.episodes": 2,
}
"""Of the toy task: 500 steps, some 16 updates, well under a second."""

# What an evaluation adds to a run that ended before it went on.
EVALUATED = {"evaluated_minutes", "evaluation_score", "best_evaluation_score"}


class StopWhen(StopRequest):
    """Asks to stop as soon as the run is as told."""

    def __init__(self, training: Training, is_time: Callable[[Training], bool]) -> None:
        self._training, self._is_time = training, is_time

    @property
    def requested(self) -> bool:
        return self._is_time(self._training)


class Runner:
    """Trains in one run folder, and reads back what it left there."""

    def __init__(self, folder: Path, game: str = "toy_memory", preset: str = "smoke") -> None:
        self.folder, self.game, self.preset = folder, game, preset
        folder.mkdir()

    def start(
        self, *, seed: int = 0, checkpoint: Checkpoint | None = None, **overrides: Any
    ) -> Training:
        given = {name.replace("__", "."): value for name, value in overrides.items()}
        config = resolve(self.preset, TINY | given).config
        console = Console(stream=io.StringIO())
        return Training(self.folder, config, self.game, seed, console, checkpoint)

    def train(
        self,
        *,
        seed: int = 0,
        resume: bool = False,
        until: Callable[[Training], bool] | None = None,
        **overrides: Any,
    ) -> Training:
        training = self.start(
            seed=seed, checkpoint=self.checkpoint() if resume else None, **overrides
        )
        try:
            stop = StopRequest() if until is None else StopWhen(training, until)
            evaluation = training.run(stop)
        finally:
            training.close()
        assert (evaluation is None) == (until is not None)
        return training

    def checkpoint(self) -> Checkpoint:
        return CheckpointStore(self.folder).load()

    def metrics(self) -> list[dict[str, object]]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [reproducible(json.loads(line)) for line in lines]

    def episodes(self) -> list[dict[str, object]]:
        with (self.folder / "episodes.csv").open(newline="") as file:
            return [reproducible(row) for row in csv.DictReader(file)]

    def evaluations(self) -> list[dict[str, object]]:
        with (self.folder / "evaluations.csv").open(newline="") as file:
            return [reproducible(row) for row in csv.DictReader(file)]


@pytest.fixture
def runner(tmp_path: Path) -> Callable[..., Runner]:
    """Makes run folders."""
    count = iter(range(100))
    return lambda **options: Runner(tmp_path / f"run-{next(count)}", **options)


def flattened(tree: Any, at: str = "") -> dict[str, Any]:
    """Every leaf of nested dicts and lists, by its path."""
    if isinstance(tree, dict):
        pairs = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        pairs = [(str(i), value) for i, value in enumerate(tree)]
    else:
        return {at: tree}
    return {path: leaf for key, v in pairs for path, leaf in flattened(v, f"{at}/{key}").items()}


def different(one: Any, other: Any) -> set[str]:
    """Paths of the leaves that are not the same, bit for bit."""
    left, right = flattened(one), flattened(other)
    return (left.keys() ^ right.keys()) | {
        path for path in left.keys() & right.keys() if not is_same(left[path], right[path])
    }


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        one, other = one.numpy(), other.numpy()
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return type(one) is type(other) and one == other


def differences(one: Runner, other: Runner) -> set[str]:
    """What differs between two runs' last checkpoints, times and evaluations aside."""
    a, b = one.checkpoint(), other.checkpoint()
    found = different(a.model, b.model) | different(a.optimizer, b.optimizer)
    found |= different([s.data for s in a.segments], [s.data for s in b.segments])
    found |= different(a.state, b.state)
    return {
        path
        for path in found
        if path.rsplit("/", 1)[-1] not in EVALUATED | {"minutes"}
        and not path.startswith("/settings/")
        and not path.startswith("/metrics_offsets")
    }


# --- seeds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("game", ["toy_memory", "Pong"])
def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    runner: Callable[..., Runner], game: str
) -> None:
    one, same, other = (runner(game=game) for _ in range(3))
    for run, seed in ((one, 3), (same, 3), (other, 4)):
        run.train(
            seed=seed, run__frames=2_000, until=lambda training: training.progress.env_steps >= 300
        )

    assert len(one.metrics()) >= 2
    assert one.metrics() == same.metrics()
    assert one.episodes() == same.episodes()
    assert differences(one, same) == set()
    assert one.metrics() != other.metrics()
    assert different(one.checkpoint().model["online"], other.checkpoint().model["online"])


def witnessed_saves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames at which checkpoints are asked for from here on."""
    save, asked = Training.save, []

    def call(training: Training) -> None:
        asked.append(training.progress.env_frames)
        save(training)

    monkeypatch.setattr(Training, "save", call)
    return asked


def test_evaluating_and_checkpointing_in_between_change_nothing_of_what_is_learned(
    runner: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, busy = runner(), runner()
    quiet.train(run__frames=260, actor__lanes=8)
    saved = witnessed_saves(monkeypatch)
    busy.train(
        run__frames=260,
        actor__lanes=8,
        evaluation__every_minutes=1e-9,
        evaluation__interim_episodes=1,
        run__checkpoint_every_minutes=1e-9,
    )

    assert len(busy.evaluations()) > 2
    assert len(saved) > 2  # two are at the end of any run
    assert busy.metrics() == quiet.metrics()
    assert differences(busy, quiet) == set()


def test_evaluations_by_frames_are_at_their_multiples_whatever_others_there_are(
    runner: Callable[..., Runner],
) -> None:
    run, resumed = runner(), runner()
    by_frames = {"evaluation__every_frames": 200, "evaluation__interim_episodes": 1}
    run.train(**by_frames)
    # Another, by minutes, comes between; the multiples stay. A stop is not an evaluation.
    resumed.train(**by_frames, until=lambda training: training.progress.env_frames >= 200)
    assert resumed.evaluations() == []
    resumed.train(
        **by_frames,
        evaluation__every_minutes=1e-9,
        until=lambda training: training.progress.env_frames >= 300,
        resume=True,
    )
    resumed.train(**by_frames, resume=True)

    assert [row["env_frames"] for row in run.evaluations()] == ["200", "400", "500"]
    assert len(resumed.evaluations()) > 5
    assert {row["env_frames"] for row in resumed.evaluations()} >= {"200", "400", "500"}


PROBED = {"run__probe_every_frames": 300, "evaluation__probe_steps": 1_000}


def test_a_game_that_nobody_annotated_is_trained_without_probes_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--preset", "smoke", "--frames", "400", "--run.probe_every_frames", "200"]
    flags += ["--evaluation.episodes", "1", "--evaluation.epsilon", "1"]

    assert cli.main(["train", "assault", *flags, "--run-dir", str(tmp_path / "run")]) == 0

    assert "nobody has annotated the memory of Assault" in capsys.readouterr().out
    assert not (tmp_path / "run/probes.jsonl").exists()


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A run that probed itself; tests must not change it."""
    run = Runner(tmp_path_factory.mktemp("probed") / "run")
    run.train(**PROBED)
    return run


def test_probing_in_between_changes_nothing_of_what_is_learned(
    runner: Callable[..., Runner], probed: Runner
) -> None:
    quiet = runner()
    quiet.train()

    # After each 300 frames, in whole steps of 4 lanes, and at the end.
    assert [one.env_frames for one in read_probings(probed.folder)] == [300, 500]
    assert probed.metrics() == quiet.metrics()
    assert differences(probed, quiet) == {"/progress/probed_frames"}


def test_a_resumed_run_finds_later_probes_anew_and_the_same(
    runner: Callable[..., Runner], probed: Runner
) -> None:
    resumed = runner()
    resumed.train(**PROBED, until=lambda training: training.progress.env_steps >= 340)
    (first,) = read_probings(resumed.folder)
    append_probing(resumed.folder, replace(first, env_frames=400, steps=1))  # of a lost session
    resumed.train(**PROBED, resume=True)

    assert len((resumed.folder / PROBES_FILE).read_text().splitlines()) == 2
    assert read_probings(resumed.folder) == read_probings(probed.folder)


def test_a_run_stopped_where_probes_are_due_makes_them_when_it_is_resumed(
    runner: Callable[..., Runner], probed: Runner
) -> None:
    run = runner()
    # Seen before the updates that are owed, and so before the probes.
    run.train(**PROBED, until=lambda training: training.progress.env_frames >= 300)
    assert read_probings(run.folder) == []
    run.train(**PROBED, resume=True)

    assert read_probings(run.folder) == read_probings(probed.folder)


def test_a_run_stopped_in_its_last_probes_is_not_finished(
    runner: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runner()
    stop = StopRequest()
    training = run.start(**{**PROBED, "run__probe_every_frames": 10_000})

    def working(what: str, *_: object) -> None:
        stop.requested = stop.requested or what.startswith("probing")

    monkeypatch.setattr(training.console, "working", working)

    assert training.run(stop) is None
    training.close()

    assert run.evaluations() == []
    assert not read_status(run.folder).finished
    run.train(**{**PROBED, "run__probe_every_frames": 10_000}, resume=True)
    assert len(run.evaluations()) == len(read_probings(run.folder)) == 1


def test_what_cannot_be_probed_is_said_and_the_run_continues(
    runner: Callable[..., Runner],
) -> None:
    run = runner()
    training = run.start(**{**PROBED, "run__probe_every_frames": 400})
    (run.folder / PROBES_FILE).mkdir()  # nothing can be added
    training.run(StopRequest())
    training.close()

    assert training.progress.env_frames >= 500
    assert "no probes at 400 frames: cannot write" in training.console._out.file.getvalue()


def test_an_evaluation_that_takes_longer_than_its_period_is_not_due_again_at_once(
    runner: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: Any, **named: Any) -> list[float]:
        time.sleep(0.12)
        return evaluate_agent(*arguments, **named)

    monkeypatch.setattr(train, "evaluate_agent", slowly)
    run = runner()
    run.train(
        evaluation__every_minutes=1e-3,
        evaluation__interim_episodes=1,
        run__frames=10**9,
        run__minutes=0.03,
    )
    with (run.folder / "evaluations.csv").open(newline="") as file:
        minutes = [float(row["minutes"]) for row in csv.DictReader(file)]

    assert len(minutes) > 2
    assert min(np.diff(minutes[:-1])) >= 1e-3 + 0.12 / 60


# --- resume ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_a_run_resumed_after_its_end_is_the_longer_run_bit_for_bit(
    runner: Callable[..., Runner], encoder: str
) -> None:
    in_two, straight = runner(), runner()
    in_two.train(run__frames=352, representation__encoder=encoder)
    half = in_two.metrics()
    in_two.train(run__frames=704, representation__encoder=encoder, resume=True)
    straight.train(run__frames=704, representation__encoder=encoder)

    assert differences(in_two, straight) == set()
    assert in_two.metrics()[: len(half)] == half
    assert in_two.metrics() == straight.metrics()
    assert in_two.episodes() == straight.episodes()
    assert in_two.evaluations()[-1] == straight.evaluations()[-1]


LAPTOPS = {
    "network__skip_core": True,
    "network__previous_reward": "tanh",
    "learner__burn_in_steps": 0,
    "learner__average_decay": 0.9,
    "learner__life_loss_ends_return": True,
    "network__centred_input": True,
    "network__layer_norm": True,
}
"""What `laptop` does otherwise than `smoke`."""


@pytest.mark.parametrize(("game", "settings"), [("Pong", {}), ("Breakout", LAPTOPS)])
def test_a_games_run_that_was_stopped_and_resumed_is_the_run_that_never_was(
    runner: Callable[..., Runner], game: str, settings: dict[str, Any]
) -> None:
    in_two, straight = runner(game=game), runner(game=game)
    settings = {**settings, "run__frames": 2_000}
    in_two.train(until=lambda training: training.progress.env_steps >= 140, **settings)
    in_two.train(until=lambda training: training.progress.env_steps >= 280, resume=True, **settings)
    straight.train(until=lambda training: training.progress.env_steps >= 280, **settings)

    assert differences(in_two, straight) == set()
    assert in_two.metrics() == straight.metrics()


@pytest.mark.parametrize("centred", [False, True])
def test_a_stop_at_any_moment_leaves_no_trace_after_a_resume(
    runner: Callable[..., Runner], centred: bool
) -> None:
    # Two or three updates are owed after each step, so that a stop can come between them.
    short = {
        "replay__replay_ratio": 45.0,
        "run__frames": 140,
        "network__centred_input": centred,
    }
    moments: tuple[Callable[[Training], bool], ...] = (
        lambda t: t.progress.env_steps == 40,  # the mean picture is not measured yet
        lambda t: t.progress.updates == 3 and t.limiter.may_update,
        lambda t: t.progress.updates == 4 and not t.limiter.may_update,
    )
    straight = runner()
    straight.train(**short)

    for moment in moments:
        stopped = runner()
        assert moment(stopped.train(until=moment, **short))
        stopped.train(resume=True, **short)

        assert differences(stopped, straight) == set()
        assert stopped.metrics() == straight.metrics()
        assert stopped.episodes() == straight.episodes()


def test_a_stop_during_the_last_evaluation_leaves_it_to_the_resume(
    runner: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, stop = runner(), StopRequest()
    training = run.start()

    def playing(*_: object) -> None:
        stop.requested = True

    monkeypatch.setattr(training.console, "playing", playing)
    assert training.run(stop) is None
    training.close()
    stopped = run.evaluations()
    run.train(resume=True)

    assert stopped == []
    assert len(run.evaluations()) == 1
    assert run.checkpoint().state["progress"]["env_steps"] == 500


def test_no_counter_jumps_back_or_is_counted_twice_over_a_resume(
    runner: Callable[..., Runner],
) -> None:
    run = runner()
    run.train(until=lambda training: training.progress.updates >= 7)
    before = run.checkpoint().state["progress"]
    training = run.start(checkpoint=run.checkpoint())
    training.close()
    run.train(resume=True)
    after = run.checkpoint().state["progress"]

    assert (training.progress.env_steps, training.progress.updates, training.progress.episodes) == (
        before["env_steps"],
        before["updates"],
        before["episodes"],
    )
    assert training.progress.minutes == before["minutes"] > 0
    assert after["minutes"] > before["minutes"]
    assert len(run.episodes()) == after["episodes"]
    for column in ("env_frames", "updates", "episodes"):
        values = [row[column] for row in run.metrics()]
        assert values == sorted(values)
    updates = [row["updates"] for row in run.metrics()]
    assert len(set(updates)) == len(updates)


def test_what_was_logged_after_the_checkpoint_is_dropped_on_resume(
    runner: Callable[..., Runner],
) -> None:
    run = runner()
    run.train()
    metrics, episodes = run.metrics(), run.episodes()
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"env_frames": 999999, "updates": 999}\n')
    with (run.folder / "episodes.csv").open("a") as file:
        file.write("999999,1.0,0,0.1,1.0,8,1\n")
    run.start(checkpoint=run.checkpoint()).close()

    assert run.metrics() == metrics
    assert run.episodes() == episodes


def test_a_resumed_run_keeps_no_segment_that_its_replay_has_evicted(
    runner: Callable[..., Runner],
) -> None:
    run, small = runner(), {"replay__capacity_steps": 200}
    first = run.start(**small)
    first.train(StopRequest())
    first.save()
    first.close()
    del first
    checkpoint = run.checkpoint()  # held to the end, as `relic-rl resume` does
    names = {segment.name for segment in checkpoint.segments}
    assert len(names) >= 10
    training = run.start(checkpoint=checkpoint, run__frames=1_248, **small)
    training.train(StopRequest())
    training.close()
    gc.collect()
    kept = {item.name for item in gc.get_objects() if type(item) is Segment}

    assert not kept & names


@pytest.mark.parametrize("engine", ["threads", "inline"])
def test_a_checkpoint_of_another_kind_of_device_goes_on_anew_or_is_refused(
    runner: Callable[..., Runner], engine: str
) -> None:
    run = runner()
    training = run.start(run__engine=engine)
    cuda = SimpleNamespace(
        get_state=lambda: torch.zeros(16, dtype=torch.uint8)
    )  # as long as CUDA's
    training.agent.generator, own = cuda, training.agent.generator
    training.save()
    training.agent.generator = own
    training.close()

    if engine == "inline":
        with pytest.raises(ValueError, match=r"another kind of device: .*--run\.device cpu"):
            run.start(checkpoint=run.checkpoint(), run__engine=engine)
    else:
        run.train(resume=True, run__engine=engine)
        assert run.metrics()[-1]["updates"]


def test_skipped_updates_are_still_counted_after_a_resume(runner: Callable[..., Runner]) -> None:
    run = runner()
    training = run.start()
    skipped = {"skipped_updates": 3, "skipped_in_a_row": 2, "skipped_batch": "0/0/1/7/0 0/0/3/2/1"}
    training.learner.load_state(skipped)
    training.save()
    training.close()
    resumed = run.start(checkpoint=run.checkpoint())
    resumed.close()

    assert resumed.learner.state() == skipped


@pytest.mark.parametrize(
    ("publish_every_updates", "said"),
    [
        (1_000, r"10 updates in a row .* with a lower --learner\.learning_rate"),
        (2, r"Q-values of lane \d .* not finite, so the run stops; its last checkpoint is sound"),
    ],
    ids=["learner", "actor"],
)
def test_a_run_that_diverges_ends_in_one_line_and_its_last_checkpoint_is_sound(
    runner: Callable[..., Runner], publish_every_updates: int, said: str
) -> None:
    run = runner()
    run.train(until=lambda t: t.progress.updates >= 3)
    every = publish_every_updates
    with pytest.raises(UserError, match=said) as error:
        run.train(resume=True, learner__learning_rate=1e30, actor__publish_every_updates=every)

    assert "\n" not in str(error.value)
    kept = run.checkpoint()
    assert kept.state["progress"]["updates"] == 3
    assert all(t.abs().max() < 1e3 for part in kept.model.values() for t in part.values())
    assert run.train(resume=True).progress.updates > 3


# --- what is held while training ------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "actors"), [("inline", 1), ("threads", 2)])
def test_the_replay_ratio_is_held(runner: Callable[..., Runner], engine: str, actors: int) -> None:
    settings = {"run__engine": engine, "actor__actors": actors, "replay__replay_ratio": 2.0}
    run = runner()
    begun = run.train(until=lambda t: t.progress.updates >= 1, **settings).progress
    ended = run.train(resume=True, run__frames=1_000, **settings).progress

    # One update trains 4 x 20 steps; before and after, at most one that is allowed was not made.
    learned_steps = 80 * (ended.updates - begun.updates)
    acted = ended.env_steps - begun.env_steps
    assert learned_steps >= 10 * 80
    assert learned_steps == pytest.approx(2.0 * acted, abs=79)


def test_a_run_ends_when_its_minutes_are_over(runner: Callable[..., Runner]) -> None:
    run = runner()
    progress = run.train(run__frames=10**9, run__minutes=0.01).progress

    assert progress.minutes >= 0.01
    assert progress.env_frames < 10**9
    assert len(run.evaluations()) == 1


def test_learning_begins_when_the_replay_holds_min_steps(runner: Callable[..., Runner]) -> None:
    seen: list[tuple[int, int]] = []

    def has_learned(training: Training) -> bool:
        seen.append((training.replay.steps, training.progress.updates))
        return training.progress.updates > 0

    runner().train(until=has_learned, replay__min_steps=200)

    assert all(updates == 0 for steps, updates in seen if steps < 200)
    assert seen[-1][1] > 0


def test_a_replay_whose_bytes_run_out_before_learning_can_begin_ends_the_run(
    runner: Callable[..., Runner],
) -> None:
    training = runner().start(replay__min_steps=400, replay__max_bytes=20_000)
    with pytest.raises(ResourceError, match="fill the replay, too few to learn from"):
        training.train(StopRequest())
    training.close()


def test_a_resumed_run_whose_replay_holds_no_sequence_ends_in_one_line(
    runner: Callable[..., Runner],
) -> None:
    run = runner(game="Pong")  # whose episodes are longer than what the replay will hold
    run.train(until=lambda t: t.progress.updates >= 1, run__frames=20_000, replay__min_steps=200)

    with pytest.raises(ResourceError, match="fill the replay, too few to learn from"):
        run.train(resume=True, run__frames=20_000, replay__max_bytes=6_000)


def test_a_replay_too_small_for_one_segment_ends_the_run_in_one_line(
    runner: Callable[..., Runner],
) -> None:
    with pytest.raises(UserError, match="max_bytes is 1000, but one segment takes"):
        runner().train(replay__max_bytes=1_000)


@pytest.mark.parametrize("min_steps", range(200, 230, 5))
def test_learning_begins_also_where_many_segments_at_once_overfill_the_replay(
    runner: Callable[..., Runner], min_steps: int
) -> None:
    training = runner().train(
        until=lambda t: t.progress.updates > 0,
        replay__min_steps=min_steps,
        replay__capacity_steps=min_steps + 10,
        actor__lanes=16,
    )

    assert training.replay.oldest_serial > 0
    assert training.replay.steps >= min_steps


def test_a_session_without_a_tracker_does_not_lose_the_runs_place_there(
    runner: Callable[..., Runner],
) -> None:
    run = runner()
    training = run.start()
    training.progress.tracker_id = "a1b2c3"
    training.train(StopWhen(training, lambda t: t.progress.updates > 0))
    training.save()
    training.close()

    assert run.train(resume=True).progress.tracker_id == "a1b2c3"


def test_learning_that_has_begun_goes_on_where_bytes_run_out_below_min_steps(
    runner: Callable[..., Runner],
) -> None:
    run = runner()
    begun = run.train(until=lambda t: t.progress.updates >= 2, replay__min_steps=400)
    training = run.train(
        resume=True, run__frames=1_000, replay__min_steps=400, replay__max_bytes=20_000
    )

    assert training.replay.steps < 400
    assert training.progress.env_frames == 1_000
    learned_steps = 80 * (training.progress.updates - begun.progress.updates)
    acted = training.progress.env_steps - begun.progress.env_steps
    assert learned_steps == pytest.approx(3.0 * acted, abs=2 * 80)


def test_the_actor_acts_with_the_parameters_published_last(runner: Callable[..., Runner]) -> None:
    training = runner().start(actor__publish_every_updates=3)
    training.train(StopWhen(training, lambda t: t.progress.updates == 3))
    published = {k: v.numpy().copy() for k, v in training.agent.online.state_dict().items()}
    training.train(StopWhen(training, lambda t: t.progress.updates == 5))
    state = training.engine.state()["actor"]["policy"]
    training.close()

    assert state["version_updates"] == 3
    assert different(state["parameters"]["online"], published) == set()


def test_the_best_evaluation_is_the_best_even_where_it_is_zero(
    runner: Callable[..., Runner],
) -> None:
    training = runner().start()
    training.progress.best_evaluation_score = 0.0
    while True:  # a toy episode is worth +1 or -1
        evaluation = training.evaluate(1, StopRequest())
        assert evaluation is not None
        if evaluation.mean_score < 0:
            break
        training.progress.best_evaluation_score = 0.0
        training.agent.updates += 1  # other episodes
    training.close()

    assert training.progress.best_evaluation_score == 0.0


def test_a_checkpoint_that_cannot_be_written_warns_once_and_the_run_goes_on(
    runner: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runner()
    tried = witnessed_saves(monkeypatch)
    (run.folder / "segments").write_text("a file where a folder belongs")
    said = io.StringIO()
    training = run.start(run__checkpoint_every_minutes=1e-9)
    with (
        log_to(run.folder / "log.txt", Console(stream=said)),
        pytest.raises(CheckpointError, match="File exists"),
    ):
        training.run(StopRequest())
    training.close()

    assert training.progress.env_frames == 500
    assert len(run.evaluations()) == 1
    assert len(tried) > 2
    for heard in (said.getvalue(), (run.folder / "log.txt").read_text()):
        assert heard.count("cannot write checkpoint") == 1


def test_each_time_that_checkpoints_cannot_be_written_is_warned_about(
    runner: Callable[..., Runner], caplog: pytest.LogCaptureFixture
) -> None:
    run = runner()
    segments, full = run.folder / "segments", "a file where a folder belongs"
    training = run.start()
    for _ in range(2):
        segments.write_text(full)
        training._save_or_warn()
        training._save_or_warn()
        segments.unlink()
        training._save_or_warn()
        shutil.rmtree(segments)
    training.close()

    assert caplog.text.count("cannot write checkpoint") == 2


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "encoder"),
    [(arm, encoder) for arm in ARMS for encoder in arm_class(arm).joins],
)
def test_every_arm_trains_with_either_encoder(
    runner: Callable[..., Runner], arm: str, encoder: str
) -> None:
    run = runner()
    before = run.start(representation__arm=arm, representation__encoder=encoder)
    initial = copy.deepcopy(before.agent.model_state())
    before.close()
    training = run.train(run__frames=300, representation__arm=arm, representation__encoder=encoder)

    rows = run.metrics()
    assert training.progress.updates >= 5
    assert all(math.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
    assert ("representation_loss" in rows[-1]) == (arm_class(arm).loss is not Arm.loss)
    model = training.agent.model_state()
    assert model.keys() == initial.keys()
    for name, part in model.items():
        assert different(part, initial[name]), f"{name} has not moved"


TRIED_BELOW = {"workstation", "paper"}


@pytest.mark.parametrize("preset", sorted(preset_paths().keys() - TRIED_BELOW))
def test_every_preset_trains(runner: Callable[..., Runner], preset: str) -> None:
    run = runner(preset=preset)
    training = run.train(
        run__engine="inline",
        run__frames=400,
        run__metrics_every_updates=1,
        actor__lanes=4,
        learner__batch_sequences=2,
    )

    rows = run.metrics()
    assert training.progress.updates >= 2
    assert all(math.isfinite(row["rl_loss"]) for row in rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_the_workstation_preset_trains_and_goes_on_with_the_engine_that_it_names(
    runner: Callable[..., Runner], device: str
) -> None:
    few = {"actor__lanes": 8, "learner__batch_sequences": 2, "run__device": device}
    run = runner(preset="workstation")
    first = run.train(run__frames=400, **few)
    more = run.train(resume=True, run__frames=800, **few)

    assert first.config.run.engine == "threads"
    assert first.device.type == device
    assert more.progress.updates > first.progress.updates >= 2
    assert all(math.isfinite(row["rl_loss"]) for row in run.metrics())  # type: ignore[arg-type]


def test_the_paper_preset_builds(runner: Callable[..., Runner]) -> None:
    training = runner(preset="paper").start(
        replay__min_steps=50_000, actor__publish_every_updates=16
    )
    training.close()

    parameters = sum(p.numel() for p in training.agent.online.parameters())
    assert training.config.actor.lanes == 256
    assert training.agent.join.apart is not None
    assert parameters > 3_000_000


# --- learning -------------------------------------------------------------------------------------

MEMORY_TASK = {
    "learner__segment_steps": 8,
    "learner__burn_in_steps": 0,
    "learner__unroll_steps": 8,
    "learner__batch_sequences": 16,
    "learner__learning_rate": 2e-3,
    "learner__target_period_updates": 50,
    "learner__diagnostics_every_updates": 0,
    "representation__arm": "none",
    "replay__replay_ratio": 4.0,
    "replay__min_steps": 400,
    "actor__lanes": 8,
    "actor__publish_every_updates": 4,
    "evaluation__episodes": 64,
    "run__frames": 5_000,
    "run__metrics_every_updates": 20,
}


def test_a_task_that_needs_memory_is_solved_by_the_recurrent_agent_only(
    runner: Callable[..., Runner],
) -> None:
    with_memory, without = runner(), runner()
    with_memory.train(**MEMORY_TASK)
    without.train(**MEMORY_TASK, network__recurrent=False)

    # +1 is right, -1 is wrong: guessing is worth 0, with a standard deviation of 1/8 over 64.
    assert float(str(with_memory.evaluations()[-1]["mean_score"])) > 0.9
    assert abs(float(str(without.evaluations()[-1]["mean_score"]))) < 0.6


def test_the_evaluation_at_the_end_has_no_interim_one_before_it(
    runner: Callable[..., Runner],
) -> None:
    run = runner()
    run.train(evaluation__every_minutes=1e-9, evaluation__interim_episodes=1)

    frames = [row["env_frames"] for row in run.evaluations()]
    assert len(frames) > 2
    assert len(set(frames)) == len(frames)
    assert [row["episodes"] for row in run.evaluations()][-2:] == ["1", "2"]
