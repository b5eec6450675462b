"""Reads answers of the API: turns any bytes into values of the domain. Never raises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any

from expandd.domain.api_types import Announcement, History, Notification
from expandd.domain.bounds import amount, moment, whole_number

HTTP_OK = 200
HTTP_REDIRECTS = 300
NO_CONTENT = (204, 205)
TEXT_LIMIT = 300
NAME_LIMIT = 200
TOKEN_LIMIT = 16 << 10
"""Characters of a token; those of the API have some hundreds."""

LINK_LIMIT = 8192
DIGITS_LIMIT = 18
MOST_ID = 10**DIGITS_LIMIT - 1
DEPTH_LIMIT = 6
MOST_WORDS = 50
"""The most texts that are read from one validation report."""


class Shape(Enum):
    """The kind of a body, by its content: content types lie, and Flask calls plain text `text/html`."""

    EMPTY = "empty"
    JSON = "json"
    PAGE = "page"
    TEXT = "text"
    PACKED = "packed"
    """Compressed, although that was not requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer after reading. `status` is what the API means: a `code` inside a 200 counts as the status.

    `texts` has the API's own texts, description before message, cleaned for a log line.
    """

    status: int
    shape: Shape
    value: Any = None
    texts: tuple[str, ...] = ()
    leads_to: str = ""
    """The target of a redirect, without parts that could be secret; "" when it is none."""

    @property
    def text(self) -> str:
        """The API's own texts in one line; "" when there are none."""
        return " ".join(self.texts)[:TEXT_LIMIT]

    @property
    def succeeded(self) -> bool:
        return is_success(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A pair from the API. `access_expiration` in seconds since the epoch, None where it cannot be read."""

    access_token: str
    refresh_token: str
    access_expiration: float | None


def is_success(status: int) -> bool:
    return HTTP_OK <= status < HTTP_OK + 100


def read(status: int, body: bytes, *, packed: bool = False, location: str = "") -> Answer:
    """Judge a body by its content and extract the API's texts. A compressed (`packed`) one has none."""
    if location and HTTP_REDIRECTS <= status < HTTP_REDIRECTS + 100:
        return Answer(status=status, shape=Shape.EMPTY, leads_to=_place(location))
    if packed:
        return Answer(status=status, shape=Shape.PACKED)
    stripped = body.strip()
    if not stripped or status in NO_CONTENT:
        return Answer(status=status, shape=Shape.EMPTY)
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return _not_json(status, stripped)
    meant = _code(value) if status == HTTP_OK else None
    return Answer(status=meant or status, shape=Shape.JSON, value=value, texts=_words(value))


def _place(location: str) -> str:
    """The address of a redirect without its query, which may be signed, and without a user's name."""
    scheme, separator, rest = location.partition("?")[0].partition("#")[0].rpartition("://")
    # Each part is cleaned separately: together they would look like a token.
    parts = "/".join(clean(part) for part in rest.rpartition("@")[2].split("/"))
    return f"{clean(scheme)}{separator}{parts}"[:NAME_LIMIT]


def _not_json(status: int, body: bytes) -> Answer:
    text = body[: 4 * TEXT_LIMIT].decode("utf-8", "replace")
    if text.lstrip("\ufeff").startswith("<"):
        return Answer(status=status, shape=Shape.PAGE)
    words = clean(text)
    return Answer(status=status, shape=Shape.TEXT, texts=(words,) if words else ())


def _code(value: Any) -> int | None:
    code = value.get("code") if isinstance(value, dict) else None
    return code if type(code) is int and 400 <= code < 600 else None  # noqa: PLR2004 - HTTP's own range of errors


def clean(text: str) -> str:
    """One printable line, without anything that could be a token or a signed link."""
    # Text beyond the length of a line is not read: an answer may have megabytes.
    line = "".join(char if char.isprintable() else " " for char in text[: 4 * TEXT_LIMIT])
    return " ".join(_SECRET_LIKE.sub("…", line).split())[:TEXT_LIMIT]


_SECRET_LIKE = re.compile(r"(?<=://)\S+|[\w.+/=~-]{40,}")


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, dict):
        return ()
    parts = [value.get(key) for key in ("description", "message", "msg", "error", "detail")]
    texts = [clean(part) for part in parts if isinstance(part, str)]
    # Frameworks use any of these names for their validation report.
    reports = [*(part for part in parts if not isinstance(part, str)), value.get("errors")]
    leaves = islice(_leaves(reports), MOST_WORDS)
    return tuple(dict.fromkeys(word for word in (*texts, *leaves) if word))


def _leaves(value: Any, depth: int = 0, name: str = "") -> Iterator[str]:
    """The texts of a validation report, each with the name of its field."""
    if depth > DEPTH_LIMIT:
        return
    if isinstance(value, str):
        yield clean(f"{name}: {value}" if name else value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, depth + 1, key[:NAME_LIMIT])
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, depth + 1, name)


