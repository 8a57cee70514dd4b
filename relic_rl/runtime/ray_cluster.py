"""Joins a Ray cluster. The only module that imports Ray, and only when a cluster is used.

    local            starts Ray on this machine, for this process alone; bound to 127.0.0.1
    auto             joins the cluster that this machine is a node of
    HOST:PORT        the same, by the address of its head
    ray://HOST:PORT  joins a cluster as a client, from a machine that is no node of it

No dashboard is started. Ray's own token authentication is on wherever a token is at hand
(RAY_AUTH_MODE=token insists on it): see docs/cluster.md.
"""

import contextlib
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import relic_rl
from relic_rl.errors import UserError
from relic_rl.runtime.options import LOCAL

OBJECT_STORE_BYTES = 200 << 20
"""Of a local Ray: a few versions of the parameters, and results on their way."""
_ANSWER_SECONDS = 10.0
_HOME = Path(relic_rl.__file__).parent.parent
_STARTS = 3
"""Tries: Ray gives a node half a minute to start, which a busy machine may not have."""
LOCAL_ENVIRONMENT = {
    # Ray's switch for systems where it shall not leave the machine: loopback addresses only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # By default 15: actors would starve beside whatever else the machine does.
    "RAY_worker_niceness": "0",
}


class ClusterError(UserError):
    """Ray is not installed, no cluster answers, or its nodes do not fit the run."""


class Cluster:
    """A connection to Ray.

    Attributes:
      ray: the module, for everything else.
    """

    def __init__(self, ray: Any, *, owned: bool) -> None:
        self.ray = ray
        self._owned = owned

    def close(self) -> None:
        """Leaves the cluster; ends it if it was started here for us."""
        if self._owned:
            self.ray.shutdown()


def join(address: str, *, cpus: int) -> Cluster:
    """Joins a cluster, or starts one on this machine; a process that has joined one stays there.

    Args:
      address: see above.
      cpus: how many a local one is said to have, so that all actors find a place.

    Raises:
      ClusterError: Ray is missing, or there is no such cluster.
    """
    local = address == LOCAL
    if local:
        for name, value in LOCAL_ENVIRONMENT.items():  # read when ray is imported
            os.environ.setdefault(name, value)
    ray = _import()
    if ray.is_initialized():
        return Cluster(ray, owned=False)
    if not local:
        _expect_answer(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "error"}
    if local:
        options |= {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}
        options |= {"include_dashboard": False}
    for patience in reversed(range(_STARTS if local else 1)):
        try:
            # Workers import from the folder that it is called in: not from the caller's, where
            # `agents` or `random` may be other projects'.
            with _own_sigterm(), contextlib.chdir(_HOME), warnings.catch_warnings(action="ignore"):
                ray.init(**options)
            break
        except Exception as error:  # Ray raises that very class where a node is slow to start
            ray.shutdown()
            if patience == 0:
                reason = " ".join(str(error).split())[:300]
                if address.startswith("ray://"):
                    reason += "; is this its client port, and has this machine its token?"
                raise ClusterError(f"cannot join a Ray cluster at {address!r}: {reason}") from error
    return Cluster(ray, owned=True)


def _expect_answer(address: str) -> None:
    """Ray itself would knock at a wrong address for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # not an address but a word: Ray knows what it means
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error}; is its head running, and the port open?"
        ) from error


def _import() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            "Ray is not installed: `pip install -c constraints.txt -e '.[ray]'` adds it, or use "
            "the engine threads and the backend local"
        ) from error
    return ray


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps our answer to SIGTERM, which ray.init replaces by an exit without a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
