"""What tests of the API client share: a client of a scripted server, its credentials and its clock."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from expandd.adapters.api.magic_expand import MagicExpand
from expandd.adapters.credentials import Credentials
from expandd.domain.settings import ApiSettings
from tests.support.scripted_server import answer_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.scripted_server import Say, ScriptedServer

NOW = 1_800_000_000.0
DAY = 86400.0
PAIR = Credentials(access_token="access-0", refresh_token="refresh-0", origin="a test", correct="Correct the test.")
LOGIN = Credentials(email="studio@example.com", password="pass:wörd", origin="a test")
ACCESS_ONLY = Credentials(access_token="access-0", origin="a test")


class StoppedClock:
    """Wall time that stands until a test moves it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


class Source:
    """Where credentials are read from; a test changes what stands there."""

    def __init__(self, now: Credentials) -> None:
        self.now = now
        self.reads = 0

    def __call__(self) -> Credentials:
        self.reads += 1
        return self.now


def client(
    server: ScriptedServer,
    state_dir: Path,
    *,
    source: Callable[[], Credentials] | None = None,
    clock: StoppedClock | None = None,
    **settings: Any,
) -> MagicExpand:
    """A client of `server` with a time-out of twenty seconds and the pair access-0, refresh-0."""
    wanted = replace(ApiSettings(base_url=server.url, timeout=20), **settings)
    return MagicExpand(wanted, credentials=source or Source(PAIR), state_dir=state_dir, clock=clock or StoppedClock())


def pair_answer(number: int, **more: Any) -> Say:
    """What /tokens answers: the pair access-N, refresh-N."""
    return answer_json({"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", **more})


def stored(state_dir: Path) -> dict[str, Any]:
    """What tokens.json holds."""
    found: dict[str, Any] = json.loads((state_dir / "tokens.json").read_bytes())
    return found


UNAUTHORIZED = answer_json({"code": 401, "message": "Unauthorized", "description": "Invalid token."}, 401)
EMPTY_POLL = answer_json({"notifications_list": []})
