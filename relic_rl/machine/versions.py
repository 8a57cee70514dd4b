"""What two processes must agree in to take part in one run, as plain text by name."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

import relic_rl
from envs.registry import ENVIRONMENTS

_PACKAGES = ("agents", "envs", "relic_rl")


def fingerprint(game: str) -> dict[str, str]:
    """Versions and hashes here, for a run on a game.

    Two checkouts can share a version, so the project's own sources are hashed too.

    Raises:
      RomError: the game's ROM is missing.
    """
    found = {name: importlib.metadata.version(name) for name in ("relic-rl", "torch", "ale-py")}
    found["source of relic-rl"] = source_digest()
    if md5 := ENVIRONMENTS[game].find_rom_md5():
        found["ROM md5"] = md5
    return found


@functools.cache
def source_digest() -> str:
    """Twelve digits of the hash of every Python file of the three packages."""
    digest = hashlib.sha256()
    home = Path(relic_rl.__file__).resolve().parent.parent
    for path in sorted(path for package in _PACKAGES for path in (home / package).rglob("*.py")):
        digest.update(path.relative_to(home).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def difference(here: dict[str, str], there: dict[str, str]) -> str | None:
    """What differs, in words; None if nothing does."""
    parts = [
        f"{name} is {there.get(name, 'missing')} there, {here.get(name, 'missing')} here"
        for name in here | there
        if here.get(name) != there.get(name)
    ]
    return "; ".join(parts) or None
