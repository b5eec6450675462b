"""Owns what hot folders are called in tables and metrics: short, the same from start to start, and few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from expandd.domain.naming import printable

OTHER = "other"
"""Folders that are no longer configured but have images in hand."""

ALL = "all"


def labels_of(inboxes: Sequence[Path]) -> Mapping[Path, str]:
    """The label of each inbox: the name of the folder that people know. Where two have one name, their whole paths."""
    short = {inbox: _short(inbox) for inbox in inboxes}
    often = Counter(short.values())
    return {inbox: name if often[name] == 1 else printable(inbox) for inbox, name in short.items()}


def _short(inbox: Path) -> str:
    """`stories` for /srv/expand/stories/inbox, `in` for /srv/print/in."""
    known = inbox.parent if inbox.name == "inbox" else inbox
    return printable(known.name or inbox)
