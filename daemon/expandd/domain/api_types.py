"""What the API can say, as values: notifications, history, account."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum


class Announcement(Enum):
    """What a notification is about."""

    RESULT = "expand_generate"
    ERROR = "error"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notification. `image_id`, `task_id` and `link` are empty where the API left them out.

    `at` is when the API says it was made, by its own clock: seconds since the epoch.
    """

    id: int | None
    kind: Announcement
    image_id: str = ""
    task_id: str = ""
    link: str = ""
    message: str = ""
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What /history says of one image id. `known` is False when the API would not answer for it."""

    known: bool
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """An accepted upload, and the sha256 of the bytes that were really sent."""

    image_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What /me says: credits where they could be read, the server's clock (seconds since the epoch) where it said."""

    credits: Decimal | None
    server_time: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A finished download, whole as far as HTTP can tell."""

    bytes: int
    sha256: str
