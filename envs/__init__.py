"""What is acted in: the 57 Atari games, their protocols, and a toy task with the same contract.

Knows nothing of agents or learning, and imports no torch.
Start with `envs.interface` (the contract), then `envs.atari`.
"""

PROJECT = "relic-rl"
"""Tells this package from others of its name: see `relic_rl`."""
