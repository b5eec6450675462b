"""Owns the page's addresses: the page, its live parts, its pictures, its orders, and the metrics beside it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from structlog.typing import FilteringBoundLogger

from expandd.service.page.forms import SAID, Refused, form_of, order_of, prove_token
from expandd.service.page.live import Live
from expandd.service.page.reader import Records
from expandd.service.page.render import Drawing, assets
from expandd.service.page.thumbnails import Gone, Kind, Pictures
from expandd.service.page.view import folder_key

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
        pictures: Pictures,
        log: FilteringBoundLogger,
        *,
        metrics: Metrics | None = None,
        live: Callable[..., Live] = Live,
    ) -> None:
        self._records = records
        self._pictures = pictures
        self._log = log
        self._metrics = metrics
        self._token = secrets.token_urlsafe(32)
        self._drawing = Drawing(self._token)
        self._assets = assets()
        self.live = live(self._parts, log)
        # No application class: its own answer to an error would come before the guard's.
        self.app = Router(
            redirect_slashes=False,
            routes=[
                Route("/", self._page),
                Route("/live", self._listen, methods=["GET"]),
                Route("/orders", self._order, methods=["POST"]),
                Route("/jobs/{job}/{kind}.webp", self._picture),
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

    async def _order(self, request: Request) -> Response:
        """Leave an order. A form gets the page again; the page's own script asks for plain words."""
        try:
            verb = await self._ordered(request)
        except Refused as error:
            return PlainTextResponse(f"{error}\n", error.code)
        if request.headers.get("accept") == "text/plain":
            return PlainTextResponse(f"{SAID[verb]}\n")
        return RedirectResponse(f"/?said={verb}", 303)

    async def _ordered(self, request: Request) -> str:
        form = await form_of(request)
        prove_token(form, self._token)
        overview = await self._records.overview()
        shown = {folder_key(folder.inbox): folder.inbox for folder in overview.folders}
        order = order_of(form, shown, time.time())
        if order.job_id and await self._records.job(order.job_id) is None:
            raise Refused("That job is no longer known. Load the page again.", 404)
        await self._records.order(order)
        self._log.info("page.ordered", verb=order.verb.value, job=order.job_id, inbox=order.inbox or "")
        return order.verb.value

    async def _picture(self, request: Request) -> Response:
        job_id, kind = request.path_params["job"], request.path_params["kind"]
        kinds = {one.value: one for one in Kind}
        job = await self._records.job(job_id) if _JOB_ID.fullmatch(job_id) and kind in kinds else None
        if job is None:
            return PlainTextResponse("There is no such picture.\n", 404)
        try:
            return Response(await self._pictures.picture(job, kinds[kind]), media_type="image/webp")
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
