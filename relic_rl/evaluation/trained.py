"""A trained agent, from a run's last sound checkpoint or from a policy file: to evaluate, to watch.

The agents that ship with the package are policy files, one a game, in `SHIPPED`.
"""

from pathlib import Path
from typing import Any, NamedTuple

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
from relic_rl.records.metadata import read_metadata
from relic_rl.records.metrics import EVALUATIONS_FILE, Evaluation
from relic_rl.records.policy_file import DECIDE_A_POLICY, PolicyFile, read_policy, write_policy
from relic_rl.records.robustness import read_judgements
from relic_rl.records.tables import read_table

SHIPPED = Path(__file__).parent.parent / "trained_agents"
_KEPT_OF_AN_EVALUATION = ("env_frames", "mean_score", "scores", "epsilon", "protocol")


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


def load_trained(source: Path, *, env_frames: int | None = None) -> TrainedAgent:
    """Reads an agent that can play: of a run's last sound checkpoint, or of a policy file.

    On this machine's GPU if it has one and `run.device` is not cpu, else on its CPU, whichever the
    run was trained on. Torch's threads, and how exactly a GPU computes, are set as the run's
    configuration says.

    Args:
      source: a run's folder, which a run may own and in which nothing is changed; or a file that
        `relic-rl export` wrote.
      env_frames: of the checkpoint that is wanted, of a run that has it.

    Raises:
      UserError: the folder holds no run, or no sound checkpoint; the file holds no policy.
    """
    if source.is_file():
        return _from_file(source)
    policy = source / run_folder.POLICY_FILE
    if not (policy.is_file() and CheckpointStore(source).is_empty):
        return _from_run(source, env_frames)
    if env_frames is not None:
        raise UsageError(
            f"{source} has the policy of its end and no checkpoints: it gave them back (run.keep)"
        )
    return _from_file(policy)


def save_policy(
    trained: TrainedAgent, run_dir: Path, out: Path
) -> tuple[int, dict[str, Any] | None]:
    """Writes the policy that an agent is judged by, with what its run recorded of itself.

    Returns:
      The file's bytes, and the evaluation of this agent: None if its run has none.

    Raises:
      UserError: the file cannot be written, or the run's saved evaluations are damaged.
    """
    evaluation = _evaluation_at(run_dir, trained.env_frames)
    policy = PolicyFile(
        parts=trained.agent.evaluation_policy().parameters(),
        config=trained.config,
        game=trained.spec.name,
        updates=trained.agent.updates,
        env_frames=trained.env_frames,
        about={"made": read_metadata(run_dir), "evaluation": evaluation},
    )
    return write_policy(out, policy), evaluation


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
    agent, config, spec = _untrained(policy.config, policy.game)
    try:
        agent.load_policy(policy.parts, policy.updates)
    except ValueError as error:
        raise UserError(f"{path} does not fit what it says of itself: {error}") from error
    return TrainedAgent(agent, config, spec, policy.env_frames, tracker_id=None)


def _from_run(run_dir: Path, env_frames: int | None = None) -> TrainedAgent:
    run_folder.expect_run(run_dir)
    trained, game, _, _ = read_identity(run_dir, (*DECIDE_A_POLICY, "learner"))
    checkpoint = CheckpointStore(run_dir).load(read_only=True, env_frames=env_frames)
    progress = Progress(**checkpoint.state["progress"])
    agent, config, spec = _untrained(trained, game)
    learned = (checkpoint.model, checkpoint.optimizer)
    try:  # with its own generator, from which only learning draws
        agent.load_state(*learned, agent.generator.get_state(), progress.updates)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {checkpoint.path} does not fit: {error}") from error
    return TrainedAgent(agent, config, spec, progress.env_frames, progress.tracker_id)


def _untrained(trained: Config, game: str) -> tuple[R2D2Agent, Config, EnvSpec]:
    """An agent as a run's options have it, and what of them this machine can carry out."""
    config = devices.without_gpu_options(trained)
    devices.set_threads(config)
    devices.set_gpu_arithmetic(config)
    spec = build.env_spec(config, game)
    agent = build.make_agent(config, spec, seed=0, device=devices.learner_device(config))
    return agent, config, spec


def _evaluation_at(run_dir: Path, env_frames: int) -> dict[str, Any] | None:
    """Of the run's own evaluations and those saved, that of the most episodes; None without one.

    A score by which an agent was chosen among several is too high: one saved later is not.
    """
    found = [row for row in _own_evaluations(run_dir) if row["env_frames"] == env_frames]
    found += [
        {name: getattr(row, name) for name in _KEPT_OF_AN_EVALUATION}
        for row in read_judgements(run_dir)
        if row.env_frames == env_frames and row.is_clean and row.default_mode
    ]
    return max(found, key=lambda row: len(row["scores"]), default=None)


def _own_evaluations(run_dir: Path) -> list[dict[str, Any]]:
    """What the run wrote; nothing where that is missing or damaged."""
    try:
        columns = read_table(run_dir / EVALUATIONS_FILE, Evaluation, *_KEPT_OF_AN_EVALUATION)
    except (OSError, ValueError):
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
