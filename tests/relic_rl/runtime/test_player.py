"""A policy at play on a GPU: as one CUDA graph it does what its kernels do."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch

from agents.graphs import EAGER_CALLS, Graphed
from relic_rl import build
from relic_rl.config import resolve
from relic_rl.runtime.player import Player

GAME = "toy_memory"
STEPS = EAGER_CALLS + 6


def played(cuda_graph: bool) -> tuple[Player, list[Any]]:
    """What a player decided, step by step, with new parameters half-way."""
    config = resolve("smoke", {"actor.lanes": "3"}).config
    with closing(build.make_env(config, GAME, lanes=3, seed=0)) as env:
        agents = [
            build.make_agent(config, env.spec, seed=seed, device=torch.device("cuda"))
            for seed in range(2)
        ]
        player = Player(
            agents[0].policy(),
            env.reset(),
            frame_stack=config.network.frame_stack,
            epsilons=torch.tensor([0.0, 0.5, 1.0]),
            device=torch.device("cuda"),
            seed=0,
            cuda_graph=cuda_graph,
        )
        decisions = []
        for step in range(STEPS):
            if step == EAGER_CALLS + 3:
                player.policy.load(agents[1].parameters_for_policy(), 1)
            decisions.append(player.act())
            player.observe(decisions[-1].actions, env.step(decisions[-1].actions))
    return player, decisions


@pytest.mark.cuda
def test_a_step_as_a_graph_decides_as_its_kernels_do() -> None:
    (_, expected), (player, found) = played(False), played(True)

    assert isinstance(player._step, Graphed)
    assert player._step.is_graph
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.q, one.q, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(other.after, one.after, rtol=1e-4, atol=1e-6)
        assert other.actions.tolist() == one.actions.tolist()
    assert len({decision.q.tobytes() for decision in found}) == STEPS
