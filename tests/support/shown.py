"""A page for tests: the real server, guard and image readers, on records that a test writes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from expandd.adapters.config.addresses import Address
from expandd.adapters.store.sql.queries import LedgerLine
from expandd.domain.commands import Command
from expandd.domain.job import Job, JobState
from expandd.domain.settings import PageSettings
from expandd.service.observability.logs import set_up
from expandd.service.page.job_view import KINDS, Asked, Over
from expandd.service.page.page import opened
from expandd.service.page.reader import Past
from expandd.service.page.server import Limits
from expandd.service.page.site import Metrics
from expandd.service.reports.facts import Pace
from expandd.service.reports.overview import FolderOverview, Money, Overview
from tests.support.images import an_image
from tests.support.jobs import EXPECTED, OFFSETS, SIZE, a_job_in, a_result, a_snapshot
from tests.support.manual_clock import START

LOOPBACK = PageSettings(listen="127.0.0.1:0")


def a_folder(inbox: Path, **changes: Any) -> FolderOverview:
    facts: dict[str, Any] = {
        "inbox": inbox,
        "outbox": inbox.with_name("outbox"),
        "preset_name": "wide",
        "waiting": 0,
        "oldest": None,
        "in_progress": 0,
        "done": 0,
        "failed": 0,
        "in_error": 0,
        "paid_today": 0,
        "day_left": None,
        "month_left": None,
    }
    return FolderOverview(**{**facts, **changes})


def an_overview(**changes: Any) -> Overview:
    money = Money(paid_today=3, paid_this_month=40, day_left=7, month_left=None, credits=None, credits_at=None)
    facts: dict[str, Any] = {
        "at": START + 60,
        "running": "process 7",
        "folders": (a_folder(Path("/srv/hot/inbox")),),
        "pauses": (),
        "money": money,
        "pace": Pace(per_hour=0.0, seconds_left=None),
        "in_progress": (),
        "done": (),
        "failed": (),
        "differing": (),
    }
    return Overview(**{**facts, **changes})


@dataclass(slots=True)
class FakeRecords:
    """What a test lets the page know, and what was ordered on it."""

    now: Overview = field(default_factory=an_overview)
    jobs: dict[str, Job] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    failing: Exception | None = None
    lines: tuple[LedgerLine, ...] = ()

    async def overview(self) -> Overview:
        if self.failing is not None:
            raise self.failing
        return self.now

    async def past(self) -> Past:
        return Past(ledger=self.lines)

    async def ledger(self) -> Sequence[LedgerLine]:
        return self.lines

    async def over(self, asked: Asked) -> Over:
        found = [job for job in self.jobs.values() if job.state is KINDS[asked.kind]]
        return Over(jobs=tuple(found), there=frozenset(job.archived_to for job in found if job.archived_to))

    async def job(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    async def command(self, command: Command) -> None:
        self.commands.append(command)

    async def budget(self) -> int | None:
        return None

    def know(self, *jobs: Job) -> None:
        """Let the page show these, by their state."""
        self.jobs |= {job.id: job for job in jobs}
        kinds = {JobState.DONE: "done", JobState.FAILED: "failed"}
        listed: dict[str, Any] = {}
        for job in self.jobs.values():
            kind = kinds.get(job.state, "held" if job.held else "in_progress")
            listed[kind] = (*listed.get(kind, ()), job)
        self.now = replace(self.now, **listed)


@dataclass(slots=True)
class Shown:
    """A page that answers: where, to whom, and what it logs."""

    url: str
    records: FakeRecords
    http: httpx.AsyncClient
    log: io.StringIO

    async def token(self) -> str:
        return (await self.http.get("/")).text.partition('name="token" value="')[2].partition('"')[0]

    async def press(self, verb: str, headers: Mapping[str, str] | None = None, **form: str) -> httpx.Response:
        """Press a button as the page's own form does."""
        return await self.http.post(
            "/commands", data={"token": await self.token(), "verb": verb, **form}, headers=headers
        )


@asynccontextmanager
async def shown(
    page: PageSettings = LOOPBACK,
    records: FakeRecords | None = None,
    metrics: Metrics | None = None,
    limits: Limits | None = None,
    alive: Callable[[], bool] = lambda: True,
) -> AsyncIterator[Shown]:
    records, log = records or FakeRecords(), io.StringIO()
    with opened(page, Path("config.yaml"), set_up(log, pretty=False), limits) as opening:
        opening.alive = alive
        address = opening.place[0] if opening.place else Address()
        showing = asyncio.create_task(opening.show(records, metrics))
        path = address.path
        url = "http://localhost/" if path else f"http://127.0.0.1:{address.port}/"
        transport = httpx.AsyncHTTPTransport(uds=str(path) if path else None)
        async with httpx.AsyncClient(base_url=url, transport=transport) as http:
            yield Shown(url, records, http, log)
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


def done_job(base: Path, job_id: str = "job-1", name: str = "image.png") -> Job:
    """A job whose original and result lie on the disk below `base`."""
    folder = a_snapshot(base)
    for directory in (folder.inbox, folder.outbox, folder.done, folder.error):
        directory.mkdir(parents=True, exist_ok=True)
    archived_to, target = folder.done / name, folder.outbox / name
    archived_to.write_bytes(an_image("png", SIZE.width, SIZE.height))
    target.write_bytes(an_image("png", EXPECTED.width, EXPECTED.height))
    job = a_job_in(JobState.DONE, job_id, folder=folder, relative=Path(name), archived_to=archived_to, target=target)
    return job.with_(closed=True, result=a_result(), offsets=OFFSETS)


def failed_job(job_id: str = "job-2", **changes: Any) -> Job:
    return a_job_in(JobState.FAILED, job_id, closed=True, **changes)
