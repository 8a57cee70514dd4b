"""A run whose wandb process is killed on the way; prints what became of it, as one JSON object."""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from relic_rl.machine import process

process.prepare()

from relic_rl.config import resolve  # noqa: E402
from relic_rl.console import Console  # noqa: E402
from relic_rl.stop import StopRequest  # noqa: E402
from relic_rl.train import Training  # noqa: E402

SETTINGS: dict[str, Any] = {
    "run.track": ["offline"],
    "run.threads": 1,
    "run.frames": 6_000,
    "run.metrics_every_updates": 2,
    "evaluation.episodes": 1,
}


def services() -> list[psutil.Process]:
    """wandb's own processes that live."""
    below = psutil.Process().children(recursive=True)
    return [p for p in below if p.status() != psutil.STATUS_ZOMBIE]


class KillsOnTheWay(StopRequest):
    """Never asks to stop; kills wandb after the third update."""

    def __init__(self, training: Training) -> None:
        self.killed = 0
        self._training = training

    @property
    def requested(self) -> bool:
        if self._training.progress.updates == 3 and not self.killed:
            while not (found := services()):
                time.sleep(0.1)
            for one in found:
                one.kill()
            self.killed = len(found)
        return False


def main(folder: Path) -> None:
    config = resolve("smoke", SETTINGS).config
    training = Training(folder, config, "toy_memory", 0, Console(stream=io.StringIO()))
    stop = KillsOnTheWay(training)
    evaluation = training.run(stop)
    begun = time.monotonic()
    training.close()
    found = {
        "killed": stop.killed,
        "evaluated": evaluation is not None,
        "updates": training.progress.updates,
        "closing_seconds": time.monotonic() - begun,
        "left": len(services()),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
