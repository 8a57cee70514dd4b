"""relic-rl: R2D2 agents with a ReLIC representation loss on the 57 Atari games."""

import importlib.metadata
import importlib.util
from pathlib import Path

_MARK = 'PROJECT = "relic-rl"'
"""Stands in the `__init__.py` of our packages."""


def _refuse_strangers() -> None:
    """Raises ImportError if `agents` or `envs` are another project's.

    Both names are generic, and other projects install packages of the same name: elsewhere on the
    path, or over ours.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("agents", "envs"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent != home / name:
            raise ImportError(
                f"relic-rl needs its own package {name!r}, in {home}, but Python finds "
                f"{origin and origin.parent}: uninstall the other project or use a fresh "
                "environment"
            )
        if _MARK not in origin.read_text(encoding="utf-8", errors="replace"):
            others = {*importlib.metadata.packages_distributions().get(name, ())} - {"relic-rl"}
            raise ImportError(
                f"relic-rl's package {name!r} in {home} was overwritten by "
                f"{' or '.join(sorted(others)) or 'another project'}: uninstall that and install "
                "relic-rl again, or use a fresh environment"
            )


_refuse_strangers()
__version__ = "0.1.0"
