"""The page's routes: the page, its live parts, thumbnails, forms, and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, Router

from expandd import __version__
from expandd.domain.commands import Command, Verb
from expandd.domain.errors import ExpanddError
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.service.observability.logs import Logger
from expandd.service.page.drawings import HEIGHT, WIDTH, days_plot, hours_plot
from expandd.service.page.images import FullSize, Gone, Kind, Thumbnails
from expandd.service.page.job_view import KINDS, Asked, Names, Over, list_view
from expandd.service.page.reader import Past, Records
from expandd.service.page.text import clock, number
from expandd.service.page.view import ALL, folder_key, page_view
from expandd.service.reports.ledger import as_csv, monthly
from expandd.service.reports.overview import Overview

HOME = Path(__file__).parent
PARTS = ("head", "halts", "figures", "results", "held", "hand", "failed", "folders", "money", "plots")
"""The parts of the page that are updated by themselves; each has a template, and an element with that id."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of our own that a browser loads."""

    media_type: str
    body: bytes


class Drawing:
    """Draws the page. `token` stands in each form, `title` is what the page is called."""

    def __init__(self, token: str, title: str = "") -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HOME / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["number"] = number
        self._templates.globals.update(
            token=token, title=title or "expandd", version=__version__, plot_width=WIDTH, plot_height=HEIGHT
        )

    def page(self, overview: Overview, past: Past, budget: int | None, said: str = "") -> str:
        """The whole page; `said` is the verb of the command just given."""
        facts = self._facts(overview, past, budget)
        return self._templates.get_template("page.html").render(facts, parts=PARTS, said=SAID.get(said, ""))

    def parts(self, overview: Overview, past: Past, budget: int | None) -> Mapping[str, str]:
        """Its parts by name."""
        facts = self._facts(overview, past, budget)
        return {name: self._templates.get_template(f"{name}.html").render(facts) for name in PARTS}

    def listed(self, asked: Asked, over: Over, overview: Overview, said: str = "") -> str:
        """A page of all results, or of all errors."""
        view = list_view(asked, over, Names.of(overview.folders), overview.at)
        return self._templates.get_template("list.html").render(view=view, said=SAID.get(said, ""))

    def placeholder(self, sentence: str) -> str:
        """An image (SVG) that says why there is none."""
        words, lines = sentence.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) > 14:  # noqa: PLR2004, characters that fit into its width
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        return self._templates.get_template("placeholder.svg").render(lines=lines)

    def _facts(self, overview: Overview, past: Past, budget: int | None) -> dict[str, object]:
        view = page_view(overview, past.ledger)
        now = overview.at or time.time()
        return {
            "view": view,
            "hours": hours_plot(past.hours, now),
            "days": days_plot(past.ledger, now, paid_today=overview.money.paid_today, budget=budget),
            "budget": budget,
        }


def assets() -> Mapping[str, Asset]:
    """By name, read once."""
    kinds = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
    return {name: Asset(kind, (HOME / "static" / name).read_bytes()) for name, kind in kinds.items()}


MOST_BYTES = 4096
PLACES = frozenset({"halts", "held", "hand", "failed", "folders"})
"""Parts of the page that a form leads back to."""
ABOUT_JOBS = {
    Verb.RETRY: (
        "It is tried again within seconds. A file of the error folder goes back into its inbox and is paid for like "
        "a new one."
    ),
    Verb.CANCEL: "It goes to the error folder, unless it was paid for meanwhile.",
    Verb.PAID: "It goes to the error folder; nothing more is paid for it.",
    Verb.NOT_PAID: "It is expanded as if it were new, and paid for.",
    Verb.DISMISS: "Dismissed: it is shown no more, and its file stays in the error folder.",
}
ABOUT_ALL = {
    Verb.RETRY: (
        "All are tried again within seconds. Files of the error folders go back into their inboxes and are paid for "
        "like new ones. Those that a person cancelled or gave up stay."
    ),
}
ABOUT_FOLDERS = {
    Verb.PAUSE: "Pausing: nothing new is begun. What is paid for is still fetched and delivered.",
    Verb.RESUME: "Resuming: what waits goes on within seconds.",
    Verb.RELEASE: "Released: the files that were held are expanded, and paid for.",
}
SAID = {verb.value: words for verb, words in (ABOUT_JOBS | ABOUT_FOLDERS).items()} | {
    f"{verb.value}-all": words for verb, words in ABOUT_ALL.items()
}
"""The message after a command is written for the daemon."""


