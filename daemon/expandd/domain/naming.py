"""Names of the files that expandd writes: templates, numbers for taken names, the longest that is legal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePath
from string import Formatter

from expandd.domain.image import Size

NAME_BYTES = 255
"""The longest file name of the usual Linux file systems, in bytes."""

MOST_SUFFIX = 100
"""Bytes after the last dot of a name from which on they are no ending: the name could not be numbered otherwise."""

ENDINGS = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
        ".avif",
        ".gif",
        ".bmp",
        ".jxl",
    }
)
"""What files are taken for by their names; which of them is true of a result, only the result knows."""

_LONE = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")

FIELDS = ("stem", "ext", "width", "height", "preset")


def template_config_error(template: str) -> str | None:
    """The error in a name template, or None."""
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template)]
    except ValueError as error:
        return f"it does not parse: {error}"
    names = [name for name, _, _ in fields if name is not None]
    unknown = [name for name in names if name not in FIELDS]
    if unknown:
        return f"unknown field {{{unknown[0]}}}; known are {', '.join('{' + name + '}' for name in FIELDS)}"
    if any(spec or conversion for _, spec, conversion in fields):
        return "format codes are not supported"
    if "stem" not in names:
        return "it lacks {stem}: all results would have one name"
    if "/" in template or "\0" in template:
        return "a name cannot contain '/'"
    if template.startswith((".", "{ext}")):
        return "a name that begins with a dot is hidden"
    ending = PurePath(f"x{template}").suffix
    if ending.lower() in ENDINGS:
        return f"every result would be called {ending}, whatever it is: write {{ext}} in its place"
    return None


def result_name(template: str, source_name: str, *, extension: str, size: Size, preset: str) -> str:
    """The result's file name by `template`; `extension` is by content and has its dot."""
    return template.format(
        stem=PurePath(source_name).stem,
        ext=extension,
        width=size.width,
        height=size.height,
        preset=preset,
    )


def numbered(name: str) -> Iterator[str]:
    """`pic.png`, `pic-2.png`, `pic-3.png`, …, each cut to what a file system allows."""
    stem, suffix = _parts(name)
    yield fitting(stem, suffix)
    number = 2
    while True:
        yield fitting(stem, f"-{number}{suffix}")
        number += 1


def is_numbered(found: str, name: str) -> bool:
    """Whether `found` is one of the names that `numbered` makes of `name`."""
    stem, suffix = _parts(name)
    number = re.search(rf"-([2-9]|[1-9][0-9]+){re.escape(suffix)}\Z", found)
    return found == fitting(stem, suffix) or (number is not None and found == fitting(stem, number[0]))


def _parts(name: str) -> tuple[str, str]:
    pure = PurePath(name)
    return (name, "") if len(os.fsencode(pure.suffix)) > MOST_SUFFIX else (pure.stem, pure.suffix)


def fitting(stem: str, ending: str) -> str:
    """`stem` + `ending`, the stem cut to whole characters so that the name has at most 255 bytes."""
    room = NAME_BYTES - len(os.fsencode(ending))
    raw = os.fsencode(stem)
    if len(raw) > room:
        stem = _whole_characters(raw[:room])
    return stem + ending


def _whole_characters(raw: bytes) -> str:
    while raw and (raw[-1] & 0xC0) == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
        raw = raw[:-1]
    if raw and raw[-1] >= 0xC0:  # noqa: PLR2004 - the first byte of a character that was cut
        raw = raw[:-1]
    return os.fsdecode(raw)


def printable(name: object) -> str:
    """A file name or path for people and JSON: bytes that are no UTF-8 and control characters are escaped."""
    # A surrogate stands for a byte of a file name; any other one, as JSON can bring it, is no character at all.
    text = _LONE.sub(lambda found: _escaped(found[0]), str(name))
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
