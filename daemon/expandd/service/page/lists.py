"""Lists of all results and of all errors, page by page, and those of them that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.service.page.job_view import ImageView, JobView, Names, failed_view, image_view

LISTED = 24
"""Jobs on one page."""
LONGEST = 200
"""Characters of a name that is looked for."""
FURTHEST = 100_000

RESULTS, ERRORS = "results", "errors"
KINDS = {RESULTS: JobState.DONE, ERRORS: JobState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person wants to see: `page` counts from 1."""

    kind: str
    name: str = ""
    page: int = 1

    @classmethod
    def of(cls, kind: str, query: Mapping[str, str]) -> Asked:
        """Of an address; what makes no sense in it is as if it were not there."""
        page = query.get("page", "")
        number = int(page) if page.isascii() and page.isdecimal() and len(page) < len(str(FURTHEST)) else 1
        return cls(kind=kind, name=query.get("name", "").strip()[:LONGEST], page=max(1, number))

    @property
    def skip(self) -> int:
        return (self.page - 1) * LISTED

    def address(self, page: int) -> str:
        asked = {"name": self.name} if self.name else {}
        return f"/{self.kind}?{urlencode(asked | ({'page': str(page)} if page > 1 else {}))}".rstrip("?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Jobs that are over, whether there are more behind them, and which of their originals lie where they were put."""

    jobs: tuple[Job, ...] = ()
    more: bool = False
    there: frozenset[Path] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListView:
    """One page of a list."""

    title: str
    kind: str
    name: str
    page: int
    images: tuple[ImageView, ...]
    failed: tuple[JobView, ...]
    newer: str
    older: str


def list_view(asked: Asked, over: Over, names: Names, now: float) -> ListView:
    images = tuple(image_view(job, now, names) for job in over.jobs if asked.kind == RESULTS)
    failed = tuple(
        failed_view(job, now, names, there=job.resting in over.there) for job in over.jobs if asked.kind == ERRORS
    )
    what = "Results" if asked.kind == RESULTS else "Errors"
    return ListView(
        title=f"{what} called “{printable(asked.name)}”" if asked.name else f"All {what.lower()}",
        kind=asked.kind,
        name=asked.name,
        page=asked.page,
        images=images,
        failed=failed,
        newer=asked.address(asked.page - 1) if asked.page > 1 else "",
        older=asked.address(asked.page + 1) if over.more else "",
    )
