"""Owns what is found at an inbox that is there and ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Occupied:
    """The inbox's (st_dev, st_ino), and the first of the names asked for that lies in it; "" when none does.

    `work` is the (st_dev, st_ino) of its work folder.
    """

    identity: tuple[int, int]
    heeded: str = ""
    work: tuple[int, int] = (0, 0)
