"""Owns the measuring of calls to the service: how many of each kind, how they ended, how long they took."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from expandd.domain.api_types import Account, Fetched, History, Notification, Uploaded
from expandd.domain.errors import AccountAway, FileFault, ImageIdRefused, Later, OutcomeUnknown
from expandd.domain.offsets import Offsets
from expandd.engine.ports import Api

T = TypeVar("T")

Called = Callable[[str, str, float], None]
"""Is told of each call: its name, its outcome, its seconds."""


class MeteredApi:
    """The API behind it, call for call."""

    def __init__(self, api: Api, called: Called) -> None:
        self._api = api
        self._called = called

    async def upload(self, source: Path, name: str) -> Uploaded:
        return await self._metered("upload", self._api.upload(source, name))

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        return await self._metered("generate", self._api.generate(image_id, offsets))

    async def notifications(self, image_id: str = "") -> Sequence[Notification]:
        return await self._metered("notifications", self._api.notifications(image_id))

    async def delete_notification(self, number: int) -> None:
        await self._metered("delete_notification", self._api.delete_notification(number))

    async def history(self, image_id: str) -> History:
        return await self._metered("history", self._api.history(image_id))

    async def download(self, link: str, target: Path) -> Fetched:
        return await self._metered("download", self._api.download(link, target))

    async def account(self) -> Account:
        return await self._metered("account", self._api.account())

    async def _metered(self, name: str, call: Awaitable[T]) -> T:
        loop = asyncio.get_running_loop()
        began, outcome = loop.time(), "ok"
        try:
            return await call
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            self._called(name, outcome, loop.time() - began)


def _outcome(error: BaseException) -> str:
    """A word of a few: the reason for which the account waits, or what becomes of this call."""
    match error:
        case AccountAway(reason=reason):
            return str(reason.value)
        case OutcomeUnknown():
            return "unknown"
        case FileFault() | ImageIdRefused():
            return "refused"
        case Later():
            return "later"
        case asyncio.CancelledError():
            return "cancelled"
    return "bug"
