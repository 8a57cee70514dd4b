"""Write tables, pictures and one HTML page over runs and sweeps, against published numbers."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from relic_rl.analysis.published import DEFAULT_AGAINST
from relic_rl.commands import arguments
from relic_rl.console import print_line
from relic_rl.errors import UsageError
from relic_rl.records.tracking import FILE_TRACKERS, TrackerName

USAGE = "DIR [DIR ...] --out DIR [flags]"


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_path(
        parser,
        "dirs",
        nargs="*",
        metavar="DIR",
        help="Run folders, sweeps, and folders of runs; a column for each that differs in settings",
    )
    arguments.add_path(
        parser,
        "--out",
        metavar="DIR",
        required=True,
        help="Where to write report.html and the rest",
    )
    parser.add_argument(
        "--label",
        metavar="NAME=DIR",
        nargs="+",
        action="extend",
        type=_labelled,
        dest="labels",
        help="Name a column, and make it of all runs in a folder; several folders may share a name",
    )
    parser.add_argument(
        "--against",
        metavar="METHOD|FILE.csv",
        type=arguments.name_or_path,
        nargs="*",
        help="What to compare with: published methods, another report's scores.csv, or a table "
        f"with the columns game and score; by default {' '.join(DEFAULT_AGAINST)}",
    )
    parser.add_argument(
        "--allow-mixed",
        action="store_true",
        help="Accept runs of different protocols or emulator versions, or of different settings in "
        "one column, and say so in the report",
    )
    parser.add_argument(
        "--track",
        choices=FILE_TRACKERS,
        help="Whether the report's files go to wandb, in the group of the sweep; by default off",
    )


def run(
    dirs: Sequence[Path] = (),
    *,
    out: Path,
    labels: Sequence[tuple[str, Path]] = (),
    against: Sequence[str] = DEFAULT_AGAINST,
    allow_mixed: bool = False,
    track: TrackerName = "off",
) -> None:
    """Writes the report."""
    from relic_rl.analysis.report import write_report
    from relic_rl.records.uploads import upload_report

    folders = [*dirs, *(folder for _, folder in labels)]
    if not folders:
        raise UsageError("report: give run folders or sweeps, before --against")
    try:
        report = write_report(dirs, out, against, labelled=labels, allow_mixed=allow_mixed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    for line in [*(f"warning: {w}" for w in report.warnings), f"report in {report.page}"]:
        print_line(line)
    upload_report(folders, report.files, track)


def _labelled(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise ArgumentTypeError(f"{text!r} is no NAME=DIR")
    return name, arguments.path(folder)
