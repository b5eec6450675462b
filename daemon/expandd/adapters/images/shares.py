"""Shares the decoders out by mount: the files of a disk that does not answer leave some to all others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from expandd.domain.errors import Later

PATIENCE = 5.0
"""Seconds after which a child that waits for a disk is looked at again; if it has got nowhere it is given up."""

SPARE = 2
"""Places that the files of one mount never take."""


class Share:
    """The places of one mount's files. A process that its disk holds keeps its place until it has ended."""

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self._most = most
        self._patience = patience
        self._taken = 0
        self._held = 0
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[set[asyncio.Task[None]]]:
        """A place, kept beyond the block until what is put into the set is over.

        Raises Later where each process of these places waits for a disk that does not answer.
        """
        while self._taken == self._most:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._changed.wait()
                continue
            if self._held == self._most:
                raise Later("It cannot be read just now: its disk does not answer.")
        self._taken += 1
        ends: set[asyncio.Task[None]] = set()
        try:
            yield ends
        finally:
            self._held += 1
            if ends:
                asyncio.gather(*ends, return_exceptions=True).add_done_callback(self._admission)
            else:
                self._admission()

    def _admission(self, _: object = None) -> None:
        self._held -= 1
        self._taken -= 1
        self._changed.set()
