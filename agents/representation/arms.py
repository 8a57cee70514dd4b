"""The arms by name: the only place that tells them apart.

A new one is a class that is an `arm.Arm`, in a file of its own, and a line in `ARMS`.
`arm.arm_class` imports it when it is asked for: listing the settings needs no torch.
"""

from typing import TYPE_CHECKING, Literal

ARMS = {
    "relic": "relic.Relic",
    "simclr": "simclr.SimClr",
    "curl": "curl.Curl",
    "byol": "byol.Byol",
    "augmentation": "augmented.Augmented",
    "disturbed_relic": "disturbed_relic.DisturbedRelic",
    "none": "arm.Arm",
}
"""The five of the paper's table 4, ours, and plain R2D2: module in this folder, and class."""
SHARED_ONLY = {"disturbed_relic"}
"""Arms that need the Q-network's own features: their encoder is not separate."""
LEAST_STACKS = {"byol": 2}
"""Stacks that an arm's loss needs, if more than one: batch normalization does."""

if TYPE_CHECKING:
    ArmName = str
else:
    ArmName = Literal[tuple(ARMS)]
