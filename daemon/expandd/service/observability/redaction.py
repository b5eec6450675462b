"""Removes what never leaves the program: tokens, passwords, signed links, control characters in names."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from pathlib import PurePath
from typing import Any

from expandd.domain.naming import printable

HIDDEN = "[hidden]"

_SECRET_KEYS = re.compile(r"(token|password|secret|authorization|credential|cookie|link|signature)$", re.IGNORECASE)
_SECRET_WORDS = re.compile(
    r"(?P<name>\b(?:bearer|basic)\s+|(?:token|password|authorization|signature|secret)[\"']?\s*[:=]\s*[\"']?)"
    r"(?P<value>(?!\[hidden\])[^\s\"',;)}]{6,})",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?P<scheme>\b(?:https?|postgres(?:ql)?)://)[^\s/@]+@", re.IGNORECASE)
# Of a link only its host is told: path and query may be all that protects the image.
_LINK = re.compile(r"\b(?P<host>https?://[^\s/?#\"'<>]+)(?P<rest>[/?#][^\s\"'<>)]+)", re.IGNORECASE)


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: every value safe to show, every line one line."""
    for key in list(event):
        event[key] = HIDDEN if _SECRET_KEYS.search(key) and event[key] else safe(event[key])
    return event


def safe(value: Any) -> Any:
    """`value` with secrets taken out and unprintable characters escaped, however deep they sit."""
    if isinstance(value, str | PurePath):
        return safe_text(str(value))
    if isinstance(value, bytes):
        return safe_text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {
            safe_text(str(key)): HIDDEN if _SECRET_KEYS.search(str(key)) else safe(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [safe(inner) for inner in value]
    return value


def safe_text(text: str) -> str:
    text = _LOGIN.sub(lambda match: match["scheme"], text)
    text = _LINK.sub(lambda match: f"{match['host']}/…", text)
    text = _SECRET_WORDS.sub(lambda match: f"{match['name']}{HIDDEN}", text)
    return printable(text)
