"""Tells hooks of events, one after the other, without holding up the work."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePath
from typing import Any

from expandd.adapters.clock import SystemClock, SystemRandomness
from expandd.adapters.hooks import post, run_command
from expandd.domain.backoff import Backoff
from expandd.domain.events import Event, Facts, HookFailed, HookName, JobClosed, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.naming import printable
from expandd.domain.settings import Hook, Hooks
from expandd.engine.ports import Clock, Randomness
from expandd.service.observability.logs import Logger, canonical
from expandd.service.observability.redaction import safe_text

PREFIX = "EXPANDD"
LONGEST = 16_384
"""Characters of a variable: what is longer stands whole in the JSON."""


def hook_of(event: Event) -> HookName | None:
    """The hook that an event is for, if any."""
    match event:
        case JobClosed(job) if job.state is JobState.DONE:
            return HookName.ON_DONE
        case JobClosed(job) if job.state is JobState.FAILED:
            return HookName.ON_ERROR
        case PauseStarted():
            return HookName.ON_PAUSED
    return None


def facts_of(hook: HookName, event: JobClosed | PauseStarted, *, ident: str, now: float) -> Facts:
    """The facts of the event: `ident` is the same in each try to tell them, `now` is epoch seconds."""
    head = {"event": hook.event, "id": ident, "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")}
    if isinstance(event, JobClosed):
        return _facts(hook, printable(event.job.relative), {**head, **canonical(event.job)})
    stop = {"pause": event.pause, "reason": event.reason.value, "why": event.why, "what_to_do": event.reason.remedy}
    return _facts(hook, event.pause, {**head, **stop})


def _facts(hook: HookName, about: str, facts: Mapping[str, Any]) -> Facts:
    known = {key: _known(value) for key, value in facts.items()}
    return Facts(
        event=hook.event,
        about=about,
        json=json.dumps(_spelt(known), ensure_ascii=False).encode(),
        environ=tuple(_named(PREFIX, known)),
    )


def _known(value: Any) -> Any:
    """Paths as they are on the disk, so that a program can open them; sentences without anything secret."""
    if isinstance(value, PurePath):
        return str(value)
    return safe_text(value) if isinstance(value, str) else value


def _spelt(value: Any) -> Any:
    """As JSON: bytes of a file name that are no UTF-8 are written as escapes."""
    if isinstance(value, Mapping):
        return {key: _spelt(inner) for key, inner in value.items()}
    return os.fsencode(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value


def _named(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """EXPANDD_OFFSETS_TOP and so on; true and false as in JSON."""
    for key, value in facts.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, Mapping):
            yield from _named(name, value)
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        else:
            # The kernel starts no program with a variable of more than 128 KiB; a path has 4 at most.
            yield name, str(value)[:LONGEST]


MOST_WAITING = 1000
"""Events that wait for one hook; the oldest make room for what comes after."""

GIVE_UP = 600.0
"""Seconds after which a webhook that fails again and again is not tried any more for one event."""

GRACE = 3.0
"""Seconds that hooks have at a stop; with `stop_timeout` it must fit into TimeoutStopSec= of the unit."""

PATIENCE = 60.0
"""Seconds that `once` waits for its hooks at the end."""

SLOW = "The hook is slower than the work: the oldest events made room."

TRIES = Backoff(base=1.0, cap=60.0)

Run = Callable[[Hook, Facts], Awaitable[tuple[str, ...]]]
Keep = Callable[[str, Callable[[], Awaitable[None]]], Coroutine[Any, Any, None]]
"""Supervises a loop of this name: restarts it after any error."""

Post = Callable[[Hook, Facts, float], Awaitable[None]]


class HookQueue:
    """The queue of events for one hook, oldest first."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: deque[Facts] = deque()
        self._dropped = 0
        self._telling = False
        self.came = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def left(self) -> int:
        """How many events are not sent yet, including the one that is being sent."""
        return len(self._waiting) + self._telling

    def put(self, facts: Facts) -> None:
        """Add an event without waiting; the oldest is dropped where the queue is full."""
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(facts)
        self.idle.clear()
        self.came.set()

    async def next(self) -> Facts:
        """The oldest event. The one taken before counts as sent, and an empty queue as idle."""
        self._telling = False
        while not self._waiting:
            self.idle.set()
            self.came.clear()
            await self.came.wait()
        self._telling = True
        return self._waiting.popleft()

    def dropped(self) -> int:
        """How many were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped


class HookRunner:
    """Sends events to the configured hooks; a subscriber of the event bus."""

    def __init__(
        self,
        log: Logger,
        hooks: Callable[[], Hooks],
        *,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        run: Run = run_command,
        send: Post = post,
        most: int = MOST_WAITING,
        grace: float = GRACE,
    ) -> None:
        self._log = log
        self._clock = clock or SystemClock()
        self._randomness = randomness or SystemRandomness()
        self._run = run
        self._send = send
        self._grace = grace
        self._queues = {name: HookQueue(most) for name in HookName}
        self.hooks = hooks
        """The settings in force."""
        self.dropped = 0
        """Events that never reached their hook, since the start."""

    def __call__(self, event: Event) -> None:
        name = hook_of(event)
        if name is not None and isinstance(event, JobClosed | PauseStarted) and self._hook(name):
            facts = facts_of(name, event, ident=self._randomness.job_id(), now=self._clock.wall())
            self._queues[name].put(facts)

    def _hook(self, name: HookName) -> Hook | None:
        hook: Hook | None = getattr(self.hooks(), name.value)
        return hook

    async def work(self, keep: Keep) -> None:
        """Until cancelled: each hook by itself, its events one after the other."""
        async with asyncio.TaskGroup() as group:
            for name, queue in self._queues.items():
                group.create_task(keep(f"hook {name.value}", partial(self._work_off, name, queue)))

    async def finish(self, seconds: float, hurry: asyncio.Event | None = None) -> None:
        """Return when all are told what happened so far, or the time is over: then say what is left.

        Once `hurry` is set there is no more time than at a stop.
        """
        told = asyncio.create_task(self._all_told())
        hurried = asyncio.create_task((hurry or asyncio.Event()).wait())
        try:
            await asyncio.wait({told, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if hurried.done():
                await asyncio.wait({told}, timeout=min(seconds, self._grace))
        finally:
            told.cancel()
            hurried.cancel()
        for name, queue in self._queues.items():
            self._drop(name, queue.dropped(), SLOW)
            self._drop(name, queue.left, "expandd stops, and the hook is slower than that.")

    async def _all_told(self) -> None:
        for queue in self._queues.values():
            await queue.idle.wait()

    async def _work_off(self, name: HookName, queue: HookQueue) -> None:
        while True:
            facts = await queue.next()
            self._drop(name, queue.dropped(), SLOW)
            hook = self._hook(name)
            if hook is None:
                continue  # a reload took it away
            try:
                await self._tell(name, hook, facts)
            except Exception as error:  # noqa: BLE001 - telling must never stop the work; it is logged as our bug
                self._log.error("bug.found", where=f"hook {name.value}", exc_info=error)

    def _drop(self, name: HookName, number: int, why: str) -> None:
        if number:
            self.dropped += number
            self._log.warning("hook.dropped", hook=name.value, dropped=number, why=why)

    async def _tell(self, name: HookName, hook: Hook, facts: Facts) -> None:
        told: dict[str, Any] = {"hook": name.value, "about": facts.about}
        try:
            output = await (self._run(hook, facts) if hook.command else self._sent(name, facts))
        except HookFailed as error:
            said = {"output": list(error.output)} if error.output else {}
            self._log.warning("hook.failed", **told, why=str(error), **said)
        else:
            line = self._log.info if output else self._log.debug
            line("hook.told", **told, **({"output": list(output)} if output else {}))

    async def _sent(self, name: HookName, facts: Facts) -> tuple[str, ...]:
        """Sent, by however many tries. Raises HookFailed when that is hopeless, or has taken too long."""
        end = self._clock.monotonic() + GIVE_UP
        for tries in itertools.count(1):
            hook = self._hook(name)
            if hook is None or not hook.url:
                raise HookFailed("A new configuration has no such webhook any more.")
            try:
                await self._send(hook, facts, self._clock.wall())
            except HookFailed as error:
                pause = TRIES.wait(tries, self._randomness.fraction())
                if not error.again or self._clock.monotonic() + pause > end:
                    raise HookFailed(f"{error} Given up after {tries} {'try' if tries == 1 else 'tries'}.") from error
                await self._clock.sleep(pause)
            else:
                break
        return ()


async def alone(_: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop without supervision, for callers without a supervisor."""
    await loop()


@asynccontextmanager
async def telling(
    hook_runner: HookRunner, grace: float, hurry: asyncio.Event | None = None, *, keep: Keep = alone
) -> AsyncIterator[None]:
    """Tell the hooks as long as the body lasts, and at its end for `grace` seconds more at most; see `finish`."""
    working = asyncio.create_task(hook_runner.work(keep))
    try:
        yield
        await hook_runner.finish(grace, hurry)
    finally:
        working.cancel()
        await asyncio.wait({working})
