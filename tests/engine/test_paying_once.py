"""Lost answers, restarts, backups that come back and people's words in any command: no file is ever paid for twice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expandd.domain.commands import Command, Verb
from expandd.domain.errors import AccountAway, OutcomeUnknown
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from tests.engine.conftest import MEMORY
from tests.support.examples import examples
from tests.support.fake_api import Fate, Lose, Refuse
from tests.support.fakes import MemoryJobStore
from tests.support.workshop import HOUR, Workshop

LOST = OutcomeUnknown("the connection was reset")
ENDS = (Lose(LOST), Lose(LOST), Refuse(LOST), Refuse(AccountAway(PauseReason.NO_CREDITS, "402")))

# As long as a result comes within the wait, or within what others have taken before, nobody needs to guess.
FATES = (Fate(seconds=5.0), Fate(seconds=50.0), Fate(seconds=30.0, announced=0), Fate(seconds=9.0, error="no luck"))

STEPS = st.one_of(
    st.tuples(st.just("drop"), st.integers(1, 3)),
    st.tuples(st.just("end"), st.sampled_from(ENDS)),
    st.tuples(st.just("fate"), st.sampled_from(FATES)),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 3.0, 6.0, 30.0, 100.0))),
    st.tuples(st.just("crash"), st.sampled_from((0.0, 70.0, 700.0))),
    st.tuples(st.just("back up"), st.none()),
    st.tuples(st.just("restore"), st.sampled_from((0.0, 70.0))),
    st.tuples(st.just("lose the store"), st.none()),
    st.tuples(st.just("say what is so"), st.none()),
    st.tuples(st.just("silence"), st.booleans()),
)


class Money:
    """A workshop, the backups of its job database, and how often what was done to it."""

    def __init__(self, ground: Path) -> None:
        self.shop = Workshop(ground, workers=3)
        self.backup = dict(self.shop.store.rows)
        self.names: list[str] = []
        self.whole = True
        """Whether the job database has never been older than the work."""
        self._commands = 0

    async def do(self, what: str, how: object) -> None:
        match what, how:
            case "drop", int(number):
                for _ in range(number):
                    self.names.append(f"{len(self.names):02d}.png")
                    self.shop.drop(self.names[-1])
            case "end", (Lose() | Refuse()) as outcome:
                self.shop.api.script("generate", outcome)
            case "fate", Fate() as fate:
                self.shop.api.fate = fate
            case "silence", bool(silent):
                self.shop.api.history_answers = not silent
            case "say what is so", _:
                self.say_what_is_so()
            case _:
                await self._befall(what, how)

    async def _befall(self, what: str, how: object) -> None:
        match what, how:
            case "wait", float(seconds):
                await self.shop.advance(seconds)
            case "crash", float(seconds):
                await self._restart(seconds)
            case "back up", _:
                self.backup = dict(self.shop.store.rows)
            case "restore", float(seconds):
                await self._restart(seconds, MemoryJobStore(*self.backup.values()))
            case "lose the store", _:
                await self._restart(0.0, MemoryJobStore())

    async def _restart(self, seconds: float, store: MemoryJobStore | None = None) -> None:
        await self.shop.crash()
        await self.shop.advance(seconds)
        if store is not None:
            self.whole = False
            self.shop.store = store
        self.shop.start()

    def say_what_is_so(self) -> None:
        """A person looks up what nobody can tell."""
        paid = {one.image_id for one in self.shop.api.paid}
        for job in self.shop.engine.jobs:
            if job.held and job.state is JobState.UNKNOWN:
                self._commands += 1
                verb = Verb.PAID if job.image_id in paid else Verb.NOT_PAID
                self.shop.store.requests.append(Command(verb=verb, at=0.0, job_id=job.id, number=self._commands))

    async def come_to_rest(self) -> None:
        self.shop.api.heal()
        self.shop.api.history_answers = True
        self.shop.api.fate = Fate(seconds=5.0)
        for _ in range(6):
            await self.shop.advance(HOUR / 6)
            self.say_what_is_so()
        await self.shop.advance(60.0)

    def check(self) -> None:
        api = self.shop.api
        twice = [name for name in self.names if len(api.paid_for(name)) > 1]
        assert twice == []
        rows = self.shop.store.rows.values()
        assert all(sum(payment.counts for payment in job.payments) <= 1 for job in rows)
        counted = {job.image_id for job in rows if any(payment.counts for payment in job.payments)}
        if self.whole:
            assert {one.image_id for one in api.paid} <= counted


@settings(
    max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(steps=st.lists(STEPS, min_size=3, max_size=12))
def test_no_file_is_paid_for_twice_and_every_payment_is_counted(steps: list[tuple[str, object]]) -> None:
    ground = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))

    async def history() -> None:
        money = Money(ground)
        money.shop.start()
        try:
            for what, how in steps:
                await money.do(what, how)
                money.check()
            await money.come_to_rest()
            money.check()
            paid = {money.shop.api.images[one.image_id].name for one in money.shop.api.paid}
            assert paid == set(money.names), "what was dropped is paid for, once"
        finally:
            await money.shop.close()

    try:
        asyncio.run(history())
    finally:
        shutil.rmtree(ground)
