"""Run folders as a run leaves them, without the hours of training."""

import json
from collections.abc import Callable

import pytest

from relic_rl import config as configuration
from relic_rl.analysis.scores import human_normalized
from relic_rl.config import Config
from relic_rl.records.metrics import Episode, Evaluation, MetricsLog


@pytest.fixture(scope="session")
def write_run() -> Callable:
    """Writes a run folder with one evaluation per score, evenly spread over the frames."""
    return _write_run


def _write_run(
    folder,
    game="Pong",
    seed=1,
    scores=(-20.0, 15.0),
    *,
    frames=8000,
    epsilon=0.001,
    settings=None,
    **metadata,
):
    """A run folder with one evaluation per score, evenly spread over the frames.

    It is finished, unless `settings` (by `section.field`) ask for more frames or episodes.
    """
    folder.mkdir(parents=True)
    known = {"game": game, "seed": seed, "protocol": "noop", "ale_py": "0.12.1", "commit": "abc123"}
    known |= metadata
    changes = {
        "run.frames": frames,
        "evaluation.episodes": 2,
        "env.protocol": known["protocol"],
        **(settings or {}),
    }
    config = configuration.changed(Config(), changes)
    (folder / "config.toml").write_text(
        configuration.dump(config, game=game, seed=seed, preset="paper")
    )
    (folder / "metadata.json").write_text(json.dumps(known))
    log = MetricsLog(folder)
    log.write_episodes(
        Episode(100 * i, 0.1 * i, 0, 0.1, [*scores, 0.0][0] + i, 400, True) for i in range(12)
    )
    for i, score in enumerate(scores, start=1):
        at = frames * i // len(scores)
        evaluation = Evaluation.of(
            [score - 1.0, score + 1.0],
            env_frames=at,
            minutes=at / 4000,
            updates=at // 100,
            human_normalized_score=human_normalized(game, score),
            epsilon=epsilon,
            protocol=known["protocol"],
        )
        log.write_evaluation(evaluation)
    log.close()
    return folder
