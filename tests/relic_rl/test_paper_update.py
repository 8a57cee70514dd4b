"""The `paper` preset at its full size, from the emulator to the learner: minutes, and gigabytes."""

import resource

import pytest
import torch

from relic_rl import build
from relic_rl.config import resolve
from relic_rl.machine import devices
from relic_rl.runtime.batches import BatchesInTurn
from relic_rl.runtime.learner import Learner
from relic_rl.runtime.stopwatch import Stopwatch

MAX_RESIDENT_BYTES = 24 << 30


@pytest.mark.slow
def test_the_paper_preset_makes_three_updates_at_full_size_within_24_gib() -> None:
    # Published sizes throughout; only the lanes are fewer, and learning does not wait.
    config = resolve("paper", {"actor.lanes": 16}).config
    devices.set_threads(config)
    stopwatch = Stopwatch()
    spec = build.env_spec(config, "Pong")
    agent = build.make_agent(config, spec, seed=0, device=torch.device("cpu"))
    replay = build.make_replay(config, seed=0)
    actor = build.make_actor(config, "Pong", agent, 0, 0, stopwatch, seed=0, threads=0)
    while len(replay) < config.learner.batch_sequences:
        for segment in actor.step().segments:
            replay.insert(segment)
    actor.close()
    assert agent.join.apart is not None
    before = agent.join.apart.projection.weight.detach().clone()

    learner = Learner(
        agent=agent,
        replay=replay,
        batches=BatchesInTurn(replay, config.learner.batch_sequences, torch.device("cpu")),
        stopwatch=stopwatch,
    )
    updates = [learner.update() for _ in range(3)]

    resident_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"peak {resident_bytes / 2**30:.1f} GiB, {stopwatch.lap()}, "
        f"{[{k: round(v.item(), 4) for k, v in update.metrics.items()} for update in updates]}"
    )
    assert (spec.actions, spec.frame_height, spec.frame_width) == (18, 84, 84)
    assert agent.updates == 3
    assert all(torch.isfinite(v) for update in updates for v in update.metrics.values())
    assert not torch.equal(before, agent.join.apart.projection.weight)
    assert resident_bytes < MAX_RESIDENT_BYTES
