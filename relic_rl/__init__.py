"""relic-rl: R2D2 agents with a ReLIC representation loss on the 57 Atari games."""

import importlib.util
from pathlib import Path


def _refuse_strangers() -> None:
    """Raises ImportError if `agents` or `envs` would come from another project.

    Both names are generic, and other projects on PyPI install packages of the same name.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("agents", "envs"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / name:
            raise ImportError(
                f"relic-rl needs its own package {name!r}, in {home}, but Python finds {found}: "
                "uninstall the other project or use a fresh environment"
            )


_refuse_strangers()
__version__ = "0.1.0"
