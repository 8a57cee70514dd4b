"""A trained agent, from a run's last sound checkpoint or from a policy file: to evaluate, to watch.

The agents that ship with the package are policy files, one a game, in `SHIPPED`.
"""

from pathlib import Path
from typing import NamedTuple

from agents.agent import R2D2Agent
from envs.interface import EnvSpec
from relic_rl import build
from relic_rl.config import Config
from relic_rl.counters import Progress
from relic_rl.errors import UsageError, UserError
from relic_rl.machine import devices
from relic_rl.records import run_folder
from relic_rl.records.checkpoint import CheckpointError, CheckpointStore
from relic_rl.records.identity import environment_of, read_identity
from relic_rl.records.policy_file import read_policy

SHIPPED = Path(__file__).parent.parent / "trained_agents"


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


def load_trained(source: Path) -> TrainedAgent:
    """Reads an agent that can play: of a run's last sound checkpoint, or of a policy file.

    On this machine's GPU if it has one and `run.device` is not cpu, else on its CPU, whichever the
    run was trained on. Torch's threads are set as the run's configuration says.

    Args:
      source: a run's folder, which a run may own and in which nothing is changed; or a file that
        `relic-rl export` wrote.

    Raises:
      UserError: the folder holds no run, or no sound checkpoint; the file holds no policy.
    """
    return _from_file(source) if source.is_file() else _from_run(source)


def shipped_agent(game: str) -> Path:
    """The policy file of a game's agent that ships with the package.

    Raises:
      UsageError: there is no such game, or none ships for it.
    """
    environment = environment_of(game)
    slug = environment.reference.slug if environment.reference else environment.name
    file = SHIPPED / f"{slug}{run_folder.POLICY_SUFFIX}"
    if not file.is_file():
        there = (
            ", ".join(sorted(path.stem for path in SHIPPED.glob(f"*{run_folder.POLICY_SUFFIX}")))
            or "none"
        )
        raise UsageError(f"no trained agent ships for {slug}: those that do are {there}")
    return file


def _from_file(path: Path) -> TrainedAgent:
    policy = read_policy(path)
    config, game = devices.without_gpu_options(policy.config), policy.game
    devices.set_threads(config)
    spec = build.env_spec(config, game)
    agent = build.make_agent(config, spec, seed=0, device=devices.learner_device(config))
    try:
        agent.load_policy(policy.parts, policy.updates)
    except ValueError as error:
        raise UserError(f"{path} does not fit what it says of itself: {error}") from error
    return TrainedAgent(agent, config, spec, policy.env_frames, tracker_id=None)


def _from_run(run_dir: Path) -> TrainedAgent:
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
