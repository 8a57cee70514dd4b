"""What can be chosen of the emulators."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from annotated_types import Interval

from envs.protocol import PROTOCOLS

if TYPE_CHECKING:
    ProtocolName = str
else:
    ProtocolName = Literal[tuple(PROTOCOLS)]
ActionSet = Literal["full", "minimal"]
ACTION_SETS = get_args(ActionSet)

FRAME_SIDE_PIXELS = 84
"""Height and width of the games' frames. [R2D2 app.: DQN's]"""


@dataclass(frozen=True, slots=True)
class EnvOptions:
    """The emulator and the evaluation protocol."""

    protocol: ProtocolName = "noop"
    """`noop`: up to 30 no-ops, no sticky actions. `machado`: sticky 0.25, no no-ops. [R2D2 app.]"""
    action_set: ActionSet = "full"
    """All 18 actions (Skiing has 9), or those that the game uses. [R2D2 app.]"""
    threads: Annotated[int, Interval(ge=0, le=4096)] = 0
    """Emulator threads of an actor; 0: its share of the cores. [ours]"""
