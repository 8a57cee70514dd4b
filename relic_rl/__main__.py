"""`relic-rl`, and `python -m relic_rl`: the command line, once its modules are there."""

import signal
import sys
from contextlib import suppress


def main() -> int:
    """Runs the process's command line; returns its exit status."""
    try:
        from relic_rl import cli
    except KeyboardInterrupt:  # importing takes a second, and nothing has begun
        print("relic-rl: stopped", file=sys.stderr)
        return 130
    status = cli.main()
    # All is done: what Python takes apart now must not be interrupted, which it would print.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # it was told: Python would try again, and say so in its own words
        sys.stdout.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
