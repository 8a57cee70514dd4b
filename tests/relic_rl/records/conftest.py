"""A run folder that nobody owns, and a disk without room."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from relic_rl.records.run_folder import CONFIG_FILE, new_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder that holds a run, owned by nobody."""
    path = tmp_path / "run"
    new_run(path).close()
    (path / CONFIG_FILE).write_text("seed = 1\n")
    return path


@pytest.fixture(scope="session")
def files_limited_to() -> Callable[[int], AbstractContextManager[None]]:
    """In the block no file of this process can grow beyond so many bytes, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
