"""Owns the live page: while somebody looks, what has changed is drawn anew and sent to all who look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from structlog.typing import FilteringBoundLogger

from expandd.domain.errors import ExpanddError

Draw = Callable[[], Awaitable[Mapping[str, str]]]

MOST = 20
"""Who may look at once. Each costs a connection and what changes, nothing more."""
PAUSE = 2.0
"""Seconds between two looks, while somebody looks."""
SILENCE = 20.0
"""Seconds after which something is sent though nothing has changed, so that a browser that is gone is noticed."""
AGAIN = b"retry: 3000\n\n"


class Live:
    """Parts of the page by name, drawn by `draw` and sent as server-sent events where they have changed."""

    def __init__(
        self, draw: Draw, log: FilteringBoundLogger, *, most: int = MOST, pause: float = PAUSE, silence: float = SILENCE
    ) -> None:
        self._draw = draw
        self._log = log
        self._most = most
        self._pause = pause
        self._silence = silence
        self._parts: Mapping[str, str] = {}
        self._looking = 0
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._closed = False

    @property
    def full(self) -> bool:
        return self._looking >= self._most

    async def run(self) -> None:
        """Until cancelled. Costs nothing while nobody looks."""
        while True:
            await self._wanted.wait()
            await self._refresh()
            await asyncio.sleep(self._pause)

    async def listen(self) -> AsyncIterator[bytes]:
        """What one browser is sent: all parts at first, then those that change. Ends when the page does."""
        self._looking += 1
        self._wanted.set()
        sent: Mapping[str, str] = {}
        try:
            yield AGAIN
            while not self._closed:
                parts, news = self._parts, self._news
                for name, text in parts.items():
                    if sent.get(name) != text:
                        yield event(name, text)
                sent = parts
                try:
                    async with asyncio.timeout(self._silence):
                        await news.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._looking -= 1
            if not self._looking:
                self._wanted.clear()
                self._parts = {}

    def close(self) -> None:
        """Let go of all who look."""
        self._closed = True
        self._news.set()

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
        if parts != self._parts:
            self._parts = parts
            news, self._news = self._news, asyncio.Event()
            news.set()


def event(name: str, text: str) -> bytes:
    """One server-sent event; each line of the text is a line of data."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {name}\n{lines}\n".encode()
