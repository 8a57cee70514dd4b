"""Numbers with bounds, for the fields of options.

The bounds are `annotated_types`: reading a configuration checks them. A dataclass that is made in
code does not.
"""

from typing import Annotated

from annotated_types import Interval

LARGEST = 2**53
"""Beyond it a number is no longer exact as a float, and no machine has so much of anything."""

Fraction = Annotated[float, Interval(ge=0.0, le=1.0)]
PositiveFraction = Annotated[float, Interval(gt=0.0, le=1.0)]
Decay = Annotated[float, Interval(ge=0.0, lt=1.0)]
PositiveFloat = Annotated[float, Interval(gt=0.0, lt=float("inf"))]
NonNegativeFloat = Annotated[float, Interval(ge=0.0, le=LARGEST)]
PositiveInt = Annotated[int, Interval(ge=1, le=LARGEST)]
NonNegativeInt = Annotated[int, Interval(ge=0, le=LARGEST)]
