"""Describes an error of the configuration: the path of its key, the expected and the found value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic_core import PydanticCustomError

REFUSED = "refused"
"""The type of every error that a check of one value raises; its context has `expected` and `hint`."""

KeyPath = tuple[str | int, ...]
"""The way to a key: ("folders", 0, "settle")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigError:
    """One error that a person must correct.

    `line` is set only where it differs from the line of `path`. Where the value `stands`, further rules still check it.
    """

    path: KeyPath
    expected: str
    found: str
    hint: str = ""
    line: int | None = None
    stands: bool = False


def refused(expected: str, hint: str = "") -> PydanticCustomError:
    """The error for a value that does not match the sentence fragment `expected`."""
    return PydanticCustomError(REFUSED, "{expected}", {"expected": expected, "hint": hint})


def dotted(path: KeyPath) -> str:
    """`folders.0.settle`; the empty path is the file itself."""
    return ".".join(str(part) for part in path) or "the file"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest of `known`, or an empty text."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


def listed(words: Iterable[str], conjunction: str = "and") -> str:
    """`a, b and c`."""
    *head, last = words
    return f"{', '.join(head)} {conjunction} {last}" if head else last
