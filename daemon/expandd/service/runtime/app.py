"""Composes the program: the only place where adapters meet the engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from expandd.adapters.api.tokens import PairStore
from expandd.adapters.bulkheads import Bulkheads, Together, shared_threads
from expandd.adapters.clock import SystemClock, SystemRandomness
from expandd.adapters.credentials import Credentials, find_credentials
from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.inbox_locks import InboxLocks
from expandd.adapters.files.mount_guard import MountGuard
from expandd.adapters.files.permissions import close_to_others
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.spool import FileSpool
from expandd.adapters.files.watcher import InotifyWatcher
from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.locks import account_locked, account_told, locked, name_of_account
from expandd.adapters.processes import ProcessStarter
from expandd.adapters.store.database import opened, postgres
from expandd.domain.errors import DatabaseAway, ExpanddError, FolderAway, InstanceRunning
from expandd.domain.events import AccountShared, Event
from expandd.domain.settings import HotFolder, Settings
from expandd.engine.ports import Api, Clock, JobStore, Membership, Ports
from expandd.engine.single_host import SingleHost
from expandd.service.runtime.rebuild import prove_store

if TYPE_CHECKING:
    from expandd.adapters.api.magic_expand import MagicExpand
    from expandd.engine.engine import Engine


class FolderAccess:
    """Close it to let go of all. Inboxes that are `shared` with other hosts are locked by the cluster alone."""

    def __init__(self, *, shared: bool = False) -> None:
        self.mount_guard = MountGuard()
        self.roots = Roots()
        self.locks = InboxLocks(self.roots, shared=shared)
        self.bulkheads = Bulkheads()

    async def admit(self, folders: Sequence[HotFolder], bulkheads: Bulkheads | None = None) -> None:
        """Take these too, all or none. Raises InstanceRunning.

        A folder that is away, or whose disk does not answer, is taken when it is back. `bulkheads` are what runs the
        calls from now on.
        """
        self.bulkheads = bulkheads or self.bulkheads
        roots = [root for one in folders for root in one.directories]
        await asyncio.to_thread(self.bulkheads.know, roots)
        held, mount_guard = self.locks.held, MountGuard(folders)
        self.roots.know_folders(folders)
        try:
            await asyncio.gather(*(self._admit(folder.inbox, mount_guard) for folder in folders))
        except InstanceRunning:
            self.locks.keep_only(held)
            raise
        self.mount_guard.know(folders)

    async def _admit(self, inbox: Path, mount_guard: MountGuard) -> None:
        def take() -> None:
            mount_guard.check(inbox)
            self.locks.take(inbox)

        with contextlib.suppress(FolderAway, OSError):
            await self.bulkheads.run(inbox, take)

    def keep_only(self, inboxes: Collection[Path]) -> frozenset[Path]:
        """Let others have the rest, and tell what that is."""
        return self.locks.keep_only(inboxes)

    def close(self) -> None:
        self.locks.close()


Subscriber = Callable[[Event], None]


MOST_WAITING = 10_000
"""Events that wait for subscribers; they are handed on in the loop's next iteration."""


