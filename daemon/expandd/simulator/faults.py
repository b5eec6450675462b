"""What goes wrong on purpose: the kinds of fault, where and how often each strikes."""

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Endpoint(Enum):
    """A call of the contract, by the name that faults and counts use."""

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
    """How a call goes wrong. The first group strikes before or after the work, the others at one moment."""

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
    """The picture that a call is about: an upload's file, or the source of a paid call or of a result."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault at one endpoint; ValueError when kind, endpoint and moment do not go together.

    It strikes at most `times` calls (None: every one), after `skip` calls were let through, each with
    `probability`. With `after` the work is done and only its answer goes wrong. `retry_after` is the
    header's text; `seconds` is how long HANG and STALL last. With `above` or `sha256` it strikes only calls about a
    picture of more bytes than that, or whose sha256 begins so.
    """

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
        if self.moment is Moment.JOB and self.endpoint is not Endpoint.GENERATE:
            raise ValueError(f"{self.kind.value} is a fault of generate, not of {self.endpoint.value}")
        if self.moment is Moment.RESULT and self.endpoint is not Endpoint.LINK:
            raise ValueError(f"{self.kind.value} is a fault of link, not of {self.endpoint.value}")
        if self.after and self.moment is not Moment.AFTER:
            raise ValueError(f"{self.kind.value} has no 'after'")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability lies between 0 and 1, not at {self.probability}")
        if self.chooses and self.endpoint not in _ABOUT_PICTURES:
            raise ValueError(f"a call of {self.endpoint.value} is about no picture that could be chosen")

    @property
    def moment(self) -> Moment:
        if self.kind in {FaultKind.JOB_FAILS, FaultKind.JOB_STUCK, FaultKind.NOTIFICATION_LOST}:
            return Moment.JOB
        if self.kind in _OF_RESULTS:
            return Moment.RESULT
        return Moment.AFTER if self.after else Moment.BEFORE

    @property
    def chooses(self) -> bool:
        """Whether it strikes some pictures only."""
        return self.above is not None or bool(self.sha256)

    def chose(self, subject: Subject | None) -> bool:
        if not self.chooses:
            return True
        large_enough = subject is not None and (self.above is None or subject.size > self.above)
        return subject is not None and large_enough and subject.sha256.startswith(self.sha256)

    def as_json(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint.value,
            "kind": self.kind.value,
            "times": self.times,
            "after": self.after,
            "probability": self.probability,
            "skip": self.skip,
            "retry_after": self.retry_after,
            "seconds": self.seconds,
            "above": self.above,
            "sha256": self.sha256,
        }


_ABOUT_PICTURES = frozenset({Endpoint.UPLOAD, Endpoint.GENERATE, Endpoint.LINK})


_OF_RESULTS = frozenset(
    {
        FaultKind.TRUNCATED,
        FaultKind.SHORT,
        FaultKind.WRONG_SIZE,
        FaultKind.ENDLESS,
        FaultKind.STALL,
        FaultKind.REDIRECT_LOOP,
    }
)


def read_fault(text: str) -> Fault:
    """A fault written as `endpoint:kind[:often][:field=value…]`; ValueError when it cannot be read.

    A kind may end in `-after`. `often` is a number of calls (default 1), `always`, or `p=0.2`. The fields are
    `seconds`, `above` and `sha256`.
    Examples: `poll:429:3`, `link:truncated:p=0.1`, `upload:hang-after:always:above=1000000:seconds=20`.
    """
    endpoint, kind, *more = text.split(":") if ":" in text else (text, "")
    fields = dict(_read_field(item) for item in more if item.partition("=")[0] in _FIELDS)
    often = [item for item in more if item.partition("=")[0] not in _FIELDS]
    if len(often) > 1:
        raise ValueError(f"{text!r} says more than once how often")
    times, probability = _read_often("".join(often) or "1")
    return Fault(
        endpoint=Endpoint(endpoint.strip()),
        kind=FaultKind(kind.strip().removesuffix("-after")),
        after=kind.strip().endswith("-after"),
        times=times,
        probability=probability,
        **fields,
    )


_FIELDS: Mapping[str, Callable[[str], Any]] = {"seconds": float, "above": int, "sha256": str}


def _read_field(item: str) -> tuple[str, Any]:
    name, _, value = item.partition("=")
    return name, _FIELDS[name](value)


def _read_often(often: str) -> tuple[int | None, float]:
    if often == "always":
        return None, 1.0
    if often.startswith("p="):
        return None, float(often.removeprefix("p="))
    return int(often), 1.0


_TYPES: Mapping[str, tuple[type, ...]] = {
    "times": (int, type(None)),
    "after": (bool,),
    "probability": (int, float),
    "skip": (int,),
    "retry_after": (str, type(None)),
    "seconds": (int, float),
    "above": (int, type(None)),
    "sha256": (str,),
}


def fault_from_json(value: Any) -> Fault:
    """A fault from its text form or from an object with Fault's fields; ValueError when it is neither."""
    if isinstance(value, str):
        return read_fault(value)
    if not isinstance(value, dict):
        raise ValueError(f"a fault is an object or a text, not {value!r}")  # noqa: TRY004 - an edge: one error type
    fields = {**value}
    endpoint, kind = Endpoint(fields.pop("endpoint", None)), FaultKind(fields.pop("kind", None))
    for name, item in fields.items():
        if name not in _TYPES or type(item) not in _TYPES[name]:
            raise ValueError(f"{name}: {item!r} is not a field of a fault")
    return Fault(endpoint, kind, **fields)


@dataclass(slots=True)
class _Loaded:
    fault: Fault
    skip: int
    left: int | None


class FaultBox:
    """The faults that are set, in the order they were set. Safe to use from any thread."""

    def __init__(self, seed: int) -> None:
        self._loaded: list[_Loaded] = []
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
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

    @property
    def choosing(self) -> bool:
        """Whether a fault is set that strikes some pictures only."""
        with self._lock:
            return any(loaded.fault.chooses for loaded in self._loaded)

    def take(self, endpoint: Endpoint, moment: Moment, subject: Subject | None = None) -> Fault | None:
        """The fault that strikes this call at this moment, used up by one; None when all is well.

        One that strikes some pictures only needs the `subject`.
        """
        return self._take(
            lambda fault: fault.endpoint is endpoint and fault.moment is moment and fault.chose(subject),
        )

    def take_chosen(self, endpoint: Endpoint, subject: Subject) -> Fault | None:
        """The same before the work, once the picture is known, of those faults only that strike some pictures."""
        return self._take(
            lambda fault: (
                fault.endpoint is endpoint and fault.moment is Moment.BEFORE and fault.chooses and fault.chose(subject)
            ),
        )

    def _take(self, fits: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            found = self._first(fits)
            self._loaded = [loaded for loaded in self._loaded if loaded.left != 0]
        return found

    def _first(self, fits: Callable[[Fault], bool]) -> Fault | None:
        for loaded in self._loaded:
            if fits(loaded.fault) and self._strikes(loaded):
                return loaded.fault
        return None

    def _strikes(self, loaded: _Loaded) -> bool:
        if loaded.skip:
            loaded.skip -= 1
            return False
        if self._random.random() >= loaded.fault.probability:
            return False
        if loaded.left is not None:
            loaded.left -= 1
        return True
