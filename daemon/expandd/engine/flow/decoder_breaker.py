"""Puts what decodes behind a gate: while no process for it can be started, everything that needs one waits.

One probe at a time finds out when it can, so that a thousand files that wait cost no more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from expandd.domain.errors import DecoderAway
from expandd.domain.inspection import Finding
from expandd.domain.pauses import PauseReason
from expandd.engine.flow.circuit_breaker import Gate
from expandd.engine.ports import Clock, Images

T = TypeVar("T")


class Decoders:
    """The images port, as it is used by everything else in the engine."""

    def __init__(self, images: Images, gate: Gate, clock: Clock) -> None:
        self._images = images
        self._gate = gate
        self._clock = clock
        self._away = asyncio.Event()

    def expect(self) -> None:
        if self._gate.shut is None:
            self._images.expect()

    async def prove(self) -> object:
        return await self._images.prove()

    async def examine(self, path: Path, *, thorough: bool = True) -> Finding:
        return await self._through(lambda: self._images.examine(path, thorough=thorough))

    async def examine_result(self, path: Path) -> Finding:
        return await self._through(lambda: self._images.examine_result(path))

    async def make_upright(self, source: Path, target: Path) -> None:
        await self._through(lambda: self._images.make_upright(source, target))

    async def first_image(self, source: Path, target: Path) -> bool:
        return await self._through(lambda: self._images.first_image(source, target))

    async def run(self) -> None:
        """Try again and again while none can be started. Until cancelled."""
        while True:
            await self._away.wait()
            while self._gate.shut is not None:
                await self._clock.sleep(self._gate.wait())
                await self._probe()
            self._away.clear()

    async def _through(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._gate.shut is not None:
            raise DecoderAway(self._gate.shut.why)
        try:
            return await call()
        except DecoderAway as error:
            self._gate.failed(PauseReason.DECODER_UNAVAILABLE, str(error))
            self._away.set()
            raise

    async def _probe(self) -> None:
        try:
            await self._images.prove()
        except DecoderAway as error:
            self._gate.failed(PauseReason.DECODER_UNAVAILABLE, str(error))
        else:
            self._gate.passed()
