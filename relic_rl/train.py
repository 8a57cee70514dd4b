"""Training: the page to read first. It builds the parts from the configuration and runs the loop.

    while there is budget:   collect a step of all lanes -> replay
                             update as often as the replay ratio allows -> publish
                             metrics, evaluation and checkpoints when due
    at the end:              evaluate, checkpoint, draw the curves

`Training` is the composition root: what it builds sees its own options, not the configuration.
"""

import logging
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from envs.registry import find_environment
from relic_rl import build
from relic_rl import config as configuration
from relic_rl.analysis.pictures import PictureError, draw_run
from relic_rl.analysis.runs import read_run
from relic_rl.config import Config
from relic_rl.console import Console, counted
from relic_rl.counters import Progress, passes_multiple
from relic_rl.errors import ResourceError, UserError
from relic_rl.evaluation.evaluate import evaluate_agent
from relic_rl.evaluation.probe import probe_agent
from relic_rl.evaluation.trained import TrainedAgent, save_policy
from relic_rl.machine import devices
from relic_rl.records import run_folder
from relic_rl.records.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from relic_rl.records.checkpoint_files import sync_folder
from relic_rl.records.journal import Journal
from relic_rl.records.metrics import Evaluation
from relic_rl.runtime.engine import resumed_generator, resumed_incarnation
from relic_rl.runtime.learner import Learner, RunningMeans
from relic_rl.runtime.limiter import RateLimiter
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.runtime.training_clock import TrainingClock
from relic_rl.stop import StopRequest

_log = logging.getLogger(__name__)


