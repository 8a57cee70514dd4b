"""A driver that is away for longer than an actor may take to answer: `python ray_pause.py ADDRESS`.

A process of its own, because Ray reads its environment once. Prints how many actors were ended.
"""

import sys
import time

import torch

from relic_rl import build
from relic_rl import config as configuration
from relic_rl.runtime import ray_engine
from relic_rl.runtime.stopwatch import Stopwatch

GAME = "YarsRevenge"
"""Full of noise: a round is larger than what Ray sends along with the word that it is done."""
AWAY_SECONDS = 10.0


def main(address: str) -> None:
    """Collects, is away, and comes back."""
    overrides = {
        "run.engine": "ray",
        "run.ray_address": address,
        "actor.refresh_steps": 160,  # rounds are a quarter of it: seconds, however slow the core
    }
    config = configuration.resolve("smoke", overrides).config
    spec = build.env_spec(config, GAME)
    agent = build.make_agent(config, spec, seed=0, device=torch.device("cpu"))
    engine = build.make_engine(config, GAME, agent, seed=0, incarnation=0, stopwatch=Stopwatch())
    try:
        for _ in range(2):
            while engine.collect().steps == 0:
                pass
        time.sleep(AWAY_SECONDS)  # both rounds that are asked for come to their end
        ray_engine.STALL_SECONDS = AWAY_SECONDS / 2
        ray_engine._CHECK_SECONDS = 0.0
        engine.collect()
        print(engine.metrics()["actor_restarts"])
    finally:
        engine.close()


if __name__ == "__main__":
    main(sys.argv[1])
