"""Translates each unsuccessful answer of an endpoint to one error of the domain.

Each status proves something about a generate:

    2xx                          accepted, with any body: this module never sees a success
    400 413 415 422              the request was read and refused: nothing was made, this file is at fault; or, where
                                 a field that we added is named, our request is
    401 402 403 404 405 410 429  refused before any work: nothing was made
    425                          by its definition (RFC 8470) not processed: nothing was made
    406 407 411 414 417 421 426 428 431 451
                                 refused for its form or its way: nothing was made
    408                          an origin says it for a request that came too slowly, but balancers say it for an
                                 upstream that answered too slowly: it proves nothing
    409 423                      something stands in the way, perhaps this very image being made: it proves nothing
    any other 4xx, 3xx, 5xx, a page, a body of no sense
                                 it proves nothing
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING

from expandd.adapters.api.replies import Shape
from expandd.domain.errors import (
    AccountAway,
    ExpanddError,
    Fault,
    FaultCode,
    FileFault,
    ImageIdRefused,
    Later,
    OutcomeUnknown,
)
from expandd.domain.pauses import PauseReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from expandd.adapters.api.replies import Answer

LONGEST_RETRY_AFTER = 3600.0
FILE_AT_FAULT = frozenset({400, 413, 415, 422})
MOVED = frozenset({301, 308})
PATH_OR_IMAGE = frozenset({404, 405, 410})
PROVES_NOTHING_WAS_MADE = (
    FILE_AT_FAULT | PATH_OR_IMAGE | {401, 402, 403, 406, 407, 411, 414, 417, 421, 425, 426, 428, 429, 431, 451}
)
_REQUEST_AT_FAULT = frozenset({400, 422})
BLAME_THE_FILE = "Read what the API says, correct or replace the image, and move it back into the inbox."


class Endpoint(Enum):
    """The endpoints of the API; the value is the name that people read."""

    UPLOAD = "upload"
    GENERATE = "generate"
    NOTIFICATIONS = "notifications"
    DELETE = "delete"
    HISTORY = "history"
    ACCOUNT = "account"
    TOKENS = "login"

    @property
    def setting(self) -> str:
        """The configuration key that sets the address of this call."""
        return "api.generate_path" if self is Endpoint.GENERATE else "api.base_url"


class Complaint(Enum):
    """The subject of a 404, 405 or 410: this API also answers 405 for "this image id is bad or expired"."""

    PATH = "path"
    IMAGE = "image"
    OTHER = "other"


# Frameworks fill `message` with the name of the status ("Method Not Allowed") even when `description` is about the
# image, so each text is judged separately and stock texts do not count.
_STOCK = re.compile(
    r"requested url|cannot (get|post|put|delete) /|no (such )?(route|endpoint|path)|"
    r"^\W*(the )?(method )?(is )?not (allowed|found)\W*$|^\W*gone\W*$",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"image|image|\bids?\b|\bid_|expired|valid", re.IGNORECASE)


def complaint(answer: Answer) -> Complaint:
    """Classify a 404, 405 or 410: a wrong verb or path, an image that the API does not know, or something else."""
    if answer.shape in (Shape.PAGE, Shape.EMPTY):
        return Complaint.PATH
    own = [text for text in answer.texts if not _STOCK.search(text)]
    if not own:
        return Complaint.PATH
    return Complaint.IMAGE if any(_IMAGE.search(text) for text in own) else Complaint.OTHER


def fault(endpoint: Endpoint, answer: Answer, retry_after: float | None = None) -> ExpanddError:
    """The error for an unsuccessful answer. `retry_after` is the server's, in seconds."""
    status = answer.status
    if status == 413 and endpoint in (Endpoint.UPLOAD, Endpoint.GENERATE):  # noqa: PLR2004 - a status is its own name
        return too_large(answer)
    if status in (401, 402, 403, 429):
        return _about_the_account(endpoint, answer, retry_after)
    if status in PATH_OR_IMAGE:
        return _about_path_or_image(endpoint, answer)
    if status in FILE_AT_FAULT and answer.shape is not Shape.PAGE:
        return _about_the_request(endpoint, answer)
    if endpoint is Endpoint.GENERATE and status not in PROVES_NOTHING_WAS_MADE:
        return lost(f"the API answered {heard(answer)}")
    remedy = f" If it has moved there, correct `{endpoint.setting}`." if answer.leads_to and status in MOVED else ""
    return unreachable(endpoint, f"answered {heard(answer)}", retry_after, remedy)


def _about_the_account(endpoint: Endpoint, answer: Answer, retry_after: float | None) -> AccountAway:
    if answer.status == 401:  # noqa: PLR2004 - HTTP's own number
        return rejected(heard(answer))
    if answer.status == 429:  # noqa: PLR2004 - a status is its own name
        return AccountAway(PauseReason.RATE_LIMITED, f"The API asks to go slower ({heard(answer)}).", retry_after)
    if answer.shape is Shape.PAGE:
        return unreachable(endpoint, f"answered {heard(answer)}", retry_after)
    return AccountAway(
        PauseReason.NO_CREDITS,
        f"The account may not do this now: the API answered {heard(answer)}. Look at its credits and its plan; "
        "everything that waits goes on by itself afterwards.",
        retry_after,
    )


