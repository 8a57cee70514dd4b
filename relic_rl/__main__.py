"""`python -m relic_rl` is `relic-rl`."""

import sys

from relic_rl.cli import main

sys.exit(main())
