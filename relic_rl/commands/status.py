"""Show how the runs of a sweep stand."""

from pathlib import Path
from typing import Any

from relic_rl.commands import arguments


def add_to(verbs: Any) -> None:
    """Adds `relic-rl status`."""
    parser = arguments.add_verb(verbs, "status", run, usage="SWEEP_DIR [flags]", doc=__doc__)
    arguments.add_path(parser, "sweep_dir", metavar="SWEEP_DIR", help="The sweep's folder")
    parser.add_argument(
        "--watch", action="store_true", help="Keep showing it, until the sweep ends or Ctrl-C"
    )


def run(sweep_dir: Path, *, watch: bool = False) -> None:
    """Prints the table."""
    from relic_rl.sweep import status

    status.show(sweep_dir, live=watch)
