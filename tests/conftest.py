"""What every test starts from: a process set up as `relic-rl` does it, one thread, known seeds."""

import ctypes
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xdist.scheduler import LoadGroupScheduling

from relic_rl.machine import process

process.prepare()  # before anything imports torch
# Results are held equal to the last bit, which no GPU promises: only what is about one sees it.
CUDA = os.environ.get("RELIC_RL_TEST_CUDA", "")
"""Which device tests marked `cuda` see: none, `real`, or `simulated` (on any CPU)."""
if CUDA == "simulated":
    sys.path.append(str(Path(__file__).parent / "simulated_cuda"))
    import simulated_cuda  # noqa: F401
elif not CUDA:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
else:  # torch.nn.LSTM's notes: without it cuDNN's LSTM may sum in another order each time
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch  # noqa: E402

LONGEST = ("test_sweep.py", "test_train.py", "test_cli.py", "test_readme.py")
"""Begun first: a minute in one process at the end would leave the others idle."""


class FileByFile(LoadGroupScheduling):
    """A file's tests run in one process, which makes their fixtures once; so do a group's."""

    def _split_scope(self, nodeid: str) -> str:
        return super()._split_scope(nodeid).partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile:
    """Says which process gets which tests, if there are several; in the order of the tests."""
    config.option.loadscopereorder = False
    return FileByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; the order is otherwise as it was."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    without = pytest.mark.skip(reason="needs a CUDA device: RELIC_RL_TEST_CUDA=real or simulated")
    for item in items:
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(without)


@pytest.fixture(autouse=True)
def known_start() -> None:
    """Global generators are seeded; tensors are too small here for more than one thread.

    A GPU computes in whole float32 and always alike, whatever the run of another test has set.
    """
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def finished_run(folder: Path, game: str, *flags: str) -> Path:
    """A run of the smoke preset, trained here."""
    from relic_rl import cli

    command = ["train", game, "--preset", "smoke", "--run.threads", "1", "--env.threads", "1"]
    assert cli.main([*command, *flags, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the toy task, of 1,200 frames; tests must not change it."""
    short = ("--frames", "1200", "--replay.min_steps", "64", "--evaluation.episodes", "2")
    return finished_run(tmp_path_factory.mktemp("toy") / "finished", "toy_memory", *short)


@pytest.fixture(scope="session")
def breakout_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of Breakout with a separate encoder, which has learned nothing and plays at random.

    So its episodes are short, and no two score the same for standing still. Tests must not change
    it.
    """
    flags = ("--representation.encoder", "separate", "--evaluation.epsilon", "1")
    folder = tmp_path_factory.mktemp("breakout") / "finished"
    return finished_run(folder, "breakout", "--frames", "400", *flags)


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process, in `tmp_path`: exit status, stdout and stderr."""
    from relic_rl import cli

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = cli.main(list(arguments))
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def evaluated(run_here: Callable[..., tuple[int, str, str]]) -> Callable[..., dict[str, Any]]:
    """What `relic-rl evaluate` finds of a run or a policy file."""

    def evaluated(source: Path, *flags: str, episodes: int = 2) -> dict[str, Any]:
        flags = ("--episodes", str(episodes), "--json", *flags)
        status, out, err = run_here("evaluate", str(source), *flags)
        assert status == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return evaluated


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Waits until something is so; while it waits, a process that is given must live."""

    def wait_until(
        condition: Callable[[], object],
        process: "subprocess.Popen[str] | None" = None,
        *,
        seconds: float = 90.0,
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert process is None or process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
            time.sleep(0.01)

    return wait_until


@pytest.fixture(scope="session")
def bomb() -> Callable[[Path], object]:
    """What makes that file when it is unpickled."""

    class Bomb:
        def __init__(self, path: Path) -> None:
            self.path = path

        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {self.path}",)

    return Bomb


@pytest.fixture(scope="session")
def forge() -> Callable[[Path], None]:
    """Gives a checkpoint's manifest the right hashes of whatever is there now."""

    def hashed(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def forge(checkpoint: Path) -> None:
        file = checkpoint / "manifest.json"
        document = json.loads(file.read_text())
        document.pop("sha256")
        document["files"] = {name: hashed(checkpoint / name) for name in document["files"]}
        for entry in document["segments"]:
            entry["sha256"] = hashed(checkpoint.parents[1] / "segments" / entry["name"])
        body = json.dumps(document, sort_keys=True).encode()
        file.write_text(json.dumps(document | {"sha256": hashlib.sha256(body).hexdigest()}))

    return forge


@pytest.fixture
def modes_hold() -> Iterator[None]:
    """What a file's mode forbids is forbidden to root, too: without two of its capabilities."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root writes everywhere here")
    override = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    libc.capget(header, sets)
    sets[0] &= ~override
    assert libc.capset(header, sets) == 0
    yield
    sets[0] |= sets[1] & override
    assert libc.capset(header, sets) == 0


@pytest.fixture
def no_wandb_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the user's settings of wandb nor their key."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
