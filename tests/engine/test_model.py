"""Anything may happen in any order: files, faults, crashes, clocks, commands. What is promised holds after each step.

`EXPANDD_STORM=1` runs more and longer examples, `EXPANDD_MODEL=1000x60` as many and as long ones as it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from expandd.domain.api_types import Announcement
from expandd.domain.commands import Command, Verb
from expandd.domain.errors import (
    AccountAway,
    DatabaseAway,
    Fault,
    FaultCode,
    FileFault,
    ImageIdRefused,
    Later,
    LinkDead,
    OutcomeUnknown,
)
from expandd.domain.events import BugFound, JobHeld
from expandd.domain.job import AWAITING_RESULT, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import NO_LIMIT, Budget, Burst, Duplicates, HotFolder
from tests.engine.conftest import MEMORY
from tests.support.examples import examples
from tests.support.fake_api import Fate, Lose, Outcome, Refuse, Slow
from tests.support.fakes import MemoryJobStore, an_image, size_of
from tests.support.workshop import Workshop

USUAL = "1000x60" if os.environ.get("EXPANDD_STORM") else f"{examples(25)}x40"
EXAMPLES, STEPS = (int(part) for part in os.environ.get("EXPANDD_MODEL", USUAL).split("x"))

YEAR = 365 * 86400.0
NAMES = ("a.png", "b.png", "c.png")
WAYS = ("written", "written", "renamed", "in part")
REST = b"whole\n"
"""What the slow writer has not written yet."""

HEARD = st.booleans()
"""Whether the watcher tells of it."""

UNREACHABLE = AccountAway(PauseReason.API_UNREACHABLE, "no route to host")
SLOWED = AccountAway(PauseReason.RATE_LIMITED, "429", 20.0)
LOST = OutcomeUnknown("the connection was reset")
REFUSED = FileFault(Fault(FaultCode.REFUSED_BY_API, "The API refused this image.", "Save it again."))

UNREACHABLE_FOR_A_MOMENT = (Refuse(UNREACHABLE), Refuse(SLOWED), Lose(UNREACHABLE), Slow(20.0))
OUTCOMES: dict[str, tuple[Outcome, ...]] = {
    "upload": (*UNREACHABLE_FOR_A_MOMENT, Refuse(REFUSED)),
    "generate": (
        Refuse(UNREACHABLE),
        Refuse(SLOWED),
        Refuse(LOST),
        Lose(LOST),
        Refuse(AccountAway(PauseReason.NO_CREDITS, "402")),
        Refuse(ImageIdRefused("405")),
        Refuse(REFUSED),
        Slow(20.0),
    ),
    "notifications": UNREACHABLE_FOR_A_MOMENT,
    "download": (Refuse(LinkDead("404")), Refuse(Later("reset")), Lose(Later("cut short")), Slow(20.0)),
    "delete": (*UNREACHABLE_FOR_A_MOMENT, Refuse(Later("400"))),
    "history": UNREACHABLE_FOR_A_MOMENT,
    "account": (Refuse(UNREACHABLE),),
}
ABSENT = st.sampled_from((0.0, 0.0, 2.0, 70.0, 700.0))
"""Seconds until a dead process is started again."""

FAULTS = [(endpoint, outcome) for endpoint, outcomes in OUTCOMES.items() for outcome in outcomes]

# A result always comes within the wait for unknown ones, and /history always knows it in the end: where both are not
# so, nobody could tell a job that was never made from one that is late, and the setting says how long to wait.
FATES = (
    Fate(seconds=1.0),
    Fate(seconds=30.0),
    Fate(announced=0),
    Fate(announced=2),
    Fate(error="no luck", nameless=False),
    Fate(error="no luck"),
    Fate(error_too="an error beside the result"),
    Fate(by_task=True),
)


BUDGETS = (
    (NO_LIMIT,),
    (NO_LIMIT,),
    (Budget(day=1), Budget(day=2), Budget(day=3)),
    (Budget(day=1, month=2), Budget(day=2, month=3)),
)
"""Those among which one example chooses: none lets more be paid for than the last."""

BURSTS = st.sampled_from((None, None, Burst(files=2, within=30.0)))
ABOUT = st.sampled_from(("all", "folder", "file", "job"))
STEERING = st.sampled_from((Verb.RETRY, Verb.CANCEL, Verb.PAUSE, Verb.RESUME, Verb.RESUME, Verb.RELEASE, Verb.RELEASE))


class MortalStore(MemoryJobStore):
    """A job database at one of whose writes the process dies: nothing is written from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = False
        self._last = 0
        self._after = False
        self._kill: Callable[[], None] = lambda: None

    def doom(self, number: int, kill: Callable[[], None], *, after: bool) -> None:
        self._last, self._kill, self._after = number, kill, after

    def revive(self) -> None:
        self.dead = self.away = False
        self._last = 0

    async def _write(self) -> int:
        number = await super()._write()
        if not self._after:
            self._die_at(number)
        return number

    def _lie(self, number: int) -> None:
        super()._lie(number)
        if self._after:
            self._die_at(number)

    def _die_at(self, number: int) -> None:
        if number == self._last:
            self.dead = self.away = True
            self._kill()
            raise DatabaseAway("the process is dead")