class Refused(Exception):
    """A form was refused; the message is a sentence, `code` the HTTP status."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a small form. Raises Refused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused("A form is expected. Nothing was changed.", 415)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Refused("That form is too large. Nothing was changed.", 413)
    try:
        return dict(parse_qsl(body.decode("ascii"), strict_parsing=True, keep_blank_values=True, max_num_fields=8))
    except ValueError as error:
        raise Refused("That form cannot be read. Nothing was changed.") from error


def prove_token(form: Mapping[str, str], token: str) -> None:
    """Raise Refused unless the form is one of this page."""
    if not hmac.compare_digest(form.get("token", "").encode(), token.encode()):
        raise Refused(
            "Nothing was changed: the page was opened before expandd started anew. Load it again, then press again.",
            403,
        )


def command_of(form: Mapping[str, str], folders: Mapping[str, Path], at: float) -> Command:
    """The command that a form asks for; `folders` are those shown, by key. Raises Refused."""
    try:
        verb = Verb(form.get("verb", ""))
    except ValueError as error:
        raise Refused("That is nothing that can be ordered here.") from error
    if verb in ABOUT_JOBS and form.get("job"):
        return Command(verb=verb, at=at, job_id=form["job"])
    if verb in ABOUT_FOLDERS | ABOUT_ALL and form.get("folder") == ALL:
        return Command(verb=verb, at=at)
    if verb in ABOUT_FOLDERS and form.get("folder", "") in folders:
        return Command(verb=verb, at=at, inbox=folders[form["folder"]])
    raise Refused("That folder or job is no longer there, or cannot be ordered about so. Load the page again.", 409)


Draw = Callable[[], Awaitable[Mapping[str, str]]]

MOST = 20
"""Browsers that may be connected at once. Each costs a connection and the changed parts."""
WAIT = 2.0
"""Seconds between two readings while a browser is connected."""
SILENCE = 3.0
"""Seconds after which a sign of life is sent though nothing has changed: both sides notice that the other is gone."""
LATE = 20.0
"""Seconds for which the last reading counts as current: reading a disk that is away takes long."""
RECONNECT = b"retry: 2000\n\n"
BEAT = "beat"
"""The event that is the sign of life; its text is the time of the last reading."""


class Live:
    """Parts of the page by name, drawn by `draw` and sent as server-sent events where they have changed."""

    def __init__(self, draw: Draw, log: Logger) -> None:
        self._draw = draw
        self._log = log
        self._parts: Mapping[str, str] = {}
        self._looked: tuple[float, str] | None = None
        self._looking = 0
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._closed = False

    @property
    def full(self) -> bool:
        return self._looking >= MOST

    async def run(self) -> None:
        """Until cancelled. Costs nothing while no browser is connected."""
        while True:
            await self._wanted.wait()
            await self._refresh()
            await asyncio.sleep(WAIT)

    async def listen(self) -> AsyncGenerator[bytes, None]:
        """What one browser is sent: all parts at first, then those that change, and signs of life between them.

        There are none while nobody can tell how it goes. Ends when the page does.
        """
        self._looking += 1
        self._wanted.set()
        sent: Mapping[str, str] = {}
        try:
            yield RECONNECT
            while not self._closed:
                parts, news = self._parts, self._news
                for name, text in parts.items():
                    if sent.get(name) != text:
                        yield event(name, text)
                sent = parts
                yield self._beat()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE):
                        await news.wait()
        finally:
            self._looking -= 1
            if not self._looking:
                self._wanted.clear()
                self._parts = {}

    def close(self) -> None:
        """End the streams of all browsers."""
        self._closed = True
        self._news.set()

    def _beat(self) -> bytes:
        if self._looked is None or time.monotonic() - self._looked[0] > LATE:
            return b": still here\n\n"
        return event(BEAT, self._looked[1])

    async def _refresh(self) -> None:
        try:
            parts = await self._draw()
        except (ExpanddError, TimeoutError) as error:
            # The page that is loaded next says so too; those that are open keep what they have.
            self._log.warning("page.cannot_tell", why=str(error) or "a folder or disk does not answer")
            return
        except Exception as error:  # noqa: BLE001, the next look may go well
            self._log.error("page.bug_found", exc_info=error)
            return
        now = time.time()
        self._looked = time.monotonic(), clock(now, now)
        if parts != self._parts:
            self._parts = parts
            news, self._news = self._news, asyncio.Event()
            news.set()


def event(name: str, text: str) -> bytes:
    """One server-sent event; each line of the text is a line of data."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {name}\n{lines}\n".encode()


Metrics = Callable[[], tuple[bytes, str]]
"""The metrics as text, and its media type. May block; it is called in a thread."""

UNHELD = {"X-Accel-Buffering": "no"}
"""Asks a web server in front to pass on each event at once."""

_JOB_ID = re.compile(r"[0-9a-z-]{1,64}")


