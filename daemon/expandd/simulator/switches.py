"""The adjustable behaviour of the simulator: every open point of the contract, limits, prices and times."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

DAY = 24 * 3600.0


class UploadId(Enum):
    """The key by which the answer to an upload names the image."""

    ID_IMAGE = "id_image"
    IMAGE_ID = "image_id"
    BOTH = "both"
    NEITHER = "neither"


class Naming(Enum):
    """The key of a notification's data that names the image. NEITHER makes the whole data null."""

    BOTH = "both"
    ID_IMAGE = "id_image"
    ADDRESS = "address"
    NEITHER = "neither"


class GenerateAnswer(Enum):
    """The answer of an accepted generate: status, id_task and id_image; an empty object; no body; or something odd."""

    FULL = "full"
    EMPTY_OBJECT = "empty-object"
    EMPTY_BODY = "empty-body"
    NULLS = "nulls"
    LIST = "list"
    TEXT = "text"
    NUMBER = "number"


class HistoryAnswer(Enum):
    """The answer of history for a known image: its links, always 405, or always an empty list."""

    LINKS = "links"
    UNKNOWN = "unknown"
    EMPTY = "empty"


class HistoryShape(Enum):
    """The form of a link in history: an object with `l`, a string, or a list of objects with `l`."""

    OBJECTS = "objects"
    STRINGS = "strings"
    NESTED = "nested"


class Duplicates(Enum):
    """Whether a notification is listed twice, and if so under one id or under two."""

    NONE = "none"
    SAME_ID = "same-id"
    NEW_ID = "new-id"


class Order(Enum):
    """The order of listed notifications."""

    OLDEST_FIRST = "oldest-first"
    NEWEST_FIRST = "newest-first"
    SHUFFLED = "shuffled"


class Foreign(Enum):
    """A notification of another client of the account, or one in an undocumented shape."""

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
    """The metadata that a result keeps: none, the colour profile, or profile, EXIF and dpi."""

    NONE = "none"
    PROFILE = "profile"
    ALL = "all"


class Spread(Enum):
    """The distribution of generation times in their range: uniform, or long-tailed (mean at a fifth of the range)."""

    EVEN = "even"
    LONG_TAIL = "long-tail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """All switches. Times are seconds, sides pixels, sizes bytes. The defaults are the contract's.

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
    credits_said: str = ""  # what /me answers for credits, as JSON (`1e30`, `NaN`, `null`, `["7"]`) or text
    price: Decimal = Decimal(1)
    no_credits_status: int = 402
    pro: bool = False

    poll_limit: float = 3.0
    uplink: float = 0.0  # bytes per second of all requests together; 0 is no limit
    downlink: float = 0.0  # bytes per second of all answers and results together; 0 is no limit
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
    extra_fields: tuple[str, ...] = ()  # undocumented fields that generate accepts
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
    colour_shift: int = 0  # steps by which red and green are brighter and blue is darker, also inside the source
    blur: float = 0.0  # radius of a blur of the whole result, also inside the source
    plain: bool = False  # surrounds images with one colour, which costs almost no time
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
    """The switches with these JSON values. Raises ValueError, which names an unknown or ill-typed one."""
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
