"""docs/slurm's scripts, on a real Slurm of two nodes that is started here, on this machine alone.

It needs Debian's packages slurmctld, slurmd, slurm-client and munge, no root, and nothing of this
machine's own Slurm: `pytest -m slow -s tests/docs/test_slurm.py`.
"""

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from relic_rl.records.metrics import METRICS_FILE

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
DAEMONS = ("munged", "slurmctld", "slurmd")
SMALL = ("--preset", "smoke", "--run.threads", "1", "--env.threads", "1")
STOPPED, RATE = "stopped with a checkpoint", "updates/s"
GRACE_SECONDS = 60
MUNGE_FILES = ("key-file", "socket", "pid-file", "log-file", "seed-file")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={at}/munge.socket,cred_expire=20
CredType=cred/munge
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/%n
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace}
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(
        not all(shutil.which(name, path=PATH) for name in DAEMONS),
        reason="Slurm is not installed",
    ),
]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The names of two nodes that wait for jobs; Slurm's commands know the cluster."""
    at, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().partition(".")[0]
    nodes = (host, f"{host}2")
    for folder in ("state", *nodes):
        (at / folder).mkdir()
    key = at / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    told = CONFIGURATION.format(
        at=at, host=host, nodes=nodes, ports=free_ports(3), user=user(), grace=GRACE_SECONDS
    )
    (at / "slurm.conf").write_text(told)
    files = [f"--{name}={at}/munge.{name.partition('-')[0]}" for name in MUNGE_FILES]
    with pytest.MonkeyPatch.context() as environment, ExitStack() as daemons:
        environment.setenv("PATH", PATH)
        environment.setenv("PYTHONPATH", str(ROOT))
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setenv("SLURM_CONF", str(at / "slurm.conf"))
        environment.setenv("HOME", str(at))  # where Ray's token is kept
        for command in (
            ["munged", "--foreground", "--force", *files],
            ["slurmctld", "-D", "-c"],
            *(["slurmd", "-D", "-N", node] for node in nodes),
        ):
            daemons.callback(end, subprocess.Popen(command, stderr=subprocess.DEVNULL))
            time.sleep(2)
        wait_until(lambda: slurm("sinfo", "-h", "-t", "idle", "-o", "%D") == "2", 60)
        yield nodes
        slurm("scancel", "--user", user())
        wait_until(lambda: not slurm("squeue", "-h"), 90)


def test_a_run_outlives_a_preemption_and_a_time_limit_and_ends_when_it_is_cancelled(
    nodes: tuple[str, str], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    limit = ("--time=3", "--signal=B:TERM@60")
    job = submit(log, "run.sbatch", run, "--frames", "4M", options=("-c2", *limit))
    wait_for(log, RATE)
    preempt(nodes[:1])
    wait_for(log, STOPPED)
    wait_for(log, "resuming Breakout")
    wait_for(log, RATE, said(log).count(RATE) + 1)
    wait_for(log, STOPPED, 2)  # its time is over
    wait_for(log, "resuming Breakout", 2)
    wait_for(log, RATE, said(log).count(RATE) + 1)
    slurm("scancel", job)
    wait_until(lambda: not slurm("squeue", "-h"), 90)
    frames = [int(n) for n in re.findall(r'"env_frames": (\d+)', (run / METRICS_FILE).read_text())]

    assert said(log).count("resuming Breakout") == 2
    assert said(log).count(STOPPED) == 3
    assert said(log).count("training Breakout") == 1
    assert frames == sorted(set(frames))


def test_a_run_over_two_nodes_outlives_a_preemption(nodes: tuple[str, str], tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra `ray` is not installed")
    run, log = tmp_path / "run", tmp_path / "log"
    lanes = ("--actors", "2", "--lanes-per-actor", "2")
    job = submit(log, "ray.sbatch", run, "--frames", "40k", *lanes, options=("-N2", "-c2"))
    wait_for(log, RATE)
    preempt(nodes)
    wait_for(log, STOPPED)
    wait_for(log, "finished: ")
    wait_until(lambda: not slurm("squeue", "-h"), 90)

    assert said(log).count("resuming Breakout") == 1
    assert "JobState=COMPLETED" in slurm("scontrol", "show", "job", job)


def test_the_runs_of_a_sweep_are_the_tasks_of_a_job_array(
    nodes: tuple[str, str], tmp_path: Path
) -> None:
    commands = tmp_path / "my commands.txt"
    asked = ("--games", "breakout", "pong", "--frames", "12k", *SMALL)
    listed = ("relic-rl", "sweep", str(tmp_path / "sweep"), *asked, "--commands")
    commands.write_text(slurm(*listed) + "\n")
    options = ("--parsable", "--array=1-2", "-c2", f"--output={tmp_path}/%a")
    slurm("sbatch", *options, "docs/slurm/run.sbatch", str(commands))
    wait_until(lambda: not slurm("squeue", "-h"), 300)

    assert [said(tmp_path / task).count("finished: ") for task in "12"] == [1, 1]
    assert slurm(*listed) == ""


def submit(log: Path, script: str, run: Path, *settings: str, options: tuple[str, ...]) -> str:
    command = ("sbatch", "--parsable", f"--output={log}", *options, f"docs/slurm/{script}")
    return slurm(*command, str(run), "breakout", *SMALL, *settings)


def preempt(nodes: tuple[str, ...]) -> None:
    """Sends a job of a second that goes first and needs all of these nodes."""
    where = ("-p", "high", "-c2", f"-N{len(nodes)}", f"--nodelist={','.join(nodes)}")
    slurm("sbatch", "--output=/dev/null", *where, "--wrap", "sleep 1")


def slurm(*command: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def said(log: Path) -> str:
    return log.read_text(encoding="utf-8") if log.exists() else ""


def wait_for(log: Path, text: str, times: int = 1) -> None:
    wait_until(lambda: said(log).count(text) >= times, 300)


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds:.0f} s"
        time.sleep(1)


def end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(timeout=60)


def user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
