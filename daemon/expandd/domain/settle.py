"""The settle rule, and what an inbox and its files can be seen to be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class FileStat:
    """What one lstat saw. ctime too: mtime can be set, and a preallocated copy has its size from the start."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Observation:
    """A candidate as last seen: since when it has not changed (monotonic seconds), and when it was found unfinished."""

    look: FileStat
    quiet_since: float
    unfinished: str = ""

    def updated(self, look: FileStat, now: float) -> Observation:
        """This observation after another look at `now`: any change starts the settle time anew."""
        return self if look == self.look else Observation(look, now)


class SettleDecision(Enum):
    """What to do with a candidate."""

    WAIT = "wait"
    """It may still change."""
    EXAMINE = "examine"
    """It has been quiet for the settle time: look inside."""
    GIVE_UP = "give_up"
    """It has been quiet for the longest time and is still not whole."""


def settle_decision(observation: Observation, now: float, *, settle: float, settle_max: float) -> SettleDecision:
    """The decision at `now`; all in monotonic seconds."""
    quiet = now - observation.quiet_since
    if quiet < settle:
        return SettleDecision.WAIT
    if not observation.unfinished:
        return SettleDecision.EXAMINE
    return SettleDecision.GIVE_UP if quiet >= settle_max else SettleDecision.WAIT


@dataclass(frozen=True, slots=True)
class InboxState:
    """The inbox's (st_dev, st_ino), and the first of the names asked for that lies in it; "" when none does.

    `work` is the (st_dev, st_ino) of its work folder.
    """

    identity: tuple[int, int]
    heeded: str = ""
    work: tuple[int, int] = (0, 0)
