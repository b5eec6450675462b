"""Shares one account among all hosts: its polls, its pauses and its token pair."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from expandd.adapters.api.tokens import Pair, parsed_pair
from expandd.adapters.json_text import parsed_json, read_as, written
from expandd.adapters.store.postgres.hosts import HostChanges, MemberJobStore
from expandd.adapters.store.postgres.membership import Clock
from expandd.domain.api_types import Account, Fetched, History, Notification, Uploaded
from expandd.domain.errors import AccountAway, DatabaseAway, Later
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason

if TYPE_CHECKING:
    from expandd.adapters.api.magic_expand import MagicExpand

T = TypeVar("T")

LONGEST_POLL = 60.0
"""Seconds of one poll after which another host may begin one, as the polling host may have died."""

STALE = 1.0
"""Seconds after which a host must win its turn again, as it may have frozen meanwhile."""

SHORTEST_WAIT = 0.1
"""Seconds between two checks whether a poll may begin, or is done."""

PAUSE = 60.0
"""Seconds for which all hosts stop paying where the API named no time; then one of them tries again."""

FRESH = 5.0
"""Seconds for which an upload, which costs nothing, relies on the last check of the common pause."""

OF_ALL = frozenset({PauseReason.NO_CREDITS, PauseReason.LOGIN_REFUSED, PauseReason.RATE_LIMITED})
"""The reasons that concern the account, and so all hosts."""


@dataclass(frozen=True, slots=True)
class _PollTurn:
    """Whether this host polls now; if not, the answer of a recent enough poll, and how long to wait.

    `own` are the image and task ids of this host's open jobs, where there is an answer.
    """

    mine: bool
    answer: str | None = None
    own: frozenset[str] = frozenset()
    wait: float = 0.0


class SharedAccount:
    """The API for one of several hosts. Calls that need no sharing pass through unchanged."""

    def __init__(
        self, api: MagicExpand, *, store: MemberJobStore, incarnation: str, clock: Clock, interval: Callable[[], float]
    ) -> None:
        self._api = api
        self._store = store
        self._incarnation = incarnation
        self._clock = clock
        self._interval = interval
        self._proven = float("-inf")

    async def upload(self, source: Path, name: str) -> Uploaded:
        if self._clock.monotonic() - self._proven >= FRESH:
            await self._prove_account()
        return await self._sharing(self._api.upload(source, name))

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        await self._prove_account()
        return await self._sharing(self._api.generate(image_id, offsets))

    async def notifications(self, image_id: str = "") -> Sequence[Notification]:
        """Poll once for all hosts: the winner of the turn polls, the others read its answer."""
        began: float | None = None
        while True:
            asked_at = self._clock.monotonic()
            began, turn = await self._turn(began)
            if turn.mine and self._clock.monotonic() - asked_at < STALE:
                return await self._poll(image_id)
            if turn.answer is not None and not image_id:
                return _own(turn.answer, turn.own)
            await self._clock.sleep(max(SHORTEST_WAIT, turn.wait))

    async def delete_notification(self, number: int) -> None:
        await self._api.delete_notification(number)

    async def history(self, image_id: str) -> History:
        return await self._api.history(image_id)

    async def download(self, link: str, target: Path) -> Fetched:
        return await self._api.download(link, target)

    async def account(self) -> Account:
        return await self._api.account()

    async def _turn(self, began: float | None) -> tuple[float, _PollTurn]:
        interval = self._interval()
        return await self._ask(lambda database: _take_turn(database, self._incarnation, began, interval))

    async def _poll(self, image_id: str) -> Sequence[Notification]:
        told, others = None, frozenset[str]()
        try:
            answer = await self._api.notifications(image_id)
            told = None if image_id else json.dumps([written(item) for item in answer])
        finally:
            # Where the answer does not reach the others, they poll after this turn has expired.
            with contextlib.suppress(DatabaseAway):
                others = await self._store.ask(lambda database: _end_turn(database, self._incarnation, told))
        # Other hosts read their own notifications themselves.
        return [item for item in answer if not {item.image_id, item.task_id} & others]

    async def _prove_account(self) -> None:
        """Raise AccountAway while another host has paused the account."""
        looked = self._clock.monotonic()
        row = await self._ask(lambda database: _pause_of(database, self._incarnation))
        if row is not None:
            reason, why, seconds = row
            raise AccountAway(PauseReason(reason), why, seconds)
        self._proven = looked

    async def _sharing(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except AccountAway as error:
            if error.reason in OF_ALL:
                seconds = PAUSE if error.retry_after is None else error.retry_after
                why, reason = str(error), error.reason.value
                with contextlib.suppress(DatabaseAway):
                    await self._store.ask(lambda database: _pause(database, self._incarnation, reason, why, seconds))
            raise

    async def _ask(self, work: Callable[[HostChanges], T]) -> T:
        """Run `work` on the shared account. Raises Later where the database cannot be used: then nothing was sent."""
        try:
            return await self._store.ask(work)
        except DatabaseAway as error:
            raise Later(str(error)) from error


def _take_turn(
    database: HostChanges, incarnation: str, began: float | None, interval: float
) -> tuple[float, _PollTurn]:
    """The database's time at the first call, and whether the poll of all hosts is this host's turn."""
    now, ended, answer_began, answer = database.execute(
        "SELECT epoch_now(), poll_ended, poll_began, poll_answer FROM shared"
    ).fetchone()
    began = now if began is None else began
    if answer is not None and answer_began >= began:
        return began, _PollTurn(mine=False, answer=answer, own=database.own_images(incarnation))
    if ended + interval > now:
        return began, _PollTurn(mine=False, wait=ended + interval - now)
    won = database.execute(
        "UPDATE shared "
        "SET poll_busy_until = epoch_now() + ?, poll_by = ?, poll_began = epoch_now(), poll_answer = NULL "
        "WHERE poll_ended + ? <= epoch_now() AND (poll_busy_until <= epoch_now() OR poll_by = ? OR poll_by NOT IN "
        "(SELECT incarnation FROM hosts WHERE dead = 0))",
        (LONGEST_POLL, incarnation, interval, incarnation),
    ).rowcount
    # While another host polls, its answer may come at any time.
    return began, _PollTurn(mine=bool(won), wait=SHORTEST_WAIT)


def _end_turn(database: HostChanges, incarnation: str, answer: str | None) -> frozenset[str]:
    """Store the answer for the others; returns the image and task ids of their open jobs."""
    database.execute(
        "UPDATE shared SET poll_ended = epoch_now(), poll_busy_until = 0, poll_answer = ? WHERE poll_by = ?",
        (answer, incarnation),
    )
    return database.images_elsewhere(incarnation)


def _own(answer: str, own: frozenset[str]) -> Sequence[Notification]:
    """The notifications in another host's answer that may concern this one: of its own jobs, or of no image."""
    told = [read_as(Notification, item) for item in parsed_json(answer)]
    return [one for one in told if not (one.image_id or one.task_id) or {one.image_id, one.task_id} & own]


