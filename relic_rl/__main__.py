"""`relic-rl`, and `python -m relic_rl`: the command line, once its modules are there."""

import sys


def main() -> int:
    """Runs the process's command line; returns its exit status."""
    try:
        from relic_rl import cli
    except KeyboardInterrupt:  # importing takes a second, and nothing has begun
        print("relic-rl: stopped", file=sys.stderr)
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