def upload_id(answer: Answer) -> str:
    """The id of an uploaded image, from either of its two fields; "" when there is none."""
    value = answer.value
    return _first_name(value, "id_image", "image_id") if isinstance(value, dict) else ""


def task_id(answer: Answer) -> str:
    value = answer.value
    return _first_name(value, "id_task", "task_id") if isinstance(value, dict) else ""


def _first_name(value: dict[str, Any], *keys: str) -> str:
    return next((name for name in (_name(value.get(key)) for key in keys) if name), "")


def _name(value: Any) -> str:
    """An id, which the API sends as a string or an integer; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value).strip() if isinstance(value, str) or abs(value) <= MOST_ID else ""
    return text if len(text) <= NAME_LIMIT and text.isprintable() else ""


def notifications(answer: Answer) -> tuple[Notification, ...] | None:
    """Every readable notification once; None when the answer is no list of notifications."""
    value = answer.value
    items = value.get("notifications_list") if isinstance(value, dict) else value
    if answer.shape is not Shape.JSON or not isinstance(items, list | None):
        return None
    read_ = (_notification(item) for item in items or () if isinstance(item, dict))
    return tuple(dict.fromkeys(read_))


def _notification(item: dict[str, Any]) -> Notification:
    data = item.get("data")
    data = data if isinstance(data, dict) else {}
    found = links(data.get("links")) or links(data.get("link"))
    message = next((data[key] for key in ("msg", "message") if isinstance(data.get(key), str)), "")
    return Notification(
        id=_number(item.get("id")),
        kind=_kind(item.get("name")),
        image_id=_first_name(data, "id_image", "address", "image_id"),
        task_id=_first_name(data, "id_task", "task_id"),
        link=found[0] if found else "",
        message=clean(message),
        at=_seconds(item.get("timestamp")),
    )


def _kind(value: Any) -> Announcement:
    if not isinstance(value, str):
        # For a deeply nested value, the error message of the enum itself would fail.
        return Announcement.OTHER
    try:
        return Announcement(value)
    except ValueError:
        return Announcement.OTHER


def _seconds(value: Any) -> float | None:
    return moment(value)


def _number(value: Any) -> int | None:
    if type(value) is int:
        return whole_number(value, -MOST_ID, MOST_ID)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= DIGITS_LIMIT:
        return int(value)
    return None


def links(value: Any, depth: int = 0) -> tuple[str, ...]:
    """The http(s) links in a list, an object `{l: …}`, a string, or a JSON string of those; each once, in order."""
    if depth > DEPTH_LIMIT:
        return ()
    if isinstance(value, str):
        return _links_of_text(value.strip(), depth)
    if isinstance(value, dict):
        return links(value.get("l") or value.get("link") or value.get("url"), depth + 1)
    if isinstance(value, list):
        return tuple(dict.fromkeys(link for item in value for link in links(item, depth + 1)))
    return ()


def _links_of_text(text: str, depth: int) -> tuple[str, ...]:
    if text[:1] in ("{", "[", '"'):
        try:
            return links(json.loads(text), depth + 1)
        except (ValueError, RecursionError):
            return ()
    usable = len(text) <= LINK_LIMIT and text.isprintable() and " " not in text
    return (text,) if usable and text.lower().startswith(("http://", "https://")) else ()


def history(answer: Answer) -> History:
    """The answer of /history. It is `known` only where it is unambiguous.

    "Known, and no link" lets a job be paid again. So only an empty list counts as that: not a missing list, not entries
    without a readable link, not an `info_list` with entries.
    """
    value = answer.value
    entries = value.get("history") if isinstance(value, dict) else value
    found = links(entries)
    infos = value.get("info_list") if isinstance(value, dict) else None
    return History(known=bool(found) or (entries == [] and not infos), links=found)


def credits_of(answer: Answer) -> Decimal | None:
    """The credits of a profile, None where they cannot be read."""
    value = answer.value.get("credits") if isinstance(answer.value, dict) else None
    return amount(value)


def token_pair(answer: Answer) -> TokenAnswer | None:
    """A token pair, None when the answer has none. A missing refresh token is ""."""
    value = answer.value
    if not isinstance(value, dict) or not sendable(value.get("access_token")):
        return None
    refresh: Any = value.get("refresh_token")
    return TokenAnswer(
        access_token=value["access_token"],
        refresh_token=refresh if sendable(refresh) else "",
        access_expiration=_instant(value.get("access_expiration")),
    )


def sendable(token: Any) -> bool:
    """Whether this is a valid value of an HTTP header, and not longer than web servers accept."""
    return (
        isinstance(token, str)
        and len(token) <= TOKEN_LIMIT
        and token.isascii()
        and token.isprintable()
        and token.strip() == token != ""
    )


def _instant(value: Any) -> float | None:
    try:
        instant = datetime.fromisoformat(value)
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
