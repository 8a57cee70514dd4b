"""A run whose actors and node are killed: `python ray_chaos.py ADDRESS FOLDER NODE_COMMAND...`.

A process of its own, because Ray reads its environment once. Prints a JSON object: what happened.
"""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import psutil

from relic_rl import config as configuration
from relic_rl.console import Console
from relic_rl.records.checkpoint import CheckpointStore
from relic_rl.replay.segment import SegmentName
from relic_rl.runtime.actor import Collected
from relic_rl.stop import StopRequest
from relic_rl.train import Training

ACTOR_KILLS = 20
NODE_KILLS = 3
LAST_FRAMES = 20_000


class Chaos:
    """Kills actors and the node of a run, each after the last one has recovered, and takes times.

    Args:
      training: with the ray engine, all of whose actors live on the node.
      node_command: what starts the node, in the foreground.
    """

    def __init__(self, training: Training, node_command: list[str]) -> None:
        self.recovery_seconds: dict[str, list[float]] = {"actor": [], "node": []}
        self.names: list[SegmentName] = []
        self.error: BaseException | None = None
        self._training = training
        self._node_command = node_command
        self._node = subprocess.Popen(node_command, stdout=sys.stderr)
        self._seats = training.engine._seats  # type: ignore[attr-defined]
        self._delivered: Counter[tuple[int, ...]] = Counter()
        self._collect = training.engine.collect
        training.engine.collect = self._counting_collect  # type: ignore[method-assign]

    def _counting_collect(self) -> Collected:
        collected = self._collect()
        self.names += [segment.name for segment in collected.segments]
        self._delivered.update({segment.name[:2] for segment in collected.segments})
        return collected

    def run(self) -> None:
        """All kills; then the run has its frame target before it."""
        try:
            self._wait_for_delivery(after={})
            rng = random.Random(0)
            kinds = ["actor"] * ACTOR_KILLS + ["node"] * NODE_KILLS
            rng.shuffle(kinds)
            for kind in kinds:
                time.sleep(rng.uniform(0.0, 1.0))
                hit = self._seats if kind == "node" else [rng.choice(self._seats)]
                before = {seat.number: seat.incarnation for seat in hit}
                if kind == "node":
                    self.end_node()
                    self._node = subprocess.Popen(self._node_command, stdout=sys.stderr)
                else:
                    os.kill(hit[0].place.pid, signal.SIGKILL)
                seconds = self._wait_for_delivery(after=before)
                self.recovery_seconds[kind].append(seconds)
                print(kind, f"{seconds:.1f}", file=sys.stderr, flush=True)
        except BaseException as error:
            self.error = error
        finally:
            frames = self._training.progress.env_frames + LAST_FRAMES
            run = replace(self._training.config.run, frames=frames)
            self._training.config = replace(self._training.config, run=run)

    def end_node(self) -> None:
        """As a power cut would."""
        node = psutil.Process(self._node.pid)
        for process in [*node.children(recursive=True), node]:
            process.kill()
        self._node.wait()

    def _wait_for_delivery(self, after: dict[int, int]) -> float:
        """Seconds until all actors deliver, those that were hit under a new incarnation."""
        started = time.monotonic()
        while not all(
            seat.incarnation > after.get(seat.number, -1)
            and self._delivered[seat.number, seat.incarnation]
            for seat in self._seats
        ):
            if time.monotonic() - started > 180:
                raise TimeoutError(f"no recovery after {after}")
            time.sleep(0.05)
        return time.monotonic() - started


def main(address: str, folder: Path, node_command: list[str]) -> None:
    """Runs and prints."""
    overrides = {
        "run.engine": "ray",
        "run.ray_address": address,
        "actor.actors": 2,
        "replay.capacity_steps": 4_000_000,
        "replay.max_bytes": 4_000_000_000,
        "run.checkpoint_every_minutes": 0.5,
        "run.frames": 1_000_000_000,
    }
    config = configuration.resolve("smoke", overrides).config
    training = Training(folder, config, "Pong", 0, Console(stream=sys.stderr))
    chaos = Chaos(training, node_command)
    killer = threading.Thread(target=chaos.run)
    killer.start()
    try:
        training.train(StopRequest())
        training.save()
    finally:
        restarts = training.engine.metrics()["actor_restarts"]
        training.close()
        killer.join()
        chaos.end_node()
    segments = CheckpointStore(folder).load().segments
    stored = Counter(segment.name for segment in segments)
    gaps = defaultdict(set)
    for name in stored:
        gaps[name[:4]].add(name.index)
    result = {
        "error": None if chaos.error is None else repr(chaos.error),
        "recovery_seconds": chaos.recovery_seconds,
        "env_frames": training.progress.env_frames,
        "target_frames": training.config.run.frames,
        "updates": training.progress.updates,
        "restarts": restarts,
        "acknowledged": len(chaos.names),
        "acknowledged_twice": len(chaos.names) - len(set(chaos.names)),
        "stored_twice": sum(count > 1 for count in stored.values()),
        "missing": len(set(chaos.names) - set(stored)),
        "unknown": len(set(stored) - set(chaos.names)),
        "torn": sum(len(segment.decode_frames()) != segment.frame_count for segment in segments),
        "episodes_with_gaps": sum(found != set(range(len(found))) for found in gaps.values()),
        "incarnations": len({name[:2] for name in stored}),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), shlex.split(sys.argv[3]))
