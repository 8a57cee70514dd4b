"""Replay: immutable segments in, prioritised sequences out.

`segment` is the unit that actors emit, the replay keeps and checkpoints append. `store` keeps them
and evicts the oldest. `sum_tree` draws in proportion to priority. `sequences` decodes what was
drawn into time-major arrays. `buffer` joins them. The package needs no torch.
"""
