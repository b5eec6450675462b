"""The rules by which a file in an inbox is taken: whether it has settled, and whether it can be expanded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from expandd.domain.errors import FileFault
from expandd.domain.finishing import require_finishable, require_fit
from expandd.domain.image import Incomplete, Inspection, Invalid, Size, Valid
from expandd.domain.offsets import Offsets, resolve
from expandd.domain.settings import HotFolder


@dataclass(frozen=True, slots=True)
class FileStat:
    """What lstat says of a file. With ctime: mtime can be set, and a preallocated copy has its size from the start."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Found(NamedTuple):
    """What a scan says of an entry: its mtime, LAST for what is no regular file, and its path below the inbox."""

    mtime_ns: int
    relative: str


LAST = 1 << 63
"""Later than any time of a file."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A candidate as last seen: since when it has not changed, in seconds, and in which way it was found unfinished."""

    file_stat: FileStat
    quiet_since: float
    unfinished: str = ""

    def quiet(self, now: float) -> float:
        """For how long it has not changed, in seconds."""
        return now - self.quiet_since

    def updated(self, file_stat: FileStat, now: float) -> Observation:
        """This observation after another stat at `now`: any change restarts the settle time."""
        return self if file_stat == self.file_stat else Observation(file_stat, now)


class SettleDecision(Enum):
    """What to do with a candidate."""

    WAIT = "wait"
    """It may still change."""
    INSPECT = "inspect"
    """It has been quiet for the settle time: inspect it."""
    GIVE_UP = "give_up"
    """It has been quiet for the longest time and is still not whole."""


def settle_decision(observation: Observation, now: float, *, settle: float, settle_max: float) -> SettleDecision:
    """The decision at `now`, by the clock of the observation; all in seconds."""
    quiet = observation.quiet(now)
    if quiet < settle:
        return SettleDecision.WAIT
    if not observation.unfinished:
        return SettleDecision.INSPECT
    return SettleDecision.GIVE_UP if quiet >= settle_max else SettleDecision.WAIT


@dataclass(frozen=True, slots=True)
class Expandable:
    """The file is an image that can be expanded, by these offsets."""

    image: Valid
    offsets: Offsets

    @property
    def result_size(self) -> Size:
        """What the result is to have, in px."""
        return self.offsets.applied_to(self.image.size)


def content_decision(inspection: Inspection, folder: HotFolder) -> Expandable | Incomplete | Invalid:
    """What to do with a file in `folder`, by its inspection."""
    if not isinstance(inspection, Valid):
        return inspection
    try:
        require_fit(inspection, folder.accept, folder.oversize)
        expandable = Expandable(inspection, resolve(folder.preset, inspection.size))
        require_finishable(inspection, expandable.result_size)
    except FileFault as error:
        return Invalid(error.fault)
    return expandable


@dataclass(frozen=True, slots=True)
class InboxState:
    """The inbox's (st_dev, st_ino), and the first of the names asked for that lies in it; "" when none does.

    `work` is the (st_dev, st_ino) of its work folder.
    """

    identity: tuple[int, int]
    marker: str = ""
    work: tuple[int, int] = (0, 0)
