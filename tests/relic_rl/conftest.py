"""Records with many fields, of which a test names those that it is about, and random play."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.atari import AtariLanes
from envs.ram import ram_variables
from relic_rl.records.probes import Probing, Readout, Representation
from relic_rl.replay.segment import Segment, SegmentName, encode_segment


@pytest.fixture(scope="session")
def make_segment() -> Callable[..., Segment]:
    """A segment with these frames, the last of its episode unless told otherwise."""

    def make(
        name: SegmentName,
        frames: NDArray[np.uint8],
        *,
        history_frames: int = 1,
        terminated: bool = True,
        **changes: Any,
    ) -> Segment:
        steps = len(frames) - history_frames - terminated
        known = {
            "actions": np.zeros(steps, np.int64),
            "rewards": np.zeros(steps, np.float32),
            "truncated": False,
            "previous_action": -1,
            "previous_reward": 0.0,
            "recurrent_state": np.zeros((2, 4), np.float32),
            "td_max": 1.0,
            "td_sum": 2.0,
            "created_env_steps": 0,
        }
        return encode_segment(
            name=name,
            frames=frames,
            history_frames=history_frames,
            terminated=terminated,
            **(known | changes),
        )

    return make


@pytest.fixture(scope="session")
def make_probing() -> Callable[..., Probing]:
    """A probing of Pong, with these changes."""
    encoder = Representation(
        f1=0.5,
        r2=None,
        variables={"ball_x": Readout("small_object_localization", 0.5, None)},
        effective_rank=12.5,
        mean_share=0.25,
        invariance=0.1,
        contrastive_accuracy=0.75,
    )
    found = Probing(
        game="Pong",
        env_frames=4000,
        updates=10,
        seed=0,
        steps=1000,
        episodes=16,
        train_steps=700,
        test_steps=190,
        repeated_steps=10,
        epsilon=0.2,
        protocol="noop",
        dropped=("player_x",),
        chance=1 / 256,
        representations={"encoder": encoder, "pixels": replace(encoder, effective_rank=None)},
    )
    return lambda **changes: replace(found, **changes)


class RandomPlay(NamedTuple):
    """Steps of several episodes."""

    stacks: Tensor
    """uint8[N, S, 84, 84]"""
    memory: Tensor
    """uint8[N, V], the variables that the game is known to have."""
    episodes: NDArray[np.int64]
    """int64[N], which one a step is of."""


@pytest.fixture(scope="session")
def random_play() -> Callable[..., RandomPlay]:
    """Plays a game at random, on several lanes, so many steps of all together."""

    def play(game: str, steps: int, *, lanes: int, frame_stack: int) -> RandomPlay:
        env = AtariLanes(game, lanes, 0, "noop", action_set="minimal", reseed_steps=0)
        frames = env.reset()
        ram = env.ram()
        rng = np.random.default_rng(0)
        stacks = np.zeros((lanes, frame_stack, 84, 84), np.uint8)
        stacks[:, -1] = frames
        episode, kept = np.arange(lanes), []
        for _ in range(steps // lanes):
            kept.append((stacks.copy(), ram.read(), episode.copy()))
            actions = rng.integers(env.spec.actions, size=lanes)
            result = env.step(actions)
            ram.follow(actions, result)
            stacks = np.concatenate([stacks[:, 1:], result.frames[:, None]], axis=1)
            ended = result.terminated | result.truncated
            stacks[ended, :-1] = 0
            episode[ended] += lanes
        env.close()
        seen, memory, episodes = map(np.concatenate, zip(*kept, strict=True))
        at = [variable.byte for variable in ram_variables()[game]]
        return RandomPlay(torch.from_numpy(seen), torch.from_numpy(memory[:, at]), episodes)

    return play
