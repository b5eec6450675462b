"""Injects faults: their kinds, and where and how often each strikes."""

import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter


class Endpoint(Enum):
    """A call of the contract, by its name in faults and counts."""

    UPLOAD = "upload"
    GENERATE = "generate"
    POLL = "poll"
    DELETE = "delete"
    HISTORY = "history"
    ME = "me"
    LOGIN = "login"
    REFRESH = "refresh"
    LINK = "link"


class FaultKind(Enum):
    """How a call goes wrong: before or after its work (first group), in the job (second), in the result (third)."""

    UNAUTHORIZED = "401"
    PAYMENT_REQUIRED = "402"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    NOT_ALLOWED = "405"
    TOO_LARGE = "413"
    TOO_LARGE_PAGE = "413-html"
    TOO_MANY = "429"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    HTML = "html"
    EMPTY = "empty"
    GARBAGE = "garbage"
    BOMB = "gzip"
    BOMB_IN_A_BOMB = "gzip-gzip"
    HANG = "hang"
    RESET = "reset"

    JOB_FAILS = "job-fails"
    JOB_STUCK = "job-stuck"
    NOTIFICATION_LOST = "notification-lost"

    TRUNCATED = "truncated"
    SHORT = "short"
    WRONG_SIZE = "wrong-size"
    ENDLESS = "endless"
    STALL = "stall"
    REDIRECT_LOOP = "redirect-loop"


class Moment(Enum):
    """When a fault strikes: before the work, after it succeeded, in the job it started, in the result."""

    BEFORE = "before"
    AFTER = "after"
    JOB = "job"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Subject:
    """The image of a call: an upload's file, or the source of a paid call or of a result."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault at one endpoint. Raises ValueError when kind, endpoint and moment do not match.

    It strikes at most `times` calls (None: every one), after `skip` undisturbed calls, each with `probability`. With
    `after` the work is done and only its answer fails. `retry_after` is the header's text; `seconds` is the duration of
    HANG and STALL. With `above` it strikes only calls about images of more bytes, with `sha256` only those about images
    whose sha256 begins with it.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="forbid")

    endpoint: Endpoint
    kind: FaultKind
    times: int | None = 1
    after: bool = False
    probability: float = 1.0
    skip: int = 0
    retry_after: str | None = None
    seconds: float = 3600.0
    above: int | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        only_at = {Moment.JOB: Endpoint.GENERATE, Moment.RESULT: Endpoint.LINK}.get(self.moment, self.endpoint)
        if self.endpoint is not only_at:
            raise ValueError(f"{self.kind.value} is a fault of {only_at.value}, not of {self.endpoint.value}")
        if self.after and self.moment is not Moment.AFTER:
            raise ValueError(f"{self.kind.value} has no 'after'")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability lies between 0 and 1, not at {self.probability}")
        if self.chooses and self.endpoint not in {Endpoint.UPLOAD, Endpoint.GENERATE, Endpoint.LINK}:
            raise ValueError(f"a call of {self.endpoint.value} is about no image, so a fault cannot choose by image")

    @property
    def moment(self) -> Moment:
        return _MOMENTS.get(self.kind, Moment.AFTER if self.after else Moment.BEFORE)

    @property
    def chooses(self) -> bool:
        """Whether it strikes some images only."""
        return self.above is not None or bool(self.sha256)

    def chose(self, subject: Subject | None) -> bool:
        if subject is None or not self.chooses:
            return not self.chooses
        return (self.above is None or subject.size > self.above) and subject.sha256.startswith(self.sha256)

    def as_json(self) -> dict[str, Any]:
        values: dict[str, Any] = _FAULT.dump_python(self, mode="json")
        return values


_MOMENTS = {
    FaultKind.JOB_FAILS: Moment.JOB,
    FaultKind.JOB_STUCK: Moment.JOB,
    FaultKind.NOTIFICATION_LOST: Moment.JOB,
    FaultKind.TRUNCATED: Moment.RESULT,
    FaultKind.SHORT: Moment.RESULT,
    FaultKind.WRONG_SIZE: Moment.RESULT,
    FaultKind.ENDLESS: Moment.RESULT,
    FaultKind.STALL: Moment.RESULT,
    FaultKind.REDIRECT_LOOP: Moment.RESULT,
}
_FAULT = TypeAdapter(Fault)
_TEXT_FIELDS: Mapping[str, Callable[[str], Any]] = {"seconds": float, "above": int, "sha256": str}


def read_fault(text: str) -> Fault:
    """Parse a fault written as `endpoint:kind[:often][:field=value…]`. Raises ValueError when it cannot be read.

    A kind may end in `-after`. `often` is a number of calls (default 1), `always`, or `p=0.2`. The fields are
    `seconds`, `above` and `sha256`.
    Examples: `poll:429:3`, `link:truncated:p=0.1`, `upload:hang-after:always:above=1000000:seconds=20`.
    """
    endpoint, kind, *more = text.split(":") if ":" in text else (text, "")
    given = [item.partition("=") for item in more]
    often = [f"{name}{equals}{value}" for name, equals, value in given if name not in _TEXT_FIELDS]
    if len(often) > 1:
        raise ValueError(f"{text!r} says more than once how often")
    times, probability = _read_often("".join(often) or "1")
    return Fault(
        endpoint=Endpoint(endpoint.strip()),
        kind=FaultKind(kind.strip().removesuffix("-after")),
        after=kind.strip().endswith("-after"),
        times=times,
        probability=probability,
        **{name: _TEXT_FIELDS[name](value) for name, _, value in given if name in _TEXT_FIELDS},
    )


def _read_often(often: str) -> tuple[int | None, float]:
    if often == "always":
        return None, 1.0
    if often.startswith("p="):
        return None, float(often.removeprefix("p="))
    return int(often), 1.0


def fault_from_json(value: Any) -> Fault:
    """Parse a fault in its text form or as an object with Fault's fields. Raises ValueError when it is neither."""
    return read_fault(value) if isinstance(value, str) else _FAULT.validate_json(json.dumps(value))


@dataclass(slots=True)
class _Loaded:
    fault: Fault
    skip: int
    left: int | None

    def strikes(self, dice: random.Random) -> bool:
        """Whether it strikes a matching call; if so, one strike fewer is left."""
        if self.skip:
            self.skip -= 1
            return False
        if dice.random() >= self.fault.probability:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class FaultBox:
    """The set faults, in order. Safe to use from any thread."""

    def __init__(self, seed: int) -> None:
        self._loaded: list[_Loaded] = []
        self._dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._loaded.append(_Loaded(fault, fault.skip, fault.times))

    def clear(self) -> None:
        with self._lock:
            self._loaded.clear()

    def listed(self) -> list[Fault]:
        """The faults that can still strike."""
        with self._lock:
            return [loaded.fault for loaded in self._loaded]

    def take(
        self, endpoint: Endpoint, moment: Moment, subject: Subject | None = None, *, choosing_only: bool = False
    ) -> Fault | None:
        """The fault that strikes this call at this moment, with one strike fewer left; None when there is none.

        A fault that chooses by image needs the `subject`. With `choosing_only` only such faults are considered.
        """

        def fits(fault: Fault) -> bool:
            here = fault.endpoint is endpoint and fault.moment is moment
            return here and fault.chose(subject) and (fault.chooses or not choosing_only)

        with self._lock:
            struck = next((one.fault for one in self._loaded if fits(one.fault) and one.strikes(self._dice)), None)
            self._loaded = [one for one in self._loaded if one.left != 0]
        return struck
