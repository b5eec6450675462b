"""Names that are never picked up: of hidden and system files, of what others still write, and what `ignore` names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from expandd.domain.naming import printable

REPORT = ".error.json"
"""How the name of a sidecar ends. People move it back into the inbox together with its file."""

_HIDDEN = re.compile(r"\.")

_SYSTEM = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "#recycle",
        "@recycle",
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "network trash folder",
        "temporary items",
        "icon\r",
    },
)

LEFTOVERS = frozenset({".ds_store", "thumbs.db"})
"""What file managers leave in each folder that they show, in small letters: with nothing else in it, it is empty."""

# A name may hold a line break.
_FLAGS = re.IGNORECASE | re.DOTALL

_TEMPORARY = (
    (
        re.compile(r".*\.(crdownload|crswap|download|part|partial|opdownload|!ut|aria2|fdmdownload)$", _FLAGS),
        "a browser's download",
    ),
    (re.compile(r".*\.(filepart|duckpart|tacitpart|megatmp)$", _FLAGS), "a transfer that is not over"),
    (re.compile(r".*\.(tmp|temp|writing|uploading|upload|lock|lck|idlk|swp|swx|bak~)$", _FLAGS), "a temporary file"),
    (re.compile(r"~\$.*|.*~$", _FLAGS), "an editor's temporary file"),
    (re.compile(r".*\.sb-[0-9a-z]+(-[0-9a-z]+)?$|.*_exiftool_tmp$|4913", _FLAGS), "an editor's temporary file"),
    (re.compile(r"picasa\.ini", _FLAGS), "an image viewer's notes"),
    (re.compile(r".*\.(bak|orig)$|.*_original$", _FLAGS), "a copy of what a program has changed"),
    (re.compile(r"(unconfirmed \d+|.*\.com\.google\.chrome\..*)", _FLAGS), "a browser's download"),
    (
        re.compile(r".*\.smbdelete.*|.*\.fuse_hidden.*|.*\.nfs[0-9a-f]{8,}$", _FLAGS),
        "a network share's leftover",
    ),
    (
        re.compile(r".*\.(sync-conflict-tmp|!sync|bts|syncthing.*|gdownload|ffs_tmp|ffs_lock)$|sync\.ffs_db", _FLAGS),
        "a sync tool's temporary file",
    ),
    (re.compile(r"(ps|psa|tmp)[0-9a-f]{4,8}\.tmp$", _FLAGS), "an editor's temporary file"),
)


_TEXT = ("", ".txt", ".TXT", ".Txt", ".txt.txt", ".TXT.txt", ".TXT.TXT", ".txt.TXT")
PAUSE_NAMES = tuple(f"{word}{ending}" for word in ("PAUSE", "Pause", "pause") for ending in _TEXT)
"""Anything with one of these names in an inbox pauses its folder: a file manager that hides endings adds one.

These are asked for by name; `is_pause` knows them in any other mixture of letters too.
"""

_PAUSE = re.compile(r"pause(\.txt){0,2}", re.IGNORECASE)


def is_pause(relative: Path | str) -> bool:
    """Whether this path below an inbox pauses its folder while it lies there."""
    return _PAUSE.fullmatch(str(relative)) is not None


def ignored_because(name: str) -> str | None:
    """Why a file or directory of this name is never picked up, or None when it may be."""
    if _HIDDEN.match(name):
        return "its name begins with a dot: hidden and temporary files are left alone"
    if name.lower() in _SYSTEM:
        return "it belongs to the operating system or the file server"
    if name.endswith(REPORT):
        return "it is a report of expandd's own on a file that could not be expanded"
    for pattern, what in _TEMPORARY:
        if pattern.fullmatch(name):
            return f"its name marks {what}: it is picked up once it has its final name"
    return None


@dataclass(frozen=True, slots=True)
class Ignore:
    """A folder's own patterns as they are written, and what finds the one that names a path below the inbox."""

    patterns: tuple[str, ...] = ()
    find: Callable[[str], str | None] = field(default=lambda _path: None, compare=False, repr=False)


NOTHING_MORE = Ignore()


def path_ignored_because(relative: Path, ignore: Ignore = NOTHING_MORE) -> str | None:
    """The same for a path below the inbox: every part must be one that may be picked up, and no pattern may name it."""
    if is_pause(relative):
        return "it pauses this folder while it lies here"
    for part in relative.parts:
        if reason := ignored_because(part):
            return reason
    pattern = ignore.find(str(relative)) if ignore.patterns else None
    return None if pattern is None else f"the pattern {printable(pattern)} of this folder's `ignore` names it"