class EventBus:
    """Hands each event to every subscriber, in order, and outside the call stack of the emitter.

    A failing subscriber disturbs no other one: it gets the next event as usual, and `fails` is called once.
    """

    def __init__(self, *subscribers: Subscriber, fails: Callable[[Exception], None] | None = None) -> None:
        self._subscribers = subscribers
        self._fails = fails
        self._failing: set[int] = set()
        self._waiting: deque[Event] = deque(maxlen=MOST_WAITING)
        self._planned = False
        self.failed = 0
        """Failures of subscribers, since the start."""
        self.dropped = 0
        """Events dropped since the start because too many waited."""

    def also(self, subscriber: Subscriber) -> None:
        """Add a subscriber, which gets each event from now on."""
        self._subscribers = (*self._subscribers, subscriber)

    def __call__(self, event: Event) -> None:
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(event)
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand on the waiting events."""
        self._planned = False
        while self._waiting:
            event = self._waiting.popleft()
            for number, subscriber in enumerate(self._subscribers):
                self._hand(number, subscriber, event)

    def _hand(self, number: int, subscriber: Subscriber, event: Event) -> None:
        try:
            subscriber(event)
        except Exception as error:  # noqa: BLE001 - a subscriber must never stop the work
            self.failed += 1
            if number not in self._failing and self._fails is not None:
                with contextlib.suppress(Exception):
                    self._fails(error)
            self._failing.add(number)
        else:
            self._failing.discard(number)


@asynccontextmanager
async def built(
    settings: Settings,
    environ: Mapping[str, str],
    announce: Subscriber,
    *,
    folder_access: FolderAccess | None = None,
    disk: Disk | None = None,
    processes: ProcessStarter | None = None,
    around: Callable[[Ports], Ports] = lambda ports: ports,
) -> AsyncIterator[Engine]:
    """The engine on real adapters, its folders locked. Everything is closed again at the end.

    `around` may put something between the engine and the ports, such as what measures it; at it and at `disk` tests
    make the real thing fail. Raises ConfigurationError (no credentials), InstanceRunning, DatabaseAway.
    """
    credentials = partial(find_credentials, settings.api, environ)
    asyncio.get_running_loop().set_default_executor(_threads())
    given = credentials()
    async with AsyncExitStack() as stack:
        spool = prepare_state(settings.state_dir, settings.cluster.spool)
        stack.enter_context(locked(settings.state_dir / "lock", f"The state directory {settings.state_dir}"))
        sharing = _account(stack, settings, given)
        folder_access = folder_access or FolderAccess(shared=settings.cluster.joined)
        stack.callback(folder_access.close)
        bulkheads = Bulkheads(settings.state_dir)
        images = await _decoders(stack, folder_access, bulkheads, processes)
        # The first of them loads its libraries while these are loaded here.
        from expandd.adapters.api.magic_expand import MagicExpand  # noqa: PLC0415 - as said
        from expandd.engine.engine import Engine  # noqa: PLC0415 - as said

        await folder_access.admit(settings.folders, bulkheads)
        disk, clock, watcher = disk or Disk(), SystemClock(), InotifyWatcher(bulkheads.run, bulkheads.mount_of)
        disk.roots = folder_access.roots
        stack.callback(watcher.close)
        host = await stack.enter_async_context(opened_host(settings, environ, clock, lambda: engine.settings))
        if shared := await sharing():
            announce(AccountShared(shared))
        client = partial(MagicExpand, open_file=folder_access.roots.open_file, run=bulkheads.run, pairs=host.pairs)
        api = client(settings.api, credentials=credentials, state_dir=settings.state_dir, clock=clock)
        await stack.enter_async_context(api)
        ports = Ports(
            api=host.shared(api),
            randomness=SystemRandomness(),
            clock=clock,
            folders=_folders(disk, folder_access),
            images=images,
            store=host.store,
            membership=host.membership,
            spool=FileSpool(spool, disk, bulkheads.run),
            watcher=watcher,
            mount_of=bulkheads.mount_of,
        )
        engine = Engine(settings, around(ports), announce)
        engine.account.shared_with = shared
        preparing = asyncio.create_task(_prepare(engine, api))
        stack.callback(preparing.cancel)
        yield engine


async def _decoders(
    stack: AsyncExitStack, access: FolderAccess, bulkheads: Bulkheads, processes: ProcessStarter | None
) -> PillowImages:
    """Those of all images, the first of them on its way."""
    if processes is None:
        processes = await stack.enter_async_context(ProcessStarter())
    images = PillowImages(
        open_file=access.roots.open_file, run=bulkheads.run, mount_of=bulkheads.mount_of, start=processes.start
    )
    await stack.enter_async_context(images)
    images.warm_up()
    # Its first process is started here and now; all others by one that holds no file of a folder.
    await asyncio.sleep(0)
    await processes.begin()
    return images


def _account(stack: AsyncExitStack, settings: Settings, given: Credentials) -> Callable[[], Awaitable[str]]:
    """Keep other daemons of this machine from the account's token pair; who works with the same account, or ""."""
    if settings.cluster.joined:
        # Its hosts share it, and their polls, on purpose.
        return _nobody
    stack.enter_context(account_locked(settings.api.base_url, given.refresh_token))
    naming = asyncio.create_task(asyncio.to_thread(name_of_account, settings.api.base_url, given.email))
    stack.callback(naming.cancel)

    async def told() -> str:
        return stack.enter_context(account_told(await naming))

    return told


async def _nobody() -> str:
    return ""


def _folders(disk: Disk, access: FolderAccess) -> LocalFolders:
    bulkheads = access.bulkheads
    together = Together(bulkheads.run, bulkheads.mount_of)
    return LocalFolders(disk, access.mount_guard, access.locks, bulkheads.run, together.run)


async def _prepare(engine: Engine, api: MagicExpand) -> None:
    """Have the API's client ready for its first call while the first files settle."""
    await engine.started()
    await api.prepare()


def _threads() -> ThreadPoolExecutor:
    """All that small calls need, from the start on."""
    try:
        return shared_threads()
    except OSError as error:
        raise ExpanddError(
            f"expandd cannot start: {error.strerror}. Raise TasksMax= of the service, or its user's limit of processes."
        ) from error


EARLIER_SPOOL = "vault"
"""The spool's name before version 0.3: what was paid for may still lie there."""


def prepare_state(state_dir: Path, shared_spool: Path | None = None) -> Path:
    """Make the state directory and its spool, for this user's eyes only; returns the spool."""
    spool = shared_spool or state_dir / "spool"
    try:
        state_dir.mkdir(mode=0o700, exist_ok=True)
        close_to_others(state_dir)
        if shared_spool is None and (earlier := state_dir / EARLIER_SPOOL).is_dir() and not spool.exists():
            earlier.rename(spool)
        spool.mkdir(mode=0o700, exist_ok=True)
        if not os.access(spool, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable", str(spool))
    except OSError as error:
        raise DatabaseAway(f"The state directory {state_dir} cannot be used: {error}.") from error
    return spool


async def run_until(engine: Engine, stop: asyncio.Event) -> None:
    """Work until `stop` is set, then come to a safe point: what is under way ends, the rest stays written down.

    The settings say how long that may take; the unit's TimeoutStopSec must be longer.
    """
    working = asyncio.create_task(engine.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await _wind_down(engine)
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working})
    if not working.cancelled():
        working.result()


async def _wind_down(engine: Engine) -> None:
    """Nothing new is begun; what is paid for is fetched and saved for as long as there is time."""
    engine.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(engine.settings.stop_timeout):
            await engine.at_rest()


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
