"""Training: the page to read first. It builds the parts from the configuration and runs the loop.

    while there is budget:   collect a step of all lanes -> replay
                             update as often as the replay ratio allows -> publish
                             metrics, evaluation and checkpoints when due
    at the end:              evaluate, checkpoint, draw the curves

`Training` is the composition root: what it builds sees plain values, not the configuration.
"""

import logging
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from envs.interface import EpisodeRecord
from relic_rl import build
from relic_rl import config as configuration
from relic_rl.analysis.pictures import PictureError, draw_run
from relic_rl.analysis.runs import read_run
from relic_rl.config import Config
from relic_rl.console import Console, counted
from relic_rl.counters import FRAMES_PER_STEP, Progress
from relic_rl.errors import ResourceError
from relic_rl.evaluation.evaluate import evaluate_agent
from relic_rl.machine import devices
from relic_rl.records.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from relic_rl.records.metrics import Episode, Evaluation, MetricsLog
from relic_rl.records.run_folder import names_of
from relic_rl.records.tracking import make_tracker
from relic_rl.run_game import normalized_score
from relic_rl.runtime.engine import resumed_generator, resumed_incarnation
from relic_rl.runtime.learner import Learner, RunningMeans
from relic_rl.runtime.limiter import RateLimiter
from relic_rl.runtime.stopwatch import Stopwatch
from relic_rl.stop import StopRequest

RECENT_EPISODES = 20

_log = logging.getLogger(__name__)


