"""What can be adjusted on the simulator: every open point of the contract, limits, prices and times."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

DAY = 24 * 3600.0


class UploadId(Enum):
    """Under which key an upload names the image."""

    ID_IMAGE = "id_image"
    IMAGE_ID = "image_id"
    BOTH = "both"
    NEITHER = "neither"


class Naming(Enum):
    """Which key of a notification's data names the image. NEITHER makes the whole data null."""

    BOTH = "both"
    ID_IMAGE = "id_image"
    ADDRESS = "address"
    NEITHER = "neither"


class GenerateAnswer(Enum):
    """What an accepted generate answers: status, id_task and id_image; an empty object; no body; or something odd."""

    FULL = "full"
    EMPTY_OBJECT = "empty-object"
    EMPTY_BODY = "empty-body"
    NULLS = "nulls"
    LIST = "list"
    TEXT = "text"
    NUMBER = "number"


class HistoryAnswer(Enum):
    """What history answers for a known image: its links, 405 always, or an empty list always."""

    LINKS = "links"
    UNKNOWN = "unknown"
    EMPTY = "empty"


class HistoryShape(Enum):
    """How history writes one link: an object with `l`, a bare string, or a list of such objects."""

    OBJECTS = "objects"
    STRINGS = "strings"
    NESTED = "nested"


class Duplicates(Enum):
    """Whether a notification is listed twice, and if so under one id or under two."""

    NONE = "none"
    SAME_ID = "same-id"
    NEW_ID = "new-id"


class Order(Enum):
    """In which order notifications are listed."""

    OLDEST_FIRST = "oldest-first"
    NEWEST_FIRST = "newest-first"
    SHUFFLED = "shuffled"


class Foreign(Enum):
    """A notification of another client of the account, or one in a shape nobody documented."""

    FINISHED = "finished"
    FAILED = "failed"
    PROGRESS = "progress"
    DATA_NULL = "data-null"
    DATA_LIST = "data-list"
    NO_DATA = "no-data"
    NO_LINKS = "no-links"
    EMPTY_LINKS = "empty-links"
    LINK_IS_TEXT = "link-is-text"
    NO_ID = "no-id"
    NOT_AN_OBJECT = "not-an-object"


class ResultType(Enum):
    """The format of a result: the source's own, or always the same one."""

    SAME = "same"
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


class ResultMetadata(Enum):
    """What a result keeps of its source's metadata: nothing, its colour profile, or profile, EXIF and dpi."""

    NONE = "none"
    PROFILE = "profile"
    ALL = "all"


class Spread(Enum):
    """How generation times lie between their bounds: evenly, or most near the least (mean: a fifth of the way up)."""

    EVEN = "even"
    LONG_TAIL = "long-tail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Everything adjustable. Times are seconds, sides pixels, sizes bytes. The defaults are the contract's.

    `email`, `password`, `access_token`, `refresh_token` and `credits` are read when a server is made;
    all others apply from the next request on.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="forbid")

    email: str = "simulator@example.com"
    password: str = "simulator"  # noqa: S105 - a loopback toy's password, printed on the demo's screen
    access_token: str | None = "simulator-access"  # noqa: S105 - as above
    refresh_token: str | None = "simulator-refresh"  # noqa: S105 - as above
    token_life: float = 30 * DAY
    old_access_grace: float = 0.0  # how long an access token outlives its refresh
    credits: Decimal = Decimal(100)
    credits_said: str = ""  # what /me says in place of the credits, as JSON (`1e30`, `NaN`, `null`, `["7"]`) or text
    price: Decimal = Decimal(1)
    no_credits_status: int = 402
    pro: bool = False

    poll_limit: float = 3.0
    uplink: float = 0.0  # bytes per second that all calls together can bring; 0 is no limit
    downlink: float = 0.0  # the same for all answers and results
    min_side: int = 64
    max_side: int = 4096
    max_file_bytes: int = 64 * 1024 * 1024
    max_result_side: int = 16383
    max_result_pixels: int = 120_000_000
    keep_bytes: int = 512 * 1024 * 1024  # memory for sources; the oldest go first
    bad_image_status: int = 400
    source_life: float = DAY
    notification_life: float = 600.0
    link_life: float = DAY

    generate_path: str = "/edit/generate"
    generate_min: float = 2.0
    generate_max: float = 2.0
    generate_spread: Spread = Spread.EVEN
    extra_fields: tuple[str, ...] = ()  # undocumented fields that generate takes
    seed: int = 0

    upload_id: UploadId = UploadId.ID_IMAGE
    naming: Naming = Naming.BOTH
    error_has_id: bool = False
    generate_answer: GenerateAnswer = GenerateAnswer.FULL
    bare_list: bool = False
    duplicates: Duplicates = Duplicates.NONE
    order: Order = Order.OLDEST_FIRST
    foreign: tuple[Foreign, ...] = ()
    history: HistoryAnswer = HistoryAnswer.LINKS
    history_shape: HistoryShape = HistoryShape.OBJECTS
    result_type: ResultType = ResultType.SAME
    result_metadata: ResultMetadata = ResultMetadata.PROFILE
    colour_shift: int = 0  # steps by which red and green are brighter and blue is darker, inside the source too
    blur: float = 0.0  # radius by which all is softer, inside the source too
    plain: bool = False  # surrounds images by one colour, at next to no cost
    redirects: int = 0  # hops before a result

    def __post_init__(self) -> None:
        if not 0 <= self.generate_min <= self.generate_max:
            raise ValueError("switch generate_min must lie between 0 and generate_max")
        if not self.generate_path.startswith("/"):
            raise ValueError("switch generate_path must begin with a slash")
        if self.uplink < 0 or self.downlink < 0:
            raise ValueError("switches uplink and downlink must not be negative")
        if self.blur < 0:
            raise ValueError("switch blur must not be negative")

    def generation(self, fraction: float) -> float:
        """Seconds that a generation takes, by a random number in [0, 1]."""
        height = fraction**4 if self.generate_spread is Spread.LONG_TAIL else fraction
        return self.generate_min + (self.generate_max - self.generate_min) * height

    def as_json(self) -> dict[str, Any]:
        values: dict[str, Any] = _SWITCHES.dump_python(self, mode="json")
        return values


_SWITCHES = TypeAdapter(Switches)


def with_json(switches: Switches, changes: Mapping[str, Any]) -> Switches:
    """The switches with these JSON values put in; ValueError names one that is unknown or ill-typed."""
    try:
        return _SWITCHES.validate_json(json.dumps(switches.as_json() | dict(changes)))
    except ValidationError as error:
        raise ValueError("; ".join(f"switch {_place(one['loc'])}{one['msg']}" for one in error.errors())) from error


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def with_texts(switches: Switches, texts: Sequence[str]) -> Switches:
    """The switches with those put in that are written `name=value`, as on a command line; ValueError as `with_json`.

    A value is JSON (`3`, `true`, `["finished","error"]`) or, where it is none, plain text (`image_id`). All are put in
    at once: two that only fit together may come in any order.
    """
    return with_json(switches, dict(_pair(switches, text) for text in texts))


def _pair(switches: Switches, text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    is_text = isinstance(getattr(switches, name, None), str) and value != "null"
    return name, value if is_text else json_or_text(value)


def json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
