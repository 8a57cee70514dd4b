"""Memory that runs out where nobody reckoned with it: one line, and the checkpoint from before."""

import re
import resource
from pathlib import Path
from typing import Any

import pytest

from relic_rl.records.checkpoint import CheckpointStore

pytestmark = pytest.mark.slow

PERIOD = ("--run.checkpoint_every_minutes", str(0.5 / 60), "--frames", "1000000000")


def leave(process: Any, more_bytes: int = 0) -> None:
    """From now on the process gets so much more memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (kibibytes,) = re.findall(r"^VmSize:\s+(\d+) kB$", status, re.MULTILINE)
    limit = 1024 * int(kibibytes) + more_bytes
    resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def test_a_run_that_gets_no_memory_ends_in_one_line_and_continues_from_its_last_checkpoint(
    launcher: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = launcher.train("toy_memory", run, *PERIOD)
    process.wait_until(lambda: any((run / "checkpoints").glob("[0-9]*")), 0.02)
    leave(process)

    assert process.wait() == 1
    said = [line for line in process.text.splitlines() if line.startswith("relic-rl: ")]
    assert len(said) == 1, process.text
    assert said[0].startswith("relic-rl: out of memory: start a run with a lower ")
    assert "`relic-rl resume " in said[0]
    assert "Traceback" not in process.text + (run / "log.txt").read_text()
    kept = CheckpointStore(run).load(read_only=True)
    frames = kept.state["progress"]["env_steps"]
    assert launcher.run("resume", "run", "--frames", str(frames + 400))[0] == 0


def test_what_is_no_run_says_it_too_without_a_runs_advice(launcher: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert launcher.train("toy_memory", run, "--frames", "400").wait() == 0
    process = launcher.start("probe", "run", "--steps", "1000000")
    leave(process, 2**26)

    assert process.wait() == 1
    assert process.text.splitlines()[-1].startswith("relic-rl: out of memory: ")
    assert "Traceback" not in process.text
    assert "--replay" not in process.text
    assert not (run / "probes.jsonl").exists()