def _pause_of(database: HostChanges, incarnation: str) -> tuple[str, str, float] | None:
    row = database.execute(
        "SELECT pause_reason, pause_why, pause_until - epoch_now() FROM shared "
        "WHERE pause_until > epoch_now() AND pause_by != ?",
        (incarnation,),
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def _pause(database: HostChanges, incarnation: str, reason: str, why: str, seconds: float) -> None:
    database.execute(
        "UPDATE shared SET pause_reason = ?, pause_why = ?, pause_until = epoch_now() + ?, pause_by = ?",
        (reason, why, seconds, incarnation),
    )


LOCK = 60.0
"""Seconds after which another host may take the lock on the token pair, even from a living host."""

LOCK_RETRY = 0.2


class SharedPair:
    """Stores the token pair in a row, under a lock of all hosts. All raise OSError when the database is away."""

    def __init__(self, store: MemberJobStore, incarnation: str, clock: Clock) -> None:
        self._store = store
        self._incarnation = incarnation
        self._clock = clock

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the lock, which keeps every other host out."""
        deadline = self._clock.monotonic() + LOCK
        while not await self._ask(lambda database: _lock_pair(database, self._incarnation)):
            if self._clock.monotonic() > deadline:
                raise TimeoutError("another host does not let go of the token pair")
            await self._clock.sleep(LOCK_RETRY)
        try:
            yield
        finally:
            await self._ask(lambda database: _unlock_pair(database, self._incarnation))

    async def load(self) -> Pair | None:
        """The stored pair; None when there is none. Raises ValueError for one that cannot be read."""
        text = await self._ask(lambda database: database.execute("SELECT pair FROM shared").fetchone()[0])
        return None if text is None else parsed_pair(parsed_json(text))

    async def store(self, pair: Pair) -> None:
        """Replace the stored pair. Once this returns, it survives a power cut."""
        text = json.dumps(written(pair))
        await self._ask(lambda database: database.execute("UPDATE shared SET pair = ?", (text,)).rowcount)

    async def _ask(self, work: Callable[[HostChanges], Any]) -> Any:
        try:
            return await self._store.ask(work)
        except DatabaseAway as error:
            raise OSError(str(error)) from error


def _lock_pair(database: HostChanges, incarnation: str) -> bool:
    return bool(
        database.execute(
            "UPDATE shared SET pair_by = ?, pair_until = epoch_now() + ? "
            "WHERE pair_until < epoch_now() OR pair_by = ? "
            "OR pair_by NOT IN (SELECT incarnation FROM hosts WHERE dead = 0)",
            (incarnation, LOCK, incarnation),
        ).rowcount
    )


def _unlock_pair(database: HostChanges, incarnation: str) -> int:
    return database.execute("UPDATE shared SET pair_until = 0 WHERE pair_by = ?", (incarnation,)).rowcount
