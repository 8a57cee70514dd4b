"""A sum tree: draws an index with probability proportional to its priority, in logarithmic time.

A complete binary tree in one float64 array: node 1 is the root, node i has children 2i and 2i + 1,
and the leaf of index j is node `capacity + j`. A parent is always *recomputed* as the sum of its
children, never adjusted by a difference, so that rounding does not accumulate over updates and the
tree is a function of its leaves alone.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_PRIORITY = 1e200
"""Largest leaf; far below the float64 limit, so that no sum of leaves overflows."""


class SumTree:
    """Non-negative priorities by index; a priority of 0 means "never drawn". Not thread-safe."""

    def __init__(self) -> None:
        self._capacity = 1  # doubles as needed
        self._nodes = np.zeros(2)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._nodes[1])

    def get(self, indices: ArrayLike) -> NDArray[np.float64]:
        """Returns the priorities float64[B] of integer indices [B]; 0 where none was ever set.

        Raises:
          ValueError: an index is negative.
        """
        positions = _as_indices(indices)
        known = self._nodes[self._capacity + np.minimum(positions, self._capacity - 1)]
        return np.where(positions < self._capacity, known, 0.0)

    def set(self, indices: ArrayLike, priorities: ArrayLike) -> None:
        """Sets the priorities [B] of integer indices [B]; of equal indices, the last one counts.

        Raises:
          ValueError: lengths differ, an index is negative, or a priority is not in
            [0, MAX_PRIORITY]; nothing is changed then.
        """
        positions = _as_indices(indices)
        values = _as_priorities(priorities)
        if positions.shape != values.shape:
            raise ValueError(f"{len(positions)} indices but {len(values)} priorities")
        if not positions.size:
            return
        if positions.max() >= self._capacity:
            self._grow(1 << int(positions.max()).bit_length())
        tree, nodes = self._nodes, self._capacity + positions
        tree[nodes] = values
        if len(nodes) == 1:  # an insertion's case: plain integers are 15 times as fast here
            node = int(nodes[0])
            while node > 1:
                node >>= 1
                tree[node] = tree[2 * node] + tree[2 * node + 1]
            return
        while nodes[0] > 1:  # all leaves are equally deep
            nodes = nodes >> 1
            tree[nodes] = tree[2 * nodes] + tree[2 * nodes + 1]

    def sample(self, uniforms: ArrayLike) -> NDArray[np.int64]:
        """Returns indices int64[B]: the cumulative priorities inverted at uniforms [B] in [0, 1).

        An index of priority 0 is never returned, whatever the rounding.

        Raises:
          ValueError: a uniform is outside [0, 1), or every priority is 0.
        """
        values = np.array(uniforms, np.float64).reshape(-1)
        if values.size and not (values.min() >= 0 and values.max() < 1):
            raise ValueError(f"uniforms are in [{values.min()}, {values.max()}], not in [0, 1)")
        if not self.total > 0:
            raise ValueError("nothing to sample: every priority is 0")
        values *= self.total
        nodes = np.ones(len(values), np.int64)
        while nodes.size and nodes[0] < self._capacity:
            left = self._nodes[2 * nodes]
            # Rounding may leave a value at or above the sum of both children: an empty right child
            # is never entered, and an empty left one cannot hold a value that is >= 0.
            right_is_hit = (values >= left) & (self._nodes[2 * nodes + 1] > 0)
            values -= np.where(right_is_hit, left, 0)
            nodes = 2 * nodes + right_is_hit
        return nodes - self._capacity

    def _grow(self, capacity: int) -> None:
        leaves = self._nodes[self._capacity :]
        self._capacity, self._nodes = capacity, np.zeros(2 * capacity)
        self._nodes[capacity : capacity + len(leaves)] = leaves
        first = capacity // 2
        while first >= 1:
            children = self._nodes[2 * first : 4 * first]
            self._nodes[first : 2 * first] = children[0::2] + children[1::2]
            first //= 2


def _as_indices(indices: ArrayLike) -> NDArray[np.int64]:
    positions = np.asarray(indices, np.int64).reshape(-1)
    if positions.size and positions.min() < 0:
        raise ValueError(f"index {positions.min()} is negative")
    return positions


def _as_priorities(priorities: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(priorities, np.float64).reshape(-1)
    if values.size and not (values.min() >= 0 and values.max() <= MAX_PRIORITY):  # NaN fails too
        raise ValueError(
            f"priorities must lie in [0, {MAX_PRIORITY}]: {values.min()}, {values.max()}"
        )
    return values
