"""The settle rule, and what an inbox and its files can be seen to be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Look:
    """What one lstat saw. ctime too: mtime can be set, and a preallocated copy has its size from the start."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A candidate as last seen: since when it has not changed (monotonic seconds), and when it was found unfinished."""

    look: Look
    quiet_since: float
    unfinished: str = ""

    def updated(self, look: Look, now: float) -> Sighting:
        """This sighting after another look at `now`: any change starts the settle time anew."""
        return self if look == self.look else Sighting(look, now)


class Ripeness(Enum):
    """What to do with a candidate."""

    WAIT = "wait"
    """It may still change."""
    EXAMINE = "examine"
    """It has been quiet for the settle time: look inside."""
    GIVE_UP = "give_up"
    """It has been quiet for the longest time and is still not whole."""


def ripeness(sighting: Sighting, now: float, *, settle: float, settle_max: float) -> Ripeness:
    """The decision at `now`; all in monotonic seconds."""
    quiet = now - sighting.quiet_since
    if quiet < settle:
        return Ripeness.WAIT
    if not sighting.unfinished:
        return Ripeness.EXAMINE
    return Ripeness.GIVE_UP if quiet >= settle_max else Ripeness.WAIT


@dataclass(frozen=True, slots=True)
class Occupied:
    """The inbox's (st_dev, st_ino), and the first of the names asked for that lies in it; "" when none does.

    `work` is the (st_dev, st_ino) of its work folder.
    """

    identity: tuple[int, int]
    heeded: str = ""
    work: tuple[int, int] = (0, 0)
