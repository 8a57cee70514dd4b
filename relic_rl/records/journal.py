"""A run's journal: what a run writes down about itself while it trains, and what its reader sees.

Rows of metrics, episodes and evaluations go into the tables of the run folder, to the tracker, and
in short to the console. The journal also keeps what rows need from one another: the latest scores,
the best evaluation, and how far the run was at the row before.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from envs.interface import EnvSpec, EpisodeRecord
from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.console import Console, counted
from relic_rl.counters import Progress
from relic_rl.records.metrics import FILES, Episode, Evaluation, MetricsLog
from relic_rl.records.probes import Probing, append_probing, drop_later_probings
from relic_rl.records.run_status import last_evaluation, last_metrics
from relic_rl.records.sweep_folder import names_of
from relic_rl.records.tracking import TrackedRun, make_tracker

RECENT_EPISODES = 20
"""Training episodes whose mean is `mean_score`."""


class Journal:
    """The account of one run, of which `progress` is the latest line.

    What the tables hold from after the checkpoint is dropped, or all of it where there is none: a
    run that ended before its first checkpoint starts again.

    Args:
      folder: the run folder.
      config: says under which protocol and with which exploration evaluations are played, and
        which tracker is told.
      spec: of what is played.
      seed: for the tracker, which shows it.
      progress: the run's counters; the caller counts steps, updates and minutes, the journal
        episodes and evaluations.
      console: where status and evaluations are shown.
      epsilons: each lane's rate of exploration.
      state: the checkpoint's, with what `state` gave; None at a run's start.

    Attributes:
      tracker: repeats rows and evaluations elsewhere, and takes files.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        spec: EnvSpec,
        seed: int,
        *,
        progress: Progress,
        console: Console,
        epsilons: Sequence[float],
        state: Mapping[str, Any] | None,
    ) -> None:
        self._config = config
        self._spec = spec
        self._progress = progress
        self._console = console
        self._epsilons = epsilons
        self._recent_scores = deque(state["recent_scores"] if state else (), RECENT_EPISODES)
        self._latest_row: dict[str, Any] = {}
        self._env_steps_before = progress.env_steps
        self._updates_before = progress.updates
        # What the session before mirrored, and lost: it is trained anew, but not mirrored twice.
        self._mirrored_updates = last_metrics(folder).get("updates", 0) if state else 0
        self._mirrored_frames = last_evaluation(folder).get("env_frames", 0) if state else 0
        self._folder = folder
        self._tables = MetricsLog(folder)
        self._tables.truncate(state["metrics_offsets"] if state else dict.fromkeys(FILES, 0))
        self._mirrored_probes_frames = drop_later_probings(folder, progress.env_frames)
        name, sweep = names_of(folder)
        run = TrackedRun(
            folder,
            name,
            configuration.identity(config, spec.name, seed),
            group=sweep,
            tags=(spec.name, config.representation.arm),
            run_id=progress.tracker_id,
            resumed=state is not None,
        )
        self.tracker = make_tracker(config.run.track, run)
        progress.tracker_id = self.tracker.id or progress.tracker_id

    def write_episodes(self, episodes: Sequence[EpisodeRecord]) -> None:
        """Records training episodes that have just ended."""
        progress = self._progress
        progress.episodes += len(episodes)
        self._recent_scores.extend(episode.score for episode in episodes)
        self._tables.write_episodes(
            Episode(
                env_frames=progress.env_frames,
                minutes=progress.minutes,
                lane=episode.lane,
                epsilon=self._epsilons[episode.lane],
                score=episode.score,
                episode_frames=episode.frames,
                terminated=episode.terminated,
            )
            for episode in episodes
        )

    def write_metrics(self, measured: Mapping[str, Any], lap: Mapping[str, float]) -> None:
        """Writes a row of metrics.

        Args:
          measured: what the run's parts say of themselves, by column.
          lap: seconds since the row before, by what they were spent on; "window": all of them.
        """
        progress = self._progress
        row = {
            "env_frames": progress.env_frames,
            "minutes": progress.minutes,
            "updates": progress.updates,
            "episodes": progress.episodes,
            "mean_score": self._mean_score(),
            **measured,
            "resident_bytes": psutil.Process().memory_info().rss,
            **{f"{name}_seconds": seconds for name, seconds in lap.items()},
            **self._rates(lap["window"]),
        }
        self._latest_row = row
        self._tables.write_metrics(row)
        if progress.updates > self._mirrored_updates:
            self.tracker.log(row)

    def write_evaluation(self, scores: Sequence[float]) -> Evaluation:
        """Records an evaluation that was just played.

        Args:
          scores: of every episode, undiscounted raw returns.
        """
        progress, protocol = self._progress, self._spec.protocol
        evaluation = Evaluation.of(
            scores,
            env_frames=progress.env_frames,
            minutes=progress.minutes,
            updates=progress.updates,
            human_normalized_score=self._spec.human_normalized(float(np.mean(scores))),
            epsilon=self._config.evaluation.epsilon,
            protocol=protocol.name if protocol else "none",
        )
        self._tables.write_evaluation(evaluation)
        progress.evaluated(evaluation.mean_score)
        if evaluation.env_frames > self._mirrored_frames:
            self.tracker.log(
                {
                    "env_frames": evaluation.env_frames,
                    "evaluation_score": evaluation.mean_score,
                    "human_normalized_score": evaluation.human_normalized_score,
                }
            )
        self._console.say(
            f"evaluation at {evaluation.env_frames:,} frames, {evaluation.minutes:.1f} min: mean "
            f"score {evaluation.mean_score:.1f} over {counted(evaluation.episodes, 'episode')} "
            f"({evaluation.min_score:.0f} to {evaluation.max_score:.0f})"
        )
        return evaluation

    def write_probing(self, found: Probing) -> None:
        """Records what probes have just found.

        Raises:
          UserError: it cannot be written.
        """
        append_probing(self._folder, found)
        scores = {name: one.f1 for name, one in found.representations.items()}
        if found.env_frames > self._mirrored_probes_frames:
            of_each = {f"probe_f1_{name}": f1 for name, f1 in scores.items()}
            self.tracker.log({"env_frames": found.env_frames, **of_each})
        listed = ", ".join(f"{name.replace('_', ' ')} {f1:.2f}" for name, f1 in scores.items())
        self._console.say(f"probes at {found.env_frames:,} frames: F1 of {listed}")

    def show_status(self, *, replay_steps: int, replay_bytes: int) -> None:
        """Shows how the run stands; may be called at every step."""
        progress = self._progress
        self._console.status(
            {
                **self._latest_row,
                "env_frames": progress.env_frames,
                "minutes": progress.minutes,
                "mean_score": self._mean_score(),
                "evaluation_score": progress.evaluation_score,
                "best_evaluation_score": progress.best_evaluation_score,
                "replay_fill": replay_steps / self._config.replay.capacity_steps,
                "replay_bytes": replay_bytes,
            }
        )

    def sync(self) -> None:
        """Puts on the disk what was written; call it before a checkpoint stores `state`."""
        self._tables.sync()

    def state(self) -> dict[str, Any]:
        """What a resume needs, beside `progress`."""
        return {
            "recent_scores": list(self._recent_scores),
            "metrics_offsets": self._tables.offsets(),
        }

    def close(self) -> None:
        """Ends the tables and the tracker."""
        try:
            self._tables.close()
        finally:
            self.tracker.close()
        if self.tracker.left_to_do:
            self._console.say(self.tracker.left_to_do)

    def _rates(self, window_seconds: float) -> dict[str, float]:
        """How fast the run was since the row before."""
        env_steps = self._progress.env_steps - self._env_steps_before
        updates = self._progress.updates - self._updates_before
        self._env_steps_before = self._progress.env_steps
        self._updates_before = self._progress.updates
        return {
            "steps_per_second": env_steps / window_seconds,
            "frames_per_second": env_steps * self._progress.frames_per_step / window_seconds,
            "updates_per_second": updates / window_seconds,
        }

    def _mean_score(self) -> float | None:
        return float(np.mean(self._recent_scores)) if self._recent_scores else None
