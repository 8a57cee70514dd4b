"""The sequences that an agent learns from, as rows of time.

row       0 ......... burn_in ............. burn_in + unroll ....... rows
what      | warms up  | trained             | the n-step targets look ahead
segments  | one       | one or more         | the first n steps of the next
"""

from dataclasses import dataclass

from agents.bounds import NonNegativeInt, PositiveInt


@dataclass(frozen=True, slots=True)
class SequenceOptions:
    """How a run's sequences lie over its segments.

    Raises:
      ValueError: a length does not fit the segments.
    """

    segment_steps: PositiveInt = 40
    """Steps in a segment; sequences start at every segment. [R2D2 2.3: overlap of 40]"""
    burn_in_steps: NonNegativeInt = 40
    """Steps that only warm the state up: 0 or segment_steps. [R2D2 table 2]"""
    unroll_steps: PositiveInt = 80
    """Steps trained on, a multiple of segment_steps. [R2D2 table 2]"""
    n_steps: PositiveInt = 5
    """Rewards in a target. [R2D2 2.3]"""

    def __post_init__(self) -> None:
        """Checks the lengths against the segment's."""
        segment = f"segment_steps ({self.segment_steps})"
        if self.burn_in_steps not in (0, self.segment_steps):
            raise ValueError(f"burn_in_steps is {self.burn_in_steps}: use 0 or {segment}")
        if self.unroll_steps % self.segment_steps:
            raise ValueError(f"unroll_steps is {self.unroll_steps}: use a multiple of {segment}")
        if self.n_steps > self.segment_steps:
            raise ValueError(f"n_steps is {self.n_steps}: use at most {segment}")

    @property
    def unroll_segments(self) -> int:
        """Segments that a sequence trains on."""
        return self.unroll_steps // self.segment_steps

    @property
    def rows(self) -> int:
        """L: the rows of a sequence."""
        return self.burn_in_steps + self.unroll_steps + self.n_steps

    @property
    def trained(self) -> slice:
        """The rows that are trained on."""
        return slice(self.burn_in_steps, self.burn_in_steps + self.unroll_steps)
