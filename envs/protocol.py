"""Evaluation protocols: what makes two Atari scores comparable, as plain data.

All lengths are emulator frames. A protocol does not hold the action set ("full" or "minimal"),
which is a separate argument, nor anything about the agent.
"""

from dataclasses import dataclass


def check_least(least: int, **values: int) -> None:
    """Raises ValueError, with its name, for a value that is smaller."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")


@dataclass(frozen=True)
class EpisodeProtocol:
    """How episodes start, stick and end.

    Raises:
      ValueError: a value is out of range, or the cap is not a whole number of steps.
    """

    name: str
    noop_max_frames: int
    """An episode starts with 0 to this many no-op frames, drawn uniformly."""
    sticky_probability: float
    """Chance, at every frame, that the previous action is executed instead of the new one."""
    max_episode_frames: int
    """An episode is truncated after this many frames; the no-op frames are not counted."""
    frame_skip: int = 4
    """Frames that one action is held; the agent sees the maximum of the last two."""

    def __post_init__(self) -> None:
        check_least(0, noop_max_frames=self.noop_max_frames)
        check_least(1, frame_skip=self.frame_skip)
        if not 0.0 <= self.sticky_probability < 1.0:
            raise ValueError(
                f"sticky_probability is {self.sticky_probability}; it must be in [0, 1)"
            )
        if self.max_episode_frames < 1 or self.max_episode_frames % self.frame_skip:
            raise ValueError(
                f"max_episode_frames is {self.max_episode_frames}; it must be a positive multiple "
                f"of frame_skip ({self.frame_skip}), so that an episode ends with a whole step"
            )

    @property
    def max_episode_steps(self) -> int:
        """The cap in agent steps."""
        return self.max_episode_frames // self.frame_skip


PROTOCOLS: dict[str, EpisodeProtocol] = {
    protocol.name: protocol
    for protocol in (
        # R2D2 (Kapturowski et al., 2019) and every system in the published table.
        EpisodeProtocol(
            "noop", noop_max_frames=30, sticky_probability=0.0, max_episode_frames=108_000
        ),
        # Machado et al., 2018: sticky actions take the place of no-op starts. The cap is that of
        # the line above and of ale-py's v5 environments, so that scores differ by stickiness only.
        EpisodeProtocol(
            "machado", noop_max_frames=0, sticky_probability=0.25, max_episode_frames=108_000
        ),
    )
}


def find_protocol(name: str) -> EpisodeProtocol:
    """Returns the protocol called `name`.

    Raises:
      ValueError: there is none; the message lists those that exist.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
