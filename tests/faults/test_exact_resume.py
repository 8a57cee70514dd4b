"""N + N frames with a process in between are 2 N frames, to the last bit."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relic_rl.records.checkpoint import CheckpointStore
from relic_rl.records.metrics import reproducible

pytestmark = pytest.mark.slow

N_FRAMES = 8_000
SEEDS = range(5)


def digest(tree: Any) -> str:
    """SHA-256 over nested dicts and lists of tensors, arrays and numbers."""
    hashed = hashlib.sha256()

    def add(node: Any) -> None:
        if isinstance(node, dict):
            for key in sorted(node, key=str):
                hashed.update(str(key).encode())
                add(node[key])
        elif isinstance(node, list | tuple):
            hashed.update(str(len(node)).encode())
            for item in node:
                add(item)
        elif isinstance(node, torch.Tensor | np.ndarray):
            array = np.asarray(node)
            hashed.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        else:
            hashed.update(repr(node).encode())

    add(tree)
    return hashed.hexdigest()


def hashes(run: Path) -> dict[str, str]:
    """Of everything that the rest of the run depends on, and of what was written down."""
    checkpoint = CheckpointStore(run).load()
    state = checkpoint.state
    replay, actor = state["replay"], state["engine"]["actor"]
    generator = actor["player"]["generator"]
    names = {tuple(name) for name in replay["names"].tolist()}
    metrics = (run / "metrics.jsonl").read_text().splitlines()
    episodes = csv.DictReader(io.StringIO((run / "episodes.csv").read_text()))
    return {
        "parameters": digest(checkpoint.model),
        "optimizer": digest(checkpoint.optimizer),
        "replay": digest([s.data for s in checkpoint.segments if tuple(s.name) in names]),
        "replay index": digest({k: v for k, v in replay.items() if k not in ("leaves", "rng")}),
        "priorities": digest(replay["leaves"]),
        "generators": digest([replay["rng"], state["agent_generator"], generator]),
        "limiter": digest(state["limiter"]),
        "actor": digest(actor),
        "metric rows": digest([reproducible(json.loads(line)) for line in metrics]),
        "episodes": digest([reproducible(row) for row in episodes]),
    }


@pytest.mark.parametrize("game", ["pong"])
def test_n_and_n_frames_are_2n_frames_bit_for_bit_on_every_seed(
    launcher: Any, tmp_path: Path, game: str
) -> None:
    found = []
    for seed in SEEDS:
        halves, straight = tmp_path / f"halves-{seed}", tmp_path / f"straight-{seed}"
        given = ("--seed", str(seed))
        assert launcher.train(game, halves, *given, "--frames", str(N_FRAMES)).wait() == 0
        status, text = launcher.run("resume", halves.name, "--frames", str(2 * N_FRAMES))
        assert status == 0, text
        assert launcher.train(game, straight, *given, "--frames", str(2 * N_FRAMES)).wait() == 0
        found.append((hashes(halves), hashes(straight)))

    equal = sum(one == other for one, other in found)
    kinds = list(found[0][0])
    print(
        f"N + N = 2N, {game}, N = {N_FRAMES:,} frames: {equal} of {len(SEEDS)} seeds equal in all "
        f"{len(kinds)} hashes ({', '.join(kinds)}); {len({h['parameters'] for h, _ in found})} "
        "different runs"
    )
    for one, other in found:
        assert one == other
    assert len({one["parameters"] for one, _ in found}) == len(SEEDS)
