"""A run's agent as its last sound checkpoint left it: to evaluate, to watch, to look into."""

from pathlib import Path
from typing import NamedTuple

from agents.agent import R2D2Agent
from envs.interface import EnvSpec
from relic_rl import build
from relic_rl.config import Config
from relic_rl.counters import Progress
from relic_rl.machine import devices
from relic_rl.records import run_folder
from relic_rl.records.checkpoint import CheckpointError, CheckpointStore
from relic_rl.records.identity import read_identity


class TrainedAgent(NamedTuple):
    """An agent and where it comes from."""

    agent: R2D2Agent
    config: Config
    spec: EnvSpec
    """Of what it was trained on."""
    env_frames: int
    """That it was trained for."""
    tracker_id: str | None
    """Of its run at the tracker, if it was tracked."""


def load_trained(run_dir: Path) -> TrainedAgent:
    """Reads the last sound checkpoint; changes nothing in the folder, which a run may own.

    On this machine's GPU if it has one and `run.device` is not cpu, else on its CPU, whichever the
    run was trained on. Torch's threads are set as the run's configuration says.

    Raises:
      UserError: the folder holds no run, or no sound checkpoint.
    """
    run_folder.expect_run(run_dir)
    trained, game, _, _ = read_identity(run_dir)
    config = devices.without_gpu_options(trained)
    checkpoint = CheckpointStore(run_dir).load(read_only=True)
    progress = Progress(**checkpoint.state["progress"])
    devices.set_threads(config)
    spec = build.env_spec(config, game)
    agent = build.make_agent(config, spec, seed=0, device=devices.learner_device(config))
    learned = (checkpoint.model, checkpoint.optimizer)
    try:  # with its own generator, from which only learning draws
        agent.load_state(*learned, agent.generator.get_state(), progress.updates)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {checkpoint.path} does not fit: {error}") from error
    return TrainedAgent(agent, config, spec, progress.env_frames, progress.tracker_id)
