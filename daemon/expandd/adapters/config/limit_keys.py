"""Owns how limits on spending are written: budgets and bursts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from expandd.adapters.config.values import Duration, refused, whole
from expandd.domain.settings import Budget, Burst

MOST = 10_000_000
"""No count is larger: a number beyond it is a slip of the finger."""


def count_or_null(what: str) -> Any:
    """A check for a whole number from 0, or null; `what` says in the message what it counts and what null means."""

    def check(value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
            raise refused(f"{what} from 0 to {MOST}, or null for no limit")
        return value

    return check


_OR_NULL = {"type": ["integer", "null"], "minimum": 0, "maximum": MOST}

Images = Annotated[int | None, PlainValidator(count_or_null("a number of images")), WithJsonSchema(_OR_NULL)]
Credits = Annotated[int | None, PlainValidator(count_or_null("a number of credits")), WithJsonSchema(_OR_NULL)]
Files = Annotated[
    int,
    PlainValidator(whole(1, MOST, "a number of files")),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST}),
]


class BudgetKeys(BaseModel):
    """How many images may be paid for; each a number or null, which is no limit. Days and months are local time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: Images = Field(default=None, description="Images paid for in one calendar day, at most; null is no limit.")
    month: Images = Field(default=None, description="Images paid for in one calendar month, at most; null is no limit.")


class BurstKeys(BaseModel):
    """How many files may arrive within how long, before what is more is held until a person releases it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: Files = Field(description="Files that may arrive within that time.")
    within: Duration = Field(description="The time in which the files are counted.")


def budget_of(keys: BudgetKeys) -> Budget:
    return Budget(day=keys.day, month=keys.month)


def burst_of(keys: BurstKeys | None) -> Burst | None:
    return Burst(files=keys.files, within=keys.within) if keys else None
