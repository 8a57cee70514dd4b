"""What learns: networks, losses, targets, exploration. Torch only; no files, processes or games.

Import from the modules themselves (`agents.returns`, `agents.representation.relic`, ...). Read
`agents.interface` first: it names the dimensions and the records that cross this border.
"""

PROJECT = "relic-rl"
"""Tells this package from others of its name: see `relic_rl`."""

__all__: list[str] = []
