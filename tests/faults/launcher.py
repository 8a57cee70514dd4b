"""Starts command lines of relic-rl in processes of their own, without importing torch each time.

Reads a line of JSON per command from stdin: {"arguments": [...], "cwd": ..., "output": FILE}.
Answers {"pid": ...} at once and {"pid": ..., "status": ...} when that process has ended. Each is a
fork of this process, which has done nothing but import, and leads a session of its own.
"""

import json
import os
import sys
import threading
import traceback
from typing import Any

from relic_rl.machine import process

process.prepare()

import relic_rl.commands.foreground  # noqa: E402, F401
from relic_rl import cli  # noqa: E402


def run(request: dict[str, Any]) -> None:
    """The child's life."""
    os.setsid()
    os.chdir(request["cwd"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    status = 1
    try:
        status = cli.main(request["arguments"])
        sys.stdout.flush()
    except Exception:  # as the interpreter would
        traceback.print_exc()
    finally:
        # As it would, too: a thread that still runs is waited for, unless a daemon.
        threading._shutdown()  # type: ignore[attr-defined]
        os._exit(status)


def main() -> None:
    """Serves until stdin ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"pid": child, "status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