class World(RuleBasedStateMachine):
    """A workshop, and what a person who watches it from outside knows of every file."""

    def __init__(self) -> None:
        super().__init__()
        self.ground = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.runner = asyncio.Runner()
        self.shop = Workshop(self.ground, workers=2)
        self.shop.store = self.store = MortalStore()
        # Each write gives way once, so that others come in between.
        self.store.clock = self.shop.clock
        self.hot = self.shop.hot[0]
        self.files: Counter[bytes] = Counter()
        """How many files of each content were dropped and not taken away again by a person."""
        self.drops: Counter[bytes] = Counter()
        self.retries: Counter[bytes] = Counter()
        """How often a person has asked for another try, or for another result, of a file of this content."""
        self.budgets: tuple[Budget, ...] = (NO_LIMIT,)
        self.steady = True
        """Whether each duplicate is settled by an earlier result, as far as the folder's manners go."""
        self.results: dict[Path, bytes] = {}
        self.results_ever = 0
        self.taken = 0
        self.foreign: set[int] = set()
        self.number = 0

    @initialize(
        budgets=st.sampled_from(BUDGETS), duplicates=st.sampled_from(Duplicates), burst=BURSTS, sidecar=st.booleans()
    )
    def configure(
        self, budgets: tuple[Budget, ...], duplicates: Duplicates, burst: Burst | None, *, sidecar: bool
    ) -> None:
        self.budgets = budgets
        self.steady = duplicates is not Duplicates.EXPAND
        self._settle_for(replace(self.hot, budget=budgets[-1], duplicates=duplicates, burst=burst, sidecar=sidecar))
        self.start()

    def teardown(self) -> None:
        try:
            self.run(self._come_to_rest)
        finally:
            self.run(self.shop.crash)
            self.runner.close()
            shutil.rmtree(self.ground)

    def run(self, step: Callable[..., object], *arguments: object) -> None:
        async def stepped() -> None:
            outcome = step(*arguments)
            if asyncio.iscoroutine(outcome):
                await outcome

        self.runner.run(stepped())

    # --- what people do with files ---

    @rule(drops=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(WAYS)), min_size=1, max_size=3), heard=HEARD)
    def drop(self, drops: list[tuple[str, str]], *, heard: bool) -> None:
        for name, way in drops:
            self._drop(name, way, heard=heard)

    @rule(name=st.sampled_from(NAMES), seconds=st.sampled_from((2.5, 3.0, 6.0, 20.0)))
    def drop_and_wait(self, name: str, seconds: float) -> None:
        self._drop(name, "written", heard=True)
        self.wait(seconds)

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 9), heard=HEARD)
    def drop_a_copy(self, name: str, which: int, *, heard: bool) -> None:
        """The same bytes once more."""
        known = [content for content in self.drops if size_of(content) is not None]
        if known:
            self._drop(name, "written", heard=heard, content=known[which % len(known)])

    @rule(heard=HEARD)
    def complete(self, *, heard: bool) -> None:
        """The slow writers are through, those whose files were not given up meanwhile."""
        for path in self._in(self.hot.inbox):
            before = path.read_bytes()
            if self.files[before] and size_of(before) is None:
                self._rewrite(path, before, before + REST)
                if heard:
                    self.shop.watcher.hint(path)

    @rule(which=st.integers(0, 9))
    def write_into(self, which: int) -> None:
        """A program that has the file open writes into it, wherever it lies by now."""
        lying = [*self._in(self.hot.inbox), *self._in(self.hot.work)]
        found = [path for path in lying if self.files[path.read_bytes()] and size_of(path.read_bytes())]
        if found:
            path = found[which % len(found)]
            self._rewrite(path, path.read_bytes(), self._content())

    @rule(action=st.sampled_from(("delete", "retry", "retry", "take a result")), which=st.integers(0, 9))
    def meddle(self, action: str, which: int) -> None:
        self._look_at_results()
        place = {"delete": self.hot.inbox, "retry": self.hot.error, "take a result": self.hot.outbox}[action]
        lying = [path for path in self._in(place) if not path.name.endswith(".json")]
        if not lying:
            return
        path = lying[which % len(lying)]
        if action == "retry":
            self._retry(path)
            return
        self._forget(path.read_bytes())
        self.taken += self.results.pop(path, None) is not None
        path.unlink()

    @rule(verb=STEERING, about=ABOUT, which=st.integers(0, 9))
    def steer(self, verb: Verb, about: str, which: int) -> None:
        if about == "job":
            jobs = list(self.store.rows.values())
            if jobs and verb in {Verb.RETRY, Verb.CANCEL}:
                self._command(verb, job_id=jobs[which % len(jobs)].id)
        elif about == "file" and verb is not Verb.RETRY:
            self._command(verb, inbox=self.hot.inbox, relative=Path(NAMES[which % len(NAMES)]))
        elif about == "folder":
            self._command(verb, inbox=self.hot.inbox)
        elif about == "all":
            self._command(verb)

    @rule(which=st.integers(0, 9))
    def redo(self, which: int) -> None:
        over = [job for job in self.store.rows.values() if job.closed and job.archived_to and job.archived_to.exists()]
        if over:
            self._command(Verb.REDO, job_id=over[which % len(over)].id)

    @rule()
    def resolve(self) -> None:
        """A person finds out what nobody can tell."""
        paid = {one.image_id for one in self.shop.api.paid}
        for job in self.shop.engine.jobs:
            if job.held and job.state is JobState.UNKNOWN:
                self._command(Verb.PAID if job.image_id in paid else Verb.NOT_PAID, job_id=job.id)

    @rule(there=st.booleans(), heard=HEARD)
    def put_a_pause_file(self, *, there: bool, heard: bool) -> None:
        path = self.hot.inbox / "PAUSE"
        if there:
            path.touch()
        else:
            path.unlink(missing_ok=True)
        if heard:
            self.shop.watcher.hint(path)

    @rule(which=st.integers(0, 2), duplicates=st.sampled_from(Duplicates), burst=BURSTS, served=st.booleans())
    def reload(self, which: int, duplicates: Duplicates, burst: Burst | None, *, served: bool) -> None:
        """Another budget, other manners; the folder may be left out for a moment."""
        budget = self.budgets[which % len(self.budgets)]
        self.steady = self.steady and duplicates is self.hot.duplicates
        hot = replace(self.hot, budget=budget, duplicates=duplicates, burst=burst)

        async def reloaded() -> None:
            if not served:
                self.shop.engine.reconfigure(replace(self.shop.settings, folders=()))
                await self.shop.advance(1.0)
            self._settle_for(hot)
            self.shop.engine.reconfigure(self.shop.settings)

        self.run(reloaded)

    @rule()
    def damage_what_is_kept(self) -> None:
        self.steady = False
        for kept in self.ground.glob("spool/kept-*"):
            kept.write_bytes(b"damaged")

    # --- what the API and the world do ---

    @rule(faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4))
    def spoil(self, faults: list[tuple[str, Outcome]]) -> None:
        """How the next calls end."""
        for endpoint, outcome in faults:
            self.shop.api.script(endpoint, outcome)

    @rule(fate=st.sampled_from(FATES))
    def decide_fate(self, fate: Fate) -> None:
        self.shop.api.fate = fate

    @rule(
        what=st.sampled_from(("service", "generate", "history", "download", "delete", "silence", "credits", "outbox")),
        gone=st.booleans(),
    )
    def change_the_world(self, what: str, *, gone: bool) -> None:
        api = self.shop.api
        if what == "outbox":
            self._mount(gone=gone)
        elif what == "credits":
            api.credits = 0 if gone else None
        elif what == "silence":
            api.history_answers = not gone
        elif gone:
            api.away["*" if what == "service" else what] = LOST if what == "generate" else UNREACHABLE
        else:
            api.away.clear()

    @rule(named=st.booleans(), kind=st.sampled_from((Announcement.RESULT, Announcement.ERROR)))
    def tell_of_a_stranger(self, kind: Announcement, *, named: bool) -> None:
        image_id = f"stranger-{len(self.foreign)}" if named or kind is Announcement.RESULT else ""
        number = self.shop.api.announce(kind, owner="a stranger", image_id=image_id, link="https://links.example/else")
        self.foreign.add(number)

    # --- what befalls the process ---

    @rule(absent=ABSENT)
    def crash(self, absent: float) -> None:
        """Die in the middle of whatever is under way; come back after a while."""
        self._die(self.shop.clock.settle, absent)

    @rule(endpoint=st.sampled_from(tuple(OUTCOMES)), absent=ABSENT, name=st.sampled_from(NAMES))
    def crash_in_a_call(self, endpoint: str, absent: float, name: str) -> None:
        """Die when the next call of this kind has done its work and its answer is on the way."""
        self._drop(name, "written", heard=True)
        seen = len(self.shop.api.called(endpoint))
        self._die(lambda: self._until(lambda: len(self.shop.api.called(endpoint)) > seen), absent)

    @rule(writes=st.integers(1, 12), after=st.booleans(), absent=ABSENT, name=st.sampled_from(NAMES))
    def crash_at_a_write(self, writes: int, absent: float, name: str, *, after: bool) -> None:
        """Die just before or just after the job database's so many-eth write from now."""
        self._drop(name, "renamed", heard=True)
        self.store.doom(self.store.writes + writes, self.shop.kill, after=after)
        self._die(lambda: self._until(lambda: self.store.dead), absent)

    @rule(lies=st.booleans(), ahead=st.integers(1, 4))
    def fail_a_write(self, ahead: int, *, lies: bool) -> None:
        store = self.store
        (store.lies if lies else store.fails).add(store.writes + ahead)

    @rule(years=st.sampled_from((-30, -1, 1, 30)))
    def step_wall(self, years: int) -> None:
        self.shop.clock.step_wall(years * YEAR)

    @rule(seconds=st.sampled_from((0.125, 0.25, 1.0, 3.0, 10.0, 30.0, 70.0)))
    def wait(self, seconds: float) -> None:
        self.run(self.shop.advance, seconds)

    @rule(seconds=st.sampled_from((3.0, 10.0, 30.0, 70.0, 610.0)))
    def wait_long(self, seconds: float) -> None:
        """Up to where notifications have expired."""
        self.run(self.shop.advance, seconds)

    # --- what must be so ---

    @invariant()
    def no_bug_was_met(self) -> None:
        for event in self.shop.recorder.of(BugFound):
            raise event.error

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        # A job that failed at the API is told of once, and /history has nothing of it: where that word and the
        # paid call's answer are both lost, it is the same as one that never was.
        paid = [one for one in self.shop.api.paid if not one.fate.error]
        assert max(Counter(one.image_id for one in paid).values(), default=0) <= 1
        by_file = Counter(self.shop.api.images[one.image_id].content for one in paid)
        # Nobody waits for a job that is held: it may be for ever.
        once = self.steady and not self.shop.recorder.of(JobHeld)
        drops = {content: min(self.drops[content], 1) if once else self.drops[content] for content in by_file}
        assert all(times <= drops[content] + self.retries[content] for content, times in by_file.items())

    @invariant()
    def nothing_is_paid_beyond_the_budget(self) -> None:
        most = self.budgets[-1]
        paid = {one.image_id for one in self.shop.api.paid if not one.fate.error}
        at = [job.spent_at for job in self.store.rows.values() if job.image_id in paid]
        assert None not in at, "what is paid for counts"
        days = [datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d") for instant in at if instant is not None]
        by_day, by_month = Counter(days), Counter(day[:7] for day in days)
        assert most.day is None or max(by_day.values(), default=0) <= most.day
        assert most.month is None or max(by_month.values(), default=0) <= most.month

    @invariant()
    def every_file_is_in_exactly_one_place(self) -> None:
        places = (self.hot.inbox, self.hot.work, self.hot.done, self.hot.error)
        found = Counter(path.read_bytes() for place in places for path in self._in(place))
        known = +self.files
        assert {content: found[content] for content in known} == known

    @invariant()
    def the_outbox_shows_whole_results_and_keeps_them(self) -> None:
        self._look_at_results()
        for path, content in self.results.items():
            if self.hot.outbox.exists():
                assert path.read_bytes() == content, "a result was overwritten"
            assert size_of(content) is not None, "a result is not whole"

    @invariant()
    def strangers_keep_their_notifications(self) -> None:
        assert not self.foreign.intersection(self.shop.api.deleted)

    def _look_at_results(self) -> None:
        if self.hot.outbox.exists():
            for path in self._in(self.hot.outbox):
                if path.name.endswith(".json"):
                    continue
                self.results_ever += path not in self.results
                self.results.setdefault(path, path.read_bytes())

    async def _come_to_rest(self) -> None:
        """All is well again, and there is time: every file is answered."""
        api = self.shop.api
        api.heal()
        api.credits, api.history_answers, api.fate = None, True, Fate()
        self.store.fails.clear()
        self.store.lies.clear()
        self._mount(gone=False)
        (self.hot.inbox / "PAUSE").unlink(missing_ok=True)
        self._settle_for(replace(self.hot, budget=NO_LIMIT, burst=None))
        self.shop.engine.reconfigure(self.shop.settings)
        self._command(Verb.RESUME)
        self._command(Verb.RELEASE)
        self.complete(heard=True)
        with contextlib.suppress(AssertionError):
            await self.shop.until(self._is_at_rest, within=3 * 3600.0)
        left = {(job.state.value, str(job.relative), job.note) for job in self.shop.engine.jobs if self._must_end(job)}
        assert left == set()
        assert self._slots_are_stuck() or self._in(self.hot.inbox) == []
        for check in (self.no_bug_was_met, self.nothing_is_paid_twice, self.every_file_is_in_exactly_one_place):
            check()
        self.the_outbox_shows_whole_results_and_keeps_them()
        assert self.store.requests == [], "every command was carried out"
        # One that is taken before the process could write down that it was there, and dies, is put there once more.
        done = [job for job in self.store.rows.values() if job.state is JobState.DONE]
        delivered = sum(job.target is not None for job in done)
        assert delivered <= self.results_ever <= delivered + self.taken, "one result for each job that has one"
        assert all(bool(job.reused_from) is (job.image_id not in self._paid_for(done)) for job in done), (
            "paid, or a duplicate was"
        )

    def _paid_for(self, jobs: Sequence[Job]) -> set[str]:
        paid = {one.image_id for one in self.shop.api.paid}
        return {job.image_id for job in jobs if job.image_id in paid}

    def _is_at_rest(self) -> bool:
        if self.store.requests or any(self._must_end(job) for job in self.shop.engine.jobs):
            return False
        return self._slots_are_stuck() or not self._in(self.hot.inbox)

    def _slots_are_stuck(self) -> bool:
        """Jobs whose error nobody told keep their slots until they are held, for a day: new files wait as long."""
        waiting = [job for job in self.shop.engine.jobs if job.state in AWAITING_RESULT and not job.held]
        return len(waiting) >= self.shop.settings.workers

    def _must_end(self, job: Job) -> bool:
        """Not one that waits for a person, or will in a day: an error is told once, and /history knows of none.

        An unknown one waits behind such a job for as long: it may stand behind it at the API, too.
        """
        waits = self._is_untold(job) or (job.state is JobState.UNKNOWN and self._untold_accepted())
        return not (job.held or waits)

    def _untold_accepted(self) -> bool:
        return any(self._is_untold(job) for job in self.shop.engine.jobs if job.state is JobState.ACCEPTED)

    def _is_untold(self, job: Job) -> bool:
        """Whether the API has failed at it, and expandd does not know and still waits."""
        failed = any(paid.image_id == job.image_id and paid.fate.error for paid in self.shop.api.paid)
        return failed and not job.held and job.state in AWAITING_RESULT

    # --- helpers ---

    def start(self) -> None:
        self.run(self.shop.start)

    def _settle_for(self, hot: HotFolder) -> None:
        self.hot = hot
        self.shop.settings = replace(self.shop.settings, folders=(hot,))

    def _command(self, verb: Verb, **about: Any) -> None:
        """Leave a command. What it may bring back may be paid for once more."""
        self.number += 1
        self.store.requests.append(Command(verb=verb, at=self.shop.clock.wall(), number=self.number, **about))
        if verb in {Verb.RETRY, Verb.REDO}:
            for path in (*self._in(self.hot.error), *self._in(self.hot.done), *self._in(self.hot.work)):
                self.retries[path.read_bytes()] += 1

    def _forget(self, content: bytes) -> None:
        """A person has taken a file of this content away."""
        self.files[content] -= self.files[content] > 0

    def _drop(self, name: str, way: str, *, heard: bool, content: bytes = b"") -> None:
        """One that still lies there under that name is gone by the person's own doing."""
        content = content or self._content()
        if way == "in part":
            content = content.removesuffix(REST)
        path = self.hot.inbox / name
        if path.exists():
            self._forget(path.read_bytes())
        self.files[content] += 1
        self.drops[content] += 1
        if way == "renamed":
            self._write(self.ground / "staged", content)
            (self.ground / "staged").rename(path)
        else:
            self._write(path, content)
        if heard:
            self.shop.watcher.hint(path)

    def _die(self, moment: Callable[[], Coroutine[object, object, None]], absent: float) -> None:
        async def die() -> None:
            await moment()
            # The dead write nothing: what a cancelled step tries on its way out does not reach the job database.
            self.store.away = True
            await self.shop.crash()
            self.store.revive()
            await self.shop.clock.advance(absent)

        self.run(die)
        self.start()

    async def _until(self, moment: Callable[[], bool]) -> None:
        """Until that moment, if it comes within a minute."""
        with contextlib.suppress(AssertionError):
            await self.shop.clock.until(moment, within=60.0)

    def _retry(self, failed: Path) -> None:
        """Move a file from the error folder back into the inbox."""
        target = self.hot.inbox / failed.name
        if not target.exists():
            self.retries[failed.read_bytes()] += 1
            failed.rename(target)
            self.shop.watcher.hint(target)

    def _mount(self, *, gone: bool) -> None:
        away = self.ground / "unmounted"
        if gone and not away.exists():
            self._look_at_results()
            self.hot.outbox.rename(away)
        elif not gone and away.exists():
            away.rename(self.hot.outbox)

    def _content(self) -> bytes:
        self.number += 1
        return an_image(note=f"{self.number:06d} {REST.decode().strip()}")

    def _rewrite(self, path: Path, before: bytes, after: bytes) -> None:
        self._forget(before)
        self.files[after] += 1
        self.drops[after] += 1
        self._write(path, after)

    def _write(self, path: Path, content: bytes) -> None:
        """In place, at a time of its own: this test is faster than the ticks of a file system's clock."""
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(content)
            file.truncate()
        self.number += 1
        os.utime(path, ns=(self.number * 10**9,) * 2)

    @staticmethod
    def _in(directory: Path) -> list[Path]:
        """The visible files below a directory; of an inbox without those in its work folder."""
        return sorted(
            Path(root) / name
            for root, _, names in os.walk(directory)
            for name in names
            if not name.startswith(".") and ("/.expandd" not in root or directory.name == ".expandd")
        )


World.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
# Long enough to shrink what fails.
test_whatever_happens_in_whatever_command = pytest.mark.timeout(900)(World.TestCase)
