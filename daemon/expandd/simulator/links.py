"""The link host: serves finished results to whoever has their link, and spoils them when a fault says so."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from expandd.simulator.answers import RefusalError, wrong_path, wrong_verb
from expandd.simulator.connection import Chunks, close, is_cut, pause, reset
from expandd.simulator.faults import Endpoint, Fault, FaultKind, Moment
from expandd.simulator.picture import Result, make_result
from expandd.simulator.state import State
from expandd.simulator.store import Job, Offsets, Source

if TYPE_CHECKING:
    from expandd.simulator.switches import ResultType

_CHUNK = 64 * 1024
_KEPT_RESULTS = 16


class Links:
    """Answers `GET /results/<id_image>/<id_task>?signature=…`. Rendered results are kept for a while."""

    def __init__(self, state: State, closing: asyncio.Event) -> None:
        self._state = state
        self._closing = closing
        self._rendered: dict[tuple[str, bool, ResultType], Result] = {}

    async def get(self, request: Request) -> Response:
        if request.method != "GET":
            raise wrong_verb("GET")
        job, source = self._found(request)
        hops = int(request.query_params.get("hop", "0"))
        fault = self._state.faults.take(Endpoint.LINK, Moment.RESULT, source.subject)
        kind = fault.kind if fault else None
        if kind is FaultKind.REDIRECT_LOOP or hops < self._hops():
            return RedirectResponse(_next_hop(request, 0 if kind is FaultKind.REDIRECT_LOOP else hops + 1), 302)
        self._require_nth_attempt(job)
        if kind is FaultKind.ENDLESS:
            return Chunks(self._endless(request), "image/png", {})
        result = await self._render(job, source, wrong_size=kind is FaultKind.WRONG_SIZE)
        if kind is FaultKind.SHORT:
            return Response(result.data[: len(result.data) * 3 // 5], media_type=result.media_type)
        length = {"Content-Length": str(len(result.data))}
        return Chunks(self._sent(request, job, result.data, fault), result.media_type, length)

    def _found(self, request: Request) -> tuple[Job, Source]:
        with self._state.lock:
            now = self._state.settled()
            parts = request.url.path.strip("/").split("/")
            job = self._state.store.job(parts[2]) if len(parts) == 3 and parts[0] == "results" else None  # noqa: PLR2004 - /results/ID
            source = self._state.store.stored(job.id_image) if job else None
            expires = job.finishes + self._state.switches.link_life if job else 0
        if job is None or source is None or parts[1] != job.id_image or not job.has_result:
            raise wrong_path()
        if not job.finishes <= now < expires:
            raise wrong_path()
        if request.query_params.get("signature") != job.signature:
            raise RefusalError(403, "The signature of the link does not match.")
        return job, source

    def _hops(self) -> int:
        with self._state.lock:
            return self._state.switches.redirects

    def _require_nth_attempt(self, job: Job) -> None:
        with self._state.lock:
            attempt = self._state.link_attempts.get(job.id_task, 0) + 1
            self._state.link_attempts[job.id_task] = attempt
            if attempt < self._state.switches.link_works_from:
                raise wrong_path()

    async def _render(self, job: Job, source: Source, *, wrong_size: bool) -> Result:
        with self._state.lock:
            wanted, plain = self._state.switches.result_type, self._state.switches.plain
        key = (job.id_task, wrong_size, wanted)
        if key not in self._rendered:
            offsets = _one_more(job.offsets) if wrong_size else job.offsets
            result = await run_in_threadpool(
                make_result, source.data, offsets, wanted, watermark=not job.pro, plain=plain
            )
            while len(self._rendered) >= _KEPT_RESULTS:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[key] = result
        return self._rendered[key]

    async def _sent(self, request: Request, job: Job, data: bytes, fault: Fault | None) -> AsyncIterator[bytes]:
        kind = fault.kind if fault else None
        if fault is not None and kind in {FaultKind.TRUNCATED, FaultKind.STALL}:
            yield data[: len(data) // 2]
            if kind is FaultKind.TRUNCATED:
                raise close(request)
            if not await pause(fault.seconds, self._closing, request.receive):
                raise reset(request)
            data = data[len(data) // 2 :]
        last = max(0, len(data) - 1) // _CHUNK * _CHUNK
        for start in range(0, last, _CHUNK):
            yield data[start : start + _CHUNK]
        # Noted before the last chunk goes out: the client may act on it before this code runs again.
        # A client that has gone takes every chunk in silence, so it is asked for.
        if kind is not FaultKind.WRONG_SIZE and not is_cut(request):
            with self._state.lock:
                self._state.counts.note_download(job.id_image, job.id_task)
        yield data[last:]

    async def _endless(self, request: Request) -> AsyncIterator[bytes]:
        yield b"\x89PNG\r\n\x1a\n"
        chunk = os.urandom(_CHUNK)
        while not self._closing.is_set() and not is_cut(request):
            yield chunk
            # Lets the loop see a client that has gone; without it one download starves all others.
            await asyncio.sleep(0)
        raise reset(request)


def _next_hop(request: Request, hop: int) -> str:
    return str(request.url.include_query_params(hop=hop))


def _one_more(offsets: Offsets) -> Offsets:
    return Offsets(offsets.top, offsets.bottom, offsets.left, offsets.right + 1)
