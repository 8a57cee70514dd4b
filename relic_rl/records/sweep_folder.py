"""The folder of a sweep, as far as its runs and its readers know it; the rest is `sweep.request`'s.

SWEEP/sweep.toml  <combination of settings>/<run folder>
"""

from pathlib import Path

SWEEP_FILE = "sweep.toml"
NO_GRID = "runs"
"""The folder of the runs where a sweep has but one combination of settings."""


def names_of(run_dir: Path) -> tuple[str, str | None]:
    """A run's name and its sweep's: `pong-s0`, or `arm=relic/pong-s0`; None outside of a sweep."""
    run = run_dir.resolve()
    sweep, label = run.parent.parent, run.parent.name
    if not (sweep / SWEEP_FILE).is_file():
        return run.name, None
    return (run.name if label == NO_GRID else f"{label}/{run.name}"), sweep.name