class Training:
    """One session of a run: from its start, or from a checkpoint, to its end or a stop.

    Args:
      folder: the run folder, locked by the caller.
      checkpoint: where the session resumes; None starts the run.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        game: str,
        seed: int,
        console: Console,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.game = game
        self.seed = seed
        self.console = console
        state = checkpoint.state if checkpoint is not None else None
        self.spec = spec = build.env_spec(config, game)
        self._probe_every_frames = config.run.probe_every_frames
        if self._probe_every_frames and not find_environment(game).ram_variables:
            self._probe_every_frames = 0
            console.say(f"no probes on the way: nobody has annotated the memory of {game}")
        self.progress = Progress(frames_per_step=spec.frames_per_step)
        if state:
            self.progress = Progress(**state["progress"])
        self.device = devices.learner_device(config)
        devices.set_threads(config)
        devices.set_gpu_arithmetic(config)
        self.stopwatch = Stopwatch()
        self.clock = TrainingClock(self.progress.minutes)
        self.incarnation = resumed_incarnation(config.run.engine, state)
        self.agent = build.make_agent(config, spec, seed=seed, device=self.device)
        self.replay = build.make_replay(config, seed=seed)
        self.batches = build.make_batches(config, self.replay, self.device)
        self.learner = Learner(
            agent=self.agent, replay=self.replay, batches=self.batches, stopwatch=self.stopwatch
        )
        self.limiter = RateLimiter(
            replay_ratio=config.replay.replay_ratio,
            steps_per_update=config.learner.steps_per_update,
        )
        console.say(f"starting {counted(config.actor.lanes, 'environment')}")
        self.engine = build.make_engine(
            config,
            game,
            self.agent,
            seed=seed,
            incarnation=self.incarnation,
            stopwatch=self.stopwatch,
        )
        self.checkpoints = CheckpointStore(folder, checkpoint)
        self._means = RunningMeans()
        self._saved_minutes = self.progress.minutes
        self._warned_about_checkpoint = False
        with ExitStack() as refused:
            refused.callback(self.engine.close)  # or its actors would stay in their cluster
            if checkpoint is not None:
                self._load(checkpoint)
            self.journal = Journal(  # last, for it cuts the tables, and what is above may refuse
                folder,
                config,
                spec,
                seed,
                progress=self.progress,
                console=console,
                epsilons=build.make_epsilons(config).tolist(),
                state=state,
            )
            refused.pop_all()

    # --- the loop -------------------------------------------------------------------------------

    def run(self, stop: StopRequest) -> Evaluation | None:
        """Trains until the budget is spent or a stop is requested, then checkpoints.

        Returns:
          The evaluation at the end; None if the run was stopped.
        """
        self.train(stop)
        evaluation = None
        if not stop.requested:
            self._save_or_warn()  # what follows may take minutes
            wants_probes = self._probe_every_frames > 0
            if wants_probes and self.progress.probed_frames < self.progress.env_frames:
                self.probe(stop)
                self._save_or_warn()  # or what is killed in the evaluation probes again
        if not stop.requested:  # last, for with its row the run is finished
            evaluation = self.evaluate(self.config.evaluation.episodes, stop)
        self.save()
        if evaluation is not None:
            self._draw_curves()
            if evaluation.updates:  # else it is to be resumed
                self._give_back()
        return evaluation

    def train(self, stop: StopRequest) -> None:
        """The loop: until the budget is spent or a stop is requested."""
        with self.clock.running():
            self._follow_up(stop)  # the rest, where a stop came in it
            while not stop.requested and not self._budget_spent():
                self._collect()
                self._follow_up(stop)

    def _follow_up(self, stop: StopRequest) -> None:
        """What the steps collected so far ask for."""
        self._make_owed_updates(stop)
        self._tick()
        self._evaluate_if_due(stop)
        self._probe_if_due(stop)
        self._save_if_due()

    def _collect(self) -> None:
        collected = self.engine.collect()
        learning = self._holds_enough
        for segment in collected.segments:
            self.replay.insert(segment)
        self.progress.env_steps += collected.steps
        if learning:
            self.limiter.acted(collected.steps)
        elif self.replay.oldest_serial and not self._holds_enough:
            raise ResourceError(
                f"{self.replay.steps:,} steps fill the replay, too few to learn from: raise "
                "--replay.capacity_steps and --replay.max_bytes, or lower --replay.min_steps"
            )
        if collected.episodes:
            self.journal.write_episodes(collected.episodes)

    @property
    def _holds_enough(self) -> bool:
        """Whether the replay holds enough to learn from; later `max_bytes` may leave less."""
        enough = self.progress.updates > 0 or self.replay.steps >= self.config.replay.min_steps
        return enough and len(self.replay) > 0

    def _make_owed_updates(self, stop: StopRequest) -> None:
        while self.limiter.may_update and len(self.replay) and not stop.requested:
            self._update()

    def _update(self) -> None:
        self._means.add(self.learner.update())
        self.limiter.updated()
        self.progress.updates = self.agent.updates
        if self.agent.updates % self.config.actor.publish_every_updates == 0:
            self.engine.publish(self.agent)
        if self._means.count >= self.config.run.metrics_every_updates:
            self._write_metrics()

    def _write_metrics(self) -> None:
        measured = {
            **self._means.take(),
            "skipped_updates": self.learner.skipped_updates,
            "skipped_batch": self.learner.take_skipped_batch(),
            "replay_steps": self.replay.steps,
            "replay_bytes": self.replay.bytes,
            "replay_ratio": self.limiter.replay_ratio,
            "stale_priorities": self.replay.stale_priorities,
            **self.engine.metrics(),
            **devices.gpu_metrics(self.device),
        }
        self.journal.write_metrics(measured, self.stopwatch.lap())

    def _tick(self) -> None:
        self.progress.minutes = self.clock.minutes()
        self._show_status()

    def _show_status(self) -> None:
        self.journal.show_status(replay_steps=self.replay.steps, replay_bytes=self.replay.bytes)

    def _budget_spent(self) -> bool:
        return self.config.run.budget.is_spent(self.progress.env_frames, self.progress.minutes)

    def _evaluate_if_due(self, stop: StopRequest) -> None:
        options, progress = self.config.evaluation, self.progress
        since = progress.minutes - progress.evaluated_minutes
        by_minutes = 0 < options.every_minutes <= since
        by_frames = passes_multiple(
            options.every_frames, progress.evaluated_frames, progress.env_frames
        )
        if not (by_minutes or by_frames) or self._budget_spent():
            return
        if self.evaluate(self.config.evaluation.interim_episodes, stop):
            self._tick()  # or one that takes longer than the period would be due again at once
            progress.evaluated_minutes = progress.minutes

    def evaluate(self, episodes: int, stop: StopRequest) -> Evaluation | None:
        """Plays full episodes with the acting policy; records the scores unless stopped."""
        self.console.say(f"evaluating: {counted(episodes, 'episode')}")
        with self.stopwatch.time("evaluation"):
            scores = evaluate_agent(
                self._trained(),
                seed=self.seed,
                episodes=episodes,
                stop=stop,
                tell=partial(self.console.playing, "evaluating"),
            )
        evaluation = self.journal.write_evaluation(scores) if scores else None
        self._show_status()
        return evaluation

    def _probe_if_due(self, stop: StopRequest) -> None:
        every, progress = self._probe_every_frames, self.progress
        is_due = passes_multiple(every, progress.probed_frames, progress.env_frames)
        if is_due and not self._budget_spent():
            self.probe(stop)

    def probe(self, stop: StopRequest) -> None:
        """Records what the agent knows of the game, unless stopped; draws no number of the run's.

        What cannot be probed, as where hardly anything happens, is said, and the run continues.
        """
        progress = self.progress
        with self.stopwatch.time("probe"):
            try:
                found = probe_agent(
                    self._trained(), seed=self.seed, stop=stop, tell=self.console.working
                )
                if found is not None:
                    self.journal.write_probing(found)
            except UserError as error:
                self.console.say(f"no probes at {progress.env_frames:,} frames: {error}")
        if not stop.requested:
            progress.probed_frames = progress.env_frames
        self._show_status()

    def _draw_curves(self) -> None:
        try:
            self.journal.tracker.file(draw_run(read_run(self.folder), self.folder).png)
        except (PictureError, ValueError) as error:
            _log.warning("no picture of the run: %s", error)

    # --- checkpoints ----------------------------------------------------------------------------

    def _save_if_due(self) -> None:
        every = self.config.run.checkpoint_every_minutes
        if self.progress.minutes - self._saved_minutes >= every:
            self._saved_minutes = self.progress.minutes  # of its start: so much a kill may cost
            self._save_or_warn()

    def _save_or_warn(self) -> None:
        """Saves; a full disk is warned about once each time, and the run continues."""
        try:
            self.save()
        except CheckpointError as error:
            if not self._warned_about_checkpoint:
                _log.warning("%s", error)
            self._warned_about_checkpoint = True
        else:
            self._warned_about_checkpoint = False

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
          CheckpointError: it cannot be written.
        """
        with self.stopwatch.time("checkpoint"):
            self.journal.sync()
            self.checkpoints.save(
                env_frames=self.progress.env_frames,
                model=self.agent.model_state(),
                optimizer=self.agent.optimizer_state(),
                state=self._state(),
                replay=self.replay,
            )

    def _give_back(self) -> None:
        """Frees the disk of what `run.keep` does not name."""
        keep = self.config.run.keep
        if keep == "policy":
            save_policy(self._trained(), self.folder, self.folder / run_folder.POLICY_FILE)
            sync_folder(self.folder)  # before what it replaces goes
            self.checkpoints.remove(but_newest=False)
        elif keep == "checkpoint":
            self.checkpoints.remove(but_newest=True)

    def _trained(self) -> TrainedAgent:
        return TrainedAgent(
            self.agent, self.config, self.spec, self.progress.env_frames, tracker_id=None
        )

    def _state(self) -> dict[str, Any]:
        return {
            "progress": asdict(self.progress),
            "incarnation": self.incarnation,
            **self.journal.state(),
            "limiter": self.limiter.state(),
            "agent_generator": self.agent.generator.get_state().cpu().numpy(),
            "means": self._means.state(),
            "learner": self.learner.state(),
            "engine": self.engine.state(),
            "settings": configuration.identity(self.config, self.game, self.seed),
        }

    def _load(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self._means.load_state(state["means"])
        self.learner.load_state(state["learner"])
        self.limiter.load_state(state["limiter"])
        self.agent.load_state(
            checkpoint.model,
            checkpoint.optimizer,
            resumed_generator(self.config.run.engine, state, self.agent.generator.get_state()),
            self.progress.updates,
        )
        self.replay.load_state(state["replay"], checkpoint.segments)
        self.engine.publish(self.agent)
        if self.incarnation == state["incarnation"]:  # in its own episodes, by their actions
            self.console.say("playing the games up to where they stood: may take some minutes")
        self.engine.load_state(state["engine"], env_steps=self.progress.env_steps)
        # The caller holds the checkpoint while the run lasts, but not all of this a second time.
        parts = (checkpoint.segments, checkpoint.model, checkpoint.optimizer)
        for part in (*parts, state["engine"]):
            part.clear()

    def close(self) -> None:
        """Ends the sampling, the engine and the records, even if one of them fails to."""
        with ExitStack() as stack:
            for part in (self.console, self.journal, self.engine, self.batches):
                stack.callback(part.close)
