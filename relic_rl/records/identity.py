"""What a run is: its game, seed and settings, as a user gives them and as its folder tells them."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from envs.games import UnknownGameError
from envs.registry import Environment, find_environment
from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.errors import UsageError
from relic_rl.records import run_folder

SEEDS = 2**31


class RunIdentity(NamedTuple):
    """What `config.toml` of a run folder holds."""

    config: Config
    game: str
    seed: int
    preset: str
    """That the settings began from; they are all in `config`."""

    def dump(self) -> str:
        """The text of `config.toml`."""
        return configuration.dump(self.config, game=self.game, seed=self.seed, preset=self.preset)


def read_identity(
    run_dir: Path, sections: Collection[str] = tuple(configuration.SECTIONS)
) -> RunIdentity:
    """Reads a run folder's `config.toml`.

    Args:
      run_dir: the run's folder.
      sections: those that must be complete; what others lack, in a run of an earlier version, has
        its default.

    Raises:
      UsageError: it is unreadable, or one of its keys is missing, unknown or of no sense.
    """
    path = run_dir / run_folder.CONFIG_FILE
    document = configuration.read_toml(path, "configuration")
    top = {key: document.pop(key, None) for key in configuration.RUN_KEYS}
    config = configuration.complete(document, str(path), sections)
    for key, kind in (("game", str), ("seed", int), ("preset", str)):
        if type(top[key]) is not kind:
            raise UsageError(f"{key} is {top[key]!r} in {path}, must be {_KINDS[kind]}")
    check_seed(top["seed"], name=f"seed in {path}")
    return RunIdentity(config, environment_of(top["game"]).name, top["seed"], top["preset"])


def environment_of(game: str) -> Environment:
    """What a user, or a run folder, calls `game`.

    Raises:
      UsageError: there is no such game.
    """
    try:
        return find_environment(game)
    except UnknownGameError as error:
        raise UsageError(str(error)) from None


def check_seed(seed: int, name: str = "--seed") -> None:
    """Raises UsageError for a seed out of range."""
    if not 0 <= seed < SEEDS:
        raise UsageError(f"{name} is {seed}, must be in [0, 2^31)")


_KINDS = {str: "text", int: "a whole number"}
