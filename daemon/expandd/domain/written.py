"""Declares how values are written in the configuration where their types do not say it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated

MOST = 10_000_000
"""No count is larger: a number beyond it is a slip of the finger."""


class Written(Enum):
    """How a value is written, where its type does not say it. `adapters/config/values.py` checks each."""

    NOT_NULL = auto()
    """None is a key that was left out; null is refused."""
    DURATION = auto()
    DURATION_OR_FOREVER = auto()
    NAME_TEMPLATE = auto()
    IGNORE = auto()
    LINE = auto()
    PRESET_NAME = auto()
    PRESET = auto()
    BASE_URL = auto()
    URL_PATH = auto()
    SCALAR = auto()
    COMMAND = auto()
    HOOK_URL = auto()
    LISTEN = auto()
    HOSTS = auto()
    PRICE = auto()
    HOST_NAME = auto()


@dataclass(frozen=True, slots=True)
class Between:
    """A whole number within bounds. `what` says in messages what it counts; `or_null`: null is no limit."""

    lowest: int
    highest: int
    what: str = "a whole number"
    or_null: bool = False


Seconds = Annotated[float, Written.DURATION]
SecondsOrForever = Annotated[float | None, Written.DURATION_OR_FOREVER]
Images = Annotated[int | None, Between(0, MOST, "a number of images", or_null=True)]
PresetName = Annotated[str, Written.PRESET_NAME]
Scalar = Annotated[str | int | float | bool | None, Written.SCALAR]
