"""Write the agent of a run's last checkpoint into one file that can play.

It holds no replay, no optimizer and no pickle.
"""

from pathlib import Path

from relic_rl.commands import arguments
from relic_rl.console import print_line
from relic_rl.errors import UsageError
from relic_rl.records.run_folder import POLICY_SUFFIX

USAGE = f"RUN_DIR --out FILE{POLICY_SUFFIX}"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_run_dir(parser)
    arguments.add_path(
        parser,
        "--out",
        metavar="FILE",
        required=True,
        help="Where to write it; `evaluate`, `probe`, `watch` and the Python API take it as a run",
    )


def run(run_dir: Path, *, out: Path) -> None:
    """Writes the policy of a run's last sound checkpoint, with what is known of how it was made.

    Raises:
      UsageError: another suffix, or a file in place of a run's folder.
      UserError: no run, no sound checkpoint, or the file cannot be written.
    """
    from relic_rl.evaluation.trained import load_trained, save_policy

    if out.suffix.lower() != POLICY_SUFFIX:
        raise UsageError(f"--out is {str(out)!r}: it must end with {POLICY_SUFFIX}")
    if run_dir.is_file():
        raise UsageError(f"{run_dir} is a file: give a run's folder")
    trained = load_trained(run_dir)
    size_bytes, evaluation = save_policy(trained, run_dir, out)
    judged = f", mean score {evaluation['mean_score']:.1f}" if evaluation else ", never evaluated"
    print_line(
        f"{trained.spec.name} after {trained.env_frames:,} frames{judged}: "
        f"{size_bytes / 1e6:.1f} MB in {out}"
    )
