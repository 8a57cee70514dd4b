"""What it costs to see frames through a corruption, against the step of an emulator."""

from dataclasses import replace

import numpy as np
import torch

from envs.corruptions import CORRUPTIONS, LEVELS, Scene
from envs.options import FRAME_SIDE_PIXELS
from relic_rl.bench.ceilings import Results, environment_steps_per_second, seconds_per_call
from relic_rl.config import Config


def corruptions(config: Config) -> Results:
    """Of each the mean over its levels, as a share of one lane's step on one core."""
    one_core = replace(config, env=replace(config.env, threads=1))
    step_seconds = 1 / environment_steps_per_second(one_core)
    lanes, side = config.actor.lanes, FRAME_SIDE_PIXELS
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (lanes, side, side), np.uint8)
    scene = Scene(rng, rng.random((lanes, 2)), frames)

    def fraction(name: str) -> float:
        corruption = CORRUPTIONS[name]

        def corrupted() -> None:
            for level in LEVELS:
                corruption(frames, level, scene)

        seconds = seconds_per_call(corrupted, torch.device("cpu"), repeats=5)
        return seconds / (len(LEVELS) * lanes * step_seconds)

    return {
        "environment_step_seconds": step_seconds,
        "step_fraction": {name: fraction(name) for name in CORRUPTIONS},
    }