class Site:
    """The application. What fails in an answer is the guard's to catch."""

    def __init__(
        self,
        records: Records,
        thumbnails: Thumbnails,
        files: FullSize,
        log: Logger,
        *,
        title: str = "",
        metrics: Metrics | None = None,
    ) -> None:
        self._records = records
        self._thumbnails = thumbnails
        self._files = files
        self._log = log
        self._metrics = metrics
        self._token = secrets.token_urlsafe(32)
        self._drawing = Drawing(self._token, title)
        self._assets = assets()
        self.live = Live(self._parts, log)
        # No application class: its own answer to an error would come before the guard's.
        self.app = Router(
            redirect_slashes=False,
            routes=[
                Route("/", self._page),
                Route("/live", self._listen, methods=["GET"]),
                Route("/commands", self._command, methods=["POST"]),
                *(Route(f"/{kind}", partial(self._list, kind)) for kind in KINDS),
                Route("/ledger.csv", self._ledger),
                Route("/jobs/{job}/{kind}.webp", self._thumbnail),
                Route("/jobs/{job}/{kind}", self._file),
                Route("/static/{name}", self._asset),
                *([Route("/metrics", self._tell_metrics)] if metrics else []),
            ],
        )

    async def _page(self, request: Request) -> Response:
        records = self._records
        said = request.query_params.get("said", "")
        return HTMLResponse(
            self._drawing.page(await records.overview(), await records.past(), await records.budget(), said)
        )

    async def _parts(self) -> dict[str, str]:
        records = self._records
        return dict(self._drawing.parts(await records.overview(), await records.past(), await records.budget()))

    async def _listen(self, _: Request) -> Response:
        if self.live.full:
            return PlainTextResponse("Too many look at once. Load the page again later.\n", 503)
        return StreamingResponse(self.live.listen(), media_type="text/event-stream", headers=UNHELD)

    async def _command(self, request: Request) -> Response:
        """Write a command. A form is redirected to its part of the page; the page's script gets plain text."""
        try:
            form = await form_of(request)
            command = await self._ordered(form)
        except Refused as error:
            return PlainTextResponse(f"{error}\n", error.code)
        every = command.verb in ABOUT_ALL and not command.job_id
        said = f"{command.verb.value}-all" if every else command.verb.value
        if request.headers.get("accept") == "text/plain":
            return PlainTextResponse(f"{SAID[said]}\n")
        back, at = form.get("back", ""), form.get("at", "")
        place = f"#{at}" if at in PLACES else ""
        return RedirectResponse(f"/{back if back in KINDS else ''}?said={said}{place}", 303)

    async def _ordered(self, form: Mapping[str, str]) -> Command:
        prove_token(form, self._token)
        overview = await self._records.overview()
        shown = {folder_key(folder.inbox): folder.inbox for folder in overview.folders}
        command = command_of(form, shown, time.time())
        if command.job_id and await self._records.job(command.job_id) is None:
            raise Refused("That job is no longer known. Load the page again.", 404)
        await self._records.command(command)
        self._log.info("page.ordered", verb=command.verb.value, job=command.job_id, inbox=command.inbox or "")
        return command

    async def _list(self, kind: str, request: Request) -> Response:
        asked = Asked.of(kind, request.query_params)
        over, overview = await self._records.over(asked), await self._records.overview()
        return HTMLResponse(self._drawing.listed(asked, over, overview, request.query_params.get("said", "")))

    async def _ledger(self, _: Request) -> Response:
        overview = await self._records.overview()
        labels = {printable(folder.inbox): folder.label for folder in overview.folders if folder.label}
        rows = [replace(row, inbox=labels.get(row.inbox, row.inbox)) for row in monthly(await self._records.ledger())]
        text = as_csv(rows, overview.money.cost)
        name = {"Content-Disposition": 'attachment; filename="expandd-ledger.csv"'}
        return Response(text, media_type="text/csv", headers=name)

    async def _file(self, request: Request) -> Response:
        """An original or a result as it is; other files than those of jobs have no address."""
        job, kind = await self._asked(request)
        if job is None:
            return PlainTextResponse("There is no such image.\n", 404)
        try:
            return await self._files.answer(job, kind, download="download" in request.query_params)
        except Gone as error:
            return PlainTextResponse(f"{error}\n", 404)

    async def _asked(self, request: Request) -> tuple[Job | None, Kind]:
        """The job and the kind of image that an address names; no job where there is none of that."""
        job_id, kind = request.path_params["job"], request.path_params["kind"]
        kinds = {one.value: one for one in Kind}
        known = _JOB_ID.fullmatch(job_id) and kind in kinds
        return (await self._records.job(job_id) if known else None), kinds.get(kind, Kind.RESULT)

    async def _thumbnail(self, request: Request) -> Response:
        job, kind = await self._asked(request)
        if job is None:
            return PlainTextResponse("There is no such image.\n", 404)
        try:
            return Response(await self._thumbnails.thumbnail(job, kind), media_type="image/webp")
        except Gone as error:
            return Response(self._drawing.placeholder(str(error)), media_type="image/svg+xml")

    async def _asset(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return PlainTextResponse("There is no such file.\n", 404)
        return Response(asset.body, media_type=asset.media_type)

    def _tell_metrics(self, _: Request) -> Response:
        assert self._metrics is not None, "there is no such address without them"
        text, media_type = self._metrics()
        return Response(text, media_type=media_type)
