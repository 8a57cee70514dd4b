"""Write tables, pictures and one HTML page over runs and sweeps, against published numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from relic_rl.commands import arguments
from relic_rl.errors import UsageError
from relic_rl.runtime.options import TrackingMode


def add_to(verbs: Any) -> None:
    """Adds `relic-rl report`."""
    parser = arguments.add_verb(
        verbs, "report", run, usage="DIR [DIR ...] --out DIR [flags]", doc=__doc__
    )
    arguments.add_path(
        parser,
        "dirs",
        nargs="*",
        metavar="DIR",
        help="Run folders, and folders that hold some; each folder of runs is a column",
    )
    arguments.add_path(
        parser,
        "--out",
        metavar="DIR",
        required=True,
        help="Where to write report.html and the rest",
    )
    parser.add_argument(
        "--against",
        metavar="METHOD",
        nargs="*",
        help="Published methods to compare with; by default relic r2d2",
    )
    parser.add_argument(
        "--allow-mixed",
        action="store_true",
        help="Accept runs of different protocols or emulator versions, or of different settings in "
        "one column, and say so in the report",
    )
    parser.add_argument(
        "--track",
        choices=get_args(TrackingMode),
        help="Whether the report's files go to wandb, in the group of the sweep; by default off",
    )


def run(
    dirs: Sequence[Path] = (),
    *,
    out: Path,
    against: Sequence[str] = ("relic", "r2d2"),
    allow_mixed: bool = False,
    track: TrackingMode = "off",
) -> None:
    """Writes the report."""
    from relic_rl.analysis.report import write_report
    from relic_rl.records.uploads import upload_report

    if not dirs:
        raise UsageError("report: give run folders or sweeps, before --against")
    try:
        report = write_report(dirs, out, against, allow_mixed=allow_mixed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    print("\n".join([*(f"warning: {w}" for w in report.warnings), f"report in {report.page}"]))
    upload_report(dirs, report.files, track)
