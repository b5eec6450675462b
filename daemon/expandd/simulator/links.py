"""The link host: serves finished results to whoever has their link, and spoils them when a fault says so."""

import asyncio
import os
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from expandd.simulator.answers import RefusalError, wrong_path, wrong_verb
from expandd.simulator.connection import Chunks, close, is_cut, pause, reset
from expandd.simulator.faults import Endpoint, Fault, FaultKind, Moment
from expandd.simulator.images import make_result
from expandd.simulator.state import State
from expandd.simulator.store import Job, Offsets, Source
from expandd.simulator.switches import ResultType

_CHUNK = 64 * 1024
_KEPT_RESULTS = 16


class Links:
    """Answers `GET /results/<id_image>/<id_task>?signature=…`. Rendered results are kept for a while."""

    def __init__(self, state: State, closing: asyncio.Event) -> None:
        self._state = state
        self._closing = closing
        self._rendered: dict[tuple[str, bool, ResultType], tuple[bytes, str]] = {}

    async def get(self, request: Request) -> Response:
        if request.method != "GET":
            raise wrong_verb("GET")
        with self._state.lock:
            job, source = self._found(request)
        fault = self._state.faults.take(Endpoint.LINK, Moment.RESULT, source.subject)
        kind = fault.kind if fault else None
        hop = int(request.query_params.get("hop", "0"))
        if kind is FaultKind.REDIRECT_LOOP or hop < self._state.switches.redirects:
            following = 0 if kind is FaultKind.REDIRECT_LOOP else hop + 1
            return RedirectResponse(str(request.url.include_query_params(hop=following)), 302)
        if kind is FaultKind.ENDLESS:
            return Chunks(self._endless(request), "image/png", {})
        data, media_type = await self._render(job, source, wrong_size=kind is FaultKind.WRONG_SIZE)
        if kind is FaultKind.SHORT:
            return Response(data[: len(data) * 3 // 5], media_type=media_type)
        return Chunks(self._sent(request, job, data, fault), media_type, {"Content-Length": str(len(data))})

    def _found(self, request: Request) -> tuple[Job, Source]:
        now = self._state.settled()
        job = self._state.store.job(request.url.path.rpartition("/")[2])
        source = self._state.store.stored(job.id_image) if job else None
        if job is None or source is None or request.url.path != f"/results/{job.id_image}/{job.id_task}":
            raise wrong_path()
        if not job.has_result or not job.finishes <= now < job.finishes + self._state.switches.link_life:
            raise wrong_path()
        if request.query_params.get("signature") != job.signature:
            raise RefusalError(403, "The signature of the link does not match.")
        return job, source

    async def _render(self, job: Job, source: Source, *, wrong_size: bool) -> tuple[bytes, str]:
        wanted, plain = self._state.switches.result_type, self._state.switches.plain
        key = (job.id_task, wrong_size, wanted)
        if key not in self._rendered:
            sides = job.offsets
            offsets = Offsets(sides.top, sides.bottom, sides.left, sides.right + wrong_size)
            result = await run_in_threadpool(
                make_result, source.data, offsets, wanted, watermark=not job.pro, plain=plain
            )
            while len(self._rendered) >= _KEPT_RESULTS:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[key] = result
        return self._rendered[key]

    async def _sent(self, request: Request, job: Job, data: bytes, fault: Fault | None) -> AsyncIterator[bytes]:
        start = 0
        if fault is not None and fault.kind in {FaultKind.TRUNCATED, FaultKind.STALL}:
            start = len(data) // 2
            yield data[:start]
            if fault.kind is FaultKind.TRUNCATED:
                raise close(request)
            if not await pause(fault.seconds, self._closing, request.receive):
                raise reset(request)
        while len(data) - start > _CHUNK:
            yield data[start : start + _CHUNK]
            start += _CHUNK
        # Noted before the last chunk goes out: the client may act on it before this code runs again.
        # A client that has gone takes every chunk in silence, so it is asked for.
        if not (fault and fault.kind is FaultKind.WRONG_SIZE) and not is_cut(request):
            with self._state.lock:
                self._state.counts.note_download(job.id_image, job.id_task)
        yield data[start:]

    async def _endless(self, request: Request) -> AsyncIterator[bytes]:
        yield b"\x89PNG\r\n\x1a\n"
        chunk = os.urandom(_CHUNK)
        while not self._closing.is_set() and not is_cut(request):
            yield chunk
            # Lets the loop see a client that has gone; without it one download starves all others.
            await asyncio.sleep(0)
        raise reset(request)
