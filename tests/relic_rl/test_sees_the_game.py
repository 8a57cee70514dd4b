"""The first 300 updates of the laptop preset: a view finds its frame, no position is lost.

The loss of 0e384a4 stayed at chance for as long as that, and its shifts unlearned Pong's ball.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.ram import ram_variables
from relic_rl.config import resolve
from relic_rl.console import Console
from relic_rl.evaluation.linear_probe import regression_r2, split_by_episode
from relic_rl.stop import StopRequest
from relic_rl.train import Training

pytestmark = pytest.mark.slow

POSITIONS = {
    "Pong": ("player_y", "enemy_y", "ball_x", "ball_y"),
    "Breakout": ("player_x", "ball_x", "ball_y"),
    "Boxing": ("player_x", "player_y", "enemy_x", "enemy_y"),
    "RoadRunner": (),  # nobody has annotated its memory
}
FRAMES_PER_UPDATE = 80
"""160 trained steps at a replay ratio of 8: 20 steps of 4 frames."""


@pytest.mark.parametrize("game", POSITIONS)
def test_a_view_finds_its_frame_within_300_updates_and_no_position_is_lost(
    tmp_path: Path, random_play: Any, game: str
) -> None:
    if POSITIONS[game]:
        stacks, memory, episodes = random_play(game, 4_800, lanes=8, frame_stack=2)
        split = split_by_episode(episodes, seed=0)
        at = [v.name in POSITIONS[game] for v in ram_variables()[game]]
    config = resolve(
        "laptop",
        {
            "run.threads": 1,
            "run.minutes": 0,
            "run.metrics_every_updates": 50,
            "replay.min_steps": 1_000,
            "run.frames": 4_000 + 320 * FRAMES_PER_UPDATE,
            "evaluation.episodes": 1,
        },
    ).config
    stop, console = StopRequest(), Console(stream=io.StringIO())
    training = Training(tmp_path, config, game, 0, console, None)
    r2, hits = [], []
    update = training.agent.update

    def updated(batch: Any) -> Any:
        if training.agent.updates % 100 == 0 and POSITIONS[game]:
            with torch.no_grad():
                encoder = training.agent.online.encoder
                features = torch.cat([encoder(part) for part in stacks.split(500)])
            found = regression_r2(features, memory[:, at], split, stop=StopRequest())
            r2.append(np.array(found))
        report = update(batch)
        hits.append(float(report.metrics["contrastive_accuracy"]))
        stop.requested = training.agent.updates == 301
        return report

    training.agent.update = updated  # type: ignore[method-assign]
    try:
        training.run(stop)
    finally:
        training.close()

    assert len(hits) > 300
    assert np.mean(hits[250:300]) > 1.5 / 16
    for later in r2[1:]:
        # The RL loss alone takes 0.08 off the probe of Pong's own paddle.
        assert (later > r2[0] - 0.1).all(), (POSITIONS[game], r2)
        assert later.mean() > r2[0].mean() - 0.01, (POSITIONS[game], r2)
