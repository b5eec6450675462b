"""The host: alone with a job database of its own, or one of several that share one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expandd.adapters.api.tokens import PairStore
from expandd.adapters.store.database import opened, postgres
from expandd.domain.settings import Settings
from expandd.engine.ports import Api, Clock, JobStore, Membership
from expandd.engine.single_host import SingleHost
from expandd.service.runtime.rebuild import prove_store

if TYPE_CHECKING:
    from expandd.adapters.api.magic_expand import MagicExpand


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a host that is alone has for itself, and one of several has with the others.

    `pairs` is where the token pair is kept, None for the state directory. `shared` makes the API one of all hosts.
    """

    store: JobStore
    membership: Membership
    pairs: PairStore | None = None
    shared: Callable[[MagicExpand], Api] = lambda api: api


@asynccontextmanager
async def opened_host(
    settings: Settings, environ: Mapping[str, str], clock: Clock, now: Callable[[], Settings]
) -> AsyncIterator[Host]:
    """The host as configured; `now` are the settings that hold at any time.

    Raises InstanceRunning, DatabaseAway, ConfigurationError.
    """
    if settings.cluster.joined:
        postgres("membership")
        from expandd.service.runtime.joining import joined  # noqa: PLC0415 - a host that is alone needs no Postgres

        async with joined(settings, environ, clock, now) as host:
            yield host
        return
    await asyncio.to_thread(prove_store, settings)
    with closing(opened(settings)) as store:
        yield Host(store=store, membership=SingleHost())
