"""Joins the cluster: the job database, the membership and the account that several hosts share."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from expandd import __version__
from expandd.adapters.api.magic_expand import MagicExpand
from expandd.adapters.store.database import address
from expandd.adapters.store.postgres.account import SharedAccount, SharedPair
from expandd.adapters.store.postgres.hosts import HostFacts, MemberJobStore
from expandd.adapters.store.postgres.membership import HostMembership
from expandd.adapters.store.postgres.tasks import TaskQueue
from expandd.domain.errors import InstanceRunning
from expandd.domain.job import owner_name
from expandd.domain.settings import Settings
from expandd.engine.ports import Api, Clock
from expandd.service.runtime.app import Host

HOST_ID = "host-id"
"""The file in the state directory that tells this machine from all others."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_ID_GIVEN = "EXPANDD_BOOT_ID"
"""The unit sets it: a service that sees only processes in /proc cannot read the file."""

PATIENCE = 2.0
"""Leases for which a host of the same name is waited for: after a reboot it may be this one's own earlier run."""


@asynccontextmanager
async def joined(
    settings: Settings, environ: Mapping[str, str], clock: Clock, now: Callable[[], Settings]
) -> AsyncIterator[Host]:
    """Be a member; `now` are the settings that hold at any time. Raises InstanceRunning, DatabaseAway.

    At the end all of this host's jobs are anybody's.
    """
    cluster = settings.cluster
    url = await asyncio.to_thread(address, settings)
    assert url is not None, "only a host of several joins"
    name = cluster.name or socket.gethostname()
    host = HostFacts(
        incarnation=owner_name(name, secrets.token_hex(8)),
        name=name,
        machine=await asyncio.to_thread(_machine, settings.state_dir),
        boot=await asyncio.to_thread(boot_id, environ),
        version=__version__,
        digest=digest(settings),
        workers=settings.workers,
        lease=cluster.lease,
    )
    async with AsyncExitStack() as stack:
        store = MemberJobStore(url, host.incarnation)
        stack.callback(store.close)
        await _register(store, host, clock)
        membership = HostMembership(
            host,
            store=store,
            queue=TaskQueue(url, heartbeat=cluster.lease),
            clock=clock,
            at_once=settings.workers + min(settings.workers, 8),
            inboxes=lambda: [folder.inbox for folder in now().folders],
        )
        stack.push_async_callback(membership.leave)
        pairs = SharedPair(store, host.incarnation, clock)

        def shared(api: MagicExpand) -> Api:
            def interval() -> float:
                return now().api.poll_interval

            return SharedAccount(api, store=store, incarnation=host.incarnation, clock=clock, interval=interval)

        yield Host(store=store, membership=membership, pairs=pairs, shared=shared)


def boot_id(environ: Mapping[str, str], file: Path = BOOT_ID) -> str:
    """An identifier that distinguishes the running system from its earlier boots, and from a copy that runs elsewhere.

    Where nothing tells it, a new one: the lease of an earlier run on this machine is then waited for.
    """
    given = environ.get(BOOT_ID_GIVEN, "")
    try:
        return given or file.read_text("ascii").strip().replace("-", "")
    except OSError:
        return secrets.token_hex(16)


def digest(settings: Settings) -> str:
    """Of what must be configured alike on all hosts: folders, budgets and what is kept of the credits."""
    alike = (settings.folders, settings.budget, settings.keep_credits, settings.api.base_url)
    return hashlib.sha256(repr(alike).encode("utf-8", "surrogateescape")).hexdigest()[:12]


async def _register(store: MemberJobStore, host: HostFacts, clock: Clock) -> None:
    deadline = clock.monotonic() + PATIENCE * host.lease
    while not await store.ask(lambda database: database.register(host)):
        if clock.monotonic() > deadline:
            raise InstanceRunning(
                f"Another host of the cluster goes by the name {host.name} and works. Give each a name of its own by "
                f"`cluster.name`; on the copy of a machine also remove {HOST_ID} from its state directory."
            )
        await clock.sleep(host.lease / 10)


def _machine(state_dir: Path) -> str:
    """The name that this machine's state directory was given when it was first used in a cluster."""
    path = state_dir / HOST_ID
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        new = path.with_suffix(".new")
        new.write_text(secrets.token_hex(16), encoding="ascii")
        new.replace(path)
        return path.read_text(encoding="ascii")