def _about_path_or_image(endpoint: Endpoint, answer: Answer) -> ExpanddError:
    about = complaint(answer)
    is_405 = answer.status == 405  # noqa: PLR2004 - a status is its own name
    if endpoint is Endpoint.GENERATE and about is Complaint.IMAGE:
        return ImageIdRefused(f"The API does not take this image id any more: {heard(answer)}.")
    if endpoint in (Endpoint.UPLOAD, Endpoint.GENERATE) and is_405 and about is not Complaint.PATH:
        return refused(answer)
    return wrong_path(endpoint, answer)


def _about_the_request(endpoint: Endpoint, answer: Answer) -> ExpanddError:
    if endpoint in (Endpoint.UPLOAD, Endpoint.GENERATE):
        return refused(answer)
    if endpoint is Endpoint.DELETE:
        return Later(f"The API would not delete the notification: {heard(answer)}. It expires by itself.")
    return unreachable(endpoint, f"refused the request: {heard(answer)}")


def refused(answer: Answer) -> FileFault:
    """The fault for a file that the API refuses, with the API's message."""
    return FileFault(Fault(FaultCode.REFUSED_BY_API, f"The API refused this image: {heard(answer)}.", BLAME_THE_FILE))


def too_large(answer: Answer) -> FileFault:
    """The fault for a file that is too large for the API, or for a proxy before it, which answers with its own page."""
    return FileFault(
        Fault(
            FaultCode.REFUSED_BY_API,
            f"The file is too large for the API: it answered {heard(answer)}.",
            "Save the image smaller, such as a JPEG instead of a PNG, and drop that. Nothing was paid.",
        )
    )


_ABOUT_A_FIELD = re.compile(
    r"field|param|propert|argument|attribute|\bkey\b|unexpected|permitted|additional", re.IGNORECASE
)


def refused_field(answer: Answer, extra: Iterable[str], *, taken: bool = False) -> str:
    """The added field that a refusal names; "" where it names none, and so is about the image.

    Where the API has accepted these fields before (`taken`), a word that equals a field's name is not enough ("the size
    is wrong").
    """
    if answer.status not in _REQUEST_AT_FAULT:
        return ""
    return next((name for name in extra if any(_names(text, name, plainly=taken) for text in answer.texts)), "")


def _names(text: str, field: str, *, plainly: bool) -> bool:
    """Whether a text names a field; `plainly`: an everyday word counts only where it is marked as a field's name."""
    if not re.search(rf"(?<!\w){re.escape(field)}(?!\w)", text, re.IGNORECASE):
        return False
    everyday = plainly and field.isalpha()
    return not everyday or text.lower().startswith(f"{field.lower()}:") or bool(_ABOUT_A_FIELD.search(text))


def request_refused(answer: Answer, field: str) -> AccountAway:
    """The pause for a refused field of ours: no image is at fault, and the next one would be refused too."""
    return AccountAway(
        PauseReason.REQUEST_REFUSED,
        f"The API refuses the field “{field}” ({heard(answer)}). Correct `api.generate_extra` in the configuration "
        "and restart expandd; no image is at fault.",
    )


def wrong_path(endpoint: Endpoint, answer: Answer) -> AccountAway:
    return AccountAway(
        PauseReason.ENDPOINT_NOT_FOUND,
        f"The API knows no “{endpoint.value}” at this address ({heard(answer)}). Correct `{endpoint.setting}` in "
        "the configuration and restart expandd.",
    )


def unreachable(endpoint: Endpoint, what: str, retry_after: float | None = None, remedy: str = "") -> AccountAway:
    """The pause for an API that cannot be used now; `what` continues "The API"."""
    return AccountAway(
        PauseReason.API_UNREACHABLE,
        f"The API {what} (“{endpoint.value}”).{remedy}",
        retry_after,
    )


def unreached(endpoint: Endpoint, error: ExpanddError) -> AccountAway:
    """The pause for a failed connection; the message of `error` begins with the host."""
    return AccountAway(PauseReason.API_UNREACHABLE, f"The API's host {error} (“{endpoint.value}”).")


def nonsense(endpoint: Endpoint, answer: Answer) -> AccountAway:
    """The pause for a success with a meaningless body."""
    return unreachable(endpoint, f"answered with something that is not its own: {heard(answer)}")


def rejected(why: str, correct: str = "Correct them where they are read from.") -> AccountAway:
    """The pause for refused credentials; `correct` is a sentence that says where to correct them."""
    return AccountAway(PauseReason.LOGIN_REFUSED, f"The API does not accept the login ({why}). {correct}")


def lost(why: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"The paid call was sent, but {why}. It may have been paid for; the API will be asked.")


def heard(answer: Answer) -> str:
    """The status and the API's text, as part of a sentence."""
    if answer.leads_to:
        return f"{answer.status}, which leads to {answer.leads_to}"
    bare = {Shape.PAGE: "a web page", Shape.PACKED: "a packed answer"}.get(answer.shape, "")
    text = (answer.text or bare).rstrip(". ")
    return f"{answer.status}, {text}" if text else str(answer.status)


def retry_after(header: str, now: float) -> float | None:
    """Seconds to wait, from delta-seconds or an HTTP date against `now`; at most an hour, None for garbage."""
    text = header.strip()
    try:
        seconds = float(text) if text[:1].isdigit() else _date(text) - now
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def http_date(header: str) -> float | None:
    """Seconds since the epoch of an HTTP date, None when it is none."""
    try:
        return _date(header)
    except (TypeError, ValueError, OverflowError):
        return None


def _date(text: str) -> float:
    moment = parsedate_to_datetime(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