class Training:
    """One session of a run, from its start or from a checkpoint.

    Args:
      folder: the run folder, locked by the caller.
      config: the run's.
      game: a game's name, or a toy's.
      seed: of everything.
      console: what the user sees.
      checkpoint: where to go on from.
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
        self.progress = Progress()
        self.device = devices.learner_device(config)
        devices.set_threads(config)
        self.stopwatch = Stopwatch()
        self.incarnation = resumed_incarnation(config.run.engine, checkpoint and checkpoint.state)
        envs = build.make_actor_envs(config, game, seed=seed, incarnation=self.incarnation)
        self.agent = build.make_agent(config, envs[0], seed=seed, device=self.device)
        self.replay = build.make_replay(config, seed=seed)
        self.batches = build.make_batches(config, self.replay, self.device)
        self.learner = Learner(
            agent=self.agent, replay=self.replay, batches=self.batches, stopwatch=self.stopwatch
        )
        self.limiter = RateLimiter(
            replay_ratio=config.replay.replay_ratio,
            steps_per_update=config.learner.batch_sequences * config.learner.unroll_steps,
        )
        self.epsilons = build.make_epsilons(config)
        self.engine = build.make_engine(
            config,
            game,
            envs,
            self.agent,
            self.epsilons,
            seed=seed,
            incarnation=self.incarnation,
            stopwatch=self.stopwatch,
        )
        self.checkpoints = CheckpointStore(folder, checkpoint)
        self.metrics = MetricsLog(folder)
        self._recent_scores: list[float] = []
        self._means = RunningMeans()
        self._latest_row: dict[str, Any] = {}
        self._warned_about_checkpoint = False
        if checkpoint is None:  # rows of a session that ended before its first checkpoint
            self.metrics.truncate(dict.fromkeys(self.metrics.offsets(), 0))
        else:
            self._load(checkpoint)
        name, sweep = names_of(folder)
        self.tracker = make_tracker(
            config.run.track,
            folder,
            configuration.identity(config, game, seed),
            name=name,
            group=sweep,
            tags=(game, config.representation.arm),
            run_id=self.progress.tracker_id,
        )
        self.progress.tracker_id = self.tracker.id or self.progress.tracker_id

    # --- the loop -------------------------------------------------------------------------------

    def run(self, stop: StopRequest) -> Evaluation | None:
        """Trains until the budget is spent or a stop is requested, then checkpoints.

        Returns:
          The evaluation at the end; None if the run was stopped.
        """
        self.train(stop)
        evaluation = None
        if not stop.requested:
            self._save_or_warn()  # the evaluation may take minutes
            evaluation = self.evaluate(self.config.evaluation.episodes, stop)
        self.save()
        if evaluation is not None:
            self._draw_curves()
        return evaluation

    def train(self, stop: StopRequest) -> None:
        """The loop: until the budget is spent or a stop is requested."""
        self._session_started = time.perf_counter()
        self._minutes_before = self.progress.minutes
        self._lap_from = (self.progress.env_steps, self.progress.updates)
        self._saved_minutes = self._minutes_before
        self._make_owed_updates(stop)  # the rest, where a stop came among them
        while not stop.requested and not self._budget_spent():
            self._collect()
            self._make_owed_updates(stop)
            self._tick()
            self._evaluate_if_due(stop)
            self._save_if_due()

    def _collect(self) -> None:
        collected = self.engine.collect()
        learning = self._holds_enough
        for segment in collected.segments:
            self.replay.insert(segment)
        self.progress.env_steps += collected.steps
        if learning:
            self.limiter.acted(collected.steps)
        elif self.replay.oldest_serial and not (self._holds_enough or self.progress.updates):
            raise ResourceError(
                f"{self.replay.steps:,} steps fill the replay, too few to learn from: raise "
                "--replay.capacity_steps and --replay.max_bytes, or lower --replay.min_steps"
            )
        if collected.episodes:
            self._write_episodes(collected.episodes)

    @property
    def _holds_enough(self) -> bool:
        """Whether the replay may be learned from; once it was, `max_bytes` may leave less."""
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

    def _tick(self) -> None:
        elapsed = (time.perf_counter() - self._session_started) / 60.0
        self.progress.minutes = self._minutes_before + elapsed
        self.console.status(self._status())

    def _budget_spent(self) -> bool:
        progress = self.progress
        return self.config.run.budget.is_spent(progress.env_frames, progress.minutes)

    # --- evaluation -----------------------------------------------------------------------------

    def _evaluate_if_due(self, stop: StopRequest) -> None:
        every, progress = self.config.evaluation.every_minutes, self.progress
        if not 0 < every <= progress.minutes - progress.evaluated_minutes or self._budget_spent():
            return
        if self.evaluate(self.config.evaluation.interim_episodes, stop):
            self._tick()  # or one that takes longer than the period would be due again at once
            progress.evaluated_minutes = progress.minutes

    def evaluate(self, episodes: int, stop: StopRequest) -> Evaluation | None:
        """Plays full episodes with `evaluation_policy`; records the scores unless stopped."""
        config, progress = self.config, self.progress
        with self.stopwatch.time("evaluation"):
            scores = evaluate_agent(
                self.agent, config, self.game, seed=self.seed, episodes=episodes, stop=stop
            )
        if not scores:
            return None
        evaluation = self.metrics.write_evaluation(
            env_frames=progress.env_frames,
            minutes=progress.minutes,
            updates=progress.updates,
            scores=scores,
            human_normalized_score=normalized_score(self.game, float(np.mean(scores))),
            epsilon=config.evaluation.epsilon,
            protocol=config.env.protocol,
        )
        progress.evaluated_minutes = progress.minutes
        mean, best = evaluation.mean_score, progress.best_evaluation_score
        progress.evaluation_score = mean
        progress.best_evaluation_score = mean if best is None else max(mean, best)
        self.tracker.log(
            {
                "env_frames": progress.env_frames,
                "evaluation_score": mean,
                "human_normalized_score": evaluation.human_normalized_score,
            }
        )
        self.console.say(
            f"evaluation at {progress.env_frames:,} frames, {progress.minutes:.1f} min: mean score "
            f"{mean:.1f} over {counted(episodes, 'episode')} ({evaluation.min_score:.0f} to "
            f"{evaluation.max_score:.0f})"
        )
        return evaluation

    # --- what is written ------------------------------------------------------------------------

    def _write_episodes(self, episodes: list[EpisodeRecord]) -> None:
        progress = self.progress
        progress.episodes += len(episodes)
        self._recent_scores += [episode.score for episode in episodes]
        del self._recent_scores[:-RECENT_EPISODES]
        self.metrics.write_episodes(
            Episode(
                env_frames=progress.env_frames,
                minutes=progress.minutes,
                lane=episode.lane,
                epsilon=float(self.epsilons[episode.lane]),
                score=episode.score,
                episode_frames=episode.frames,
                terminated=episode.terminated,
            )
            for episode in episodes
        )

    def _write_metrics(self) -> None:
        if not self._means.count:
            return
        row: dict[str, Any] = {
            "env_frames": self.progress.env_frames,
            "minutes": self.progress.minutes,
            "updates": self.progress.updates,
            "episodes": self.progress.episodes,
            "mean_score": self._mean_score(),
            **self._means.take(),
            "skipped_updates": self.learner.skipped_updates,
            "skipped_batch": self.learner.take_skipped_batch(),
            "replay_steps": self.replay.steps,
            "replay_bytes": self.replay.bytes,
            "resident_bytes": psutil.Process().memory_info().rss,
            "replay_ratio": self.limiter.replay_ratio,
            "stale_priorities": self.replay.stale_priorities,
            **self.engine.metrics(),
            **self._rates(),
        }
        self._latest_row = row
        self.metrics.write_metrics(row)
        self.tracker.log(row)

    def _rates(self) -> dict[str, float]:
        """Where the time since the last row went, and how fast things were."""
        lap = self.stopwatch.lap()
        env_steps, updates = self._lap_from
        self._lap_from = (self.progress.env_steps, self.progress.updates)
        steps_per_second = (self.progress.env_steps - env_steps) / lap["window"]
        return {
            **{f"{name}_seconds": seconds for name, seconds in lap.items()},
            "steps_per_second": steps_per_second,
            "frames_per_second": steps_per_second * FRAMES_PER_STEP,
            "updates_per_second": (self.progress.updates - updates) / lap["window"],
        }

    def _status(self) -> dict[str, Any]:
        progress = self.progress
        return {
            **self._latest_row,
            "env_frames": progress.env_frames,
            "minutes": progress.minutes,
            "mean_score": self._mean_score(),
            "evaluation_score": progress.evaluation_score,
            "best_evaluation_score": progress.best_evaluation_score,
            "replay_fill": self.replay.steps / self.config.replay.capacity_steps,
            "replay_bytes": self.replay.bytes,
        }

    def _mean_score(self) -> float | None:
        return float(np.mean(self._recent_scores)) if self._recent_scores else None

    def _draw_curves(self) -> None:
        try:
            self.tracker.file(draw_run(read_run(self.folder), self.folder).png)
        except (PictureError, ValueError) as error:
            _log.warning("no picture of the run: %s", error)

    # --- checkpoints ----------------------------------------------------------------------------

    def _save_if_due(self) -> None:
        every = self.config.run.checkpoint_every_minutes
        if self.progress.minutes - self._saved_minutes >= every:
            self._saved_minutes = self.progress.minutes
            self._save_or_warn()

    def _save_or_warn(self) -> None:
        """Saves; a full disk is warned about once, and the run goes on."""
        try:
            self.save()
        except CheckpointError as error:
            if not self._warned_about_checkpoint:
                self.console.say(f"warning: {error}")
            self._warned_about_checkpoint = True

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
          CheckpointError: it cannot be written.
        """
        with self.stopwatch.time("checkpoint"):
            self.metrics.sync()
            self.checkpoints.save(
                env_frames=self.progress.env_frames,
                model=self.agent.model_state(),
                optimizer=self.agent.optimizer_state(),
                state=self._state(),
                replay=self.replay,
            )

    def _state(self) -> dict[str, Any]:
        return {
            "progress": asdict(self.progress),
            "incarnation": self.incarnation,
            "recent_scores": list(self._recent_scores),
            "metrics_offsets": self.metrics.offsets(),
            "limiter": self.limiter.state(),
            "agent_generator": self.agent.generator.get_state().cpu().numpy(),
            "means": self._means.state(),
            "learner": self.learner.state(),
            "engine": self.engine.state(),
            "settings": configuration.identity(self.config, self.game, self.seed),
        }

    def _load(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self.progress = Progress(**state["progress"])
        self._recent_scores = list(state["recent_scores"])
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
        self.metrics.truncate(state["metrics_offsets"])  # last: what is above may refuse
        # The caller holds the checkpoint while the run lasts, but not all of this a second time.
        for part in (checkpoint.segments, checkpoint.model, checkpoint.optimizer):
            part.clear()

    def close(self) -> None:
        """Ends the sampling, the engine and the records, whichever of them fails to."""
        with ExitStack() as stack:
            for part in (self.console, self.tracker, self.metrics, self.engine, self.batches):
                stack.callback(part.close)
