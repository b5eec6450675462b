"""Anything may happen in any order: files, faults, crashes, clocks. What is promised holds after every step.

`EXPANDD_MODEL=1000x60 pytest tests/engine/test_model.py` runs more and longer examples.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from expandd.domain.answers import Announcement
from expandd.domain.errors import (
    AccountAway,
    Fault,
    FaultCode,
    FileFault,
    GateReason,
    ImageIdRefused,
    Later,
    LinkDead,
    OutcomeUnknown,
)
from expandd.domain.events import BugFound
from tests.engine.conftest import MEMORY
from tests.support.fake_api import Fate, Lose, Outcome, Refuse, Slow
from tests.support.fakes import picture, size_of
from tests.support.workshop import Workshop

EXAMPLES, STEPS = (int(part) for part in os.environ.get("EXPANDD_MODEL", "100x40").split("x"))

UNKNOWN_WAIT = 64.0
YEAR = 365 * 86400.0
NAMES = ("a.png", "b.png", "c.png")

UNREACHABLE = AccountAway(GateReason.UNREACHABLE, "no route to host")
SLOWED = AccountAway(GateReason.SLOWED, "429", 20.0)
LOST = OutcomeUnknown("the connection was reset")
REFUSED = FileFault(Fault(FaultCode.REFUSED_BY_API, "The service refused this picture.", "Save it again."))

FAULTS: dict[str, tuple[Outcome, ...]] = {
    "upload": (Refuse(UNREACHABLE), Refuse(SLOWED), Lose(UNREACHABLE), Refuse(REFUSED), Slow(20.0)),
    "generate": (
        Refuse(UNREACHABLE),
        Refuse(SLOWED),
        Refuse(LOST),
        Lose(LOST),
        Refuse(AccountAway(GateReason.CREDITS, "402")),
        Refuse(ImageIdRefused("405")),
        Refuse(REFUSED),
        Slow(20.0),
    ),
    "notifications": (Refuse(UNREACHABLE), Refuse(SLOWED), Lose(UNREACHABLE), Slow(20.0)),
    "download": (Refuse(LinkDead("404")), Refuse(Later("reset")), Lose(Later("cut short")), Slow(20.0)),
    "delete": (Refuse(UNREACHABLE), Refuse(Later("400")), Lose(UNREACHABLE), Slow(20.0)),
    "history": (Refuse(UNREACHABLE), Refuse(SLOWED), Lose(UNREACHABLE)),
    "account": (Refuse(UNREACHABLE),),
}

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


class World(RuleBasedStateMachine):
    """A workshop, and what a person who watches it from outside knows of every file."""

    def __init__(self) -> None:
        super().__init__()
        self.ground = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.runner = asyncio.Runner()
        self.shop = Workshop(self.ground, workers=2)
        self.shop.settings = replace(
            self.shop.settings, api=replace(self.shop.settings.api, unknown_wait=UNKNOWN_WAIT)
        )
        # Each write gives way once, so that a crash can come in between.
        self.shop.journal.clock = self.shop.clock
        self.hot = self.shop.hot[0]
        self.files: set[bytes] = set()
        """The content of each file that was dropped and not taken away again by a person; no two are the same."""
        self.retries: Counter[bytes] = Counter()
        self.results: dict[Path, bytes] = {}
        self.results_ever = 0
        self.foreign: set[int] = set()
        self.number = 0
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

    @rule(name=st.sampled_from(NAMES), heard=st.booleans(), way=st.sampled_from(("written", "renamed", "partial")))
    def drop(self, name: str, *, heard: bool, way: str) -> None:
        """Drop a file, over one of that name that still lies there, if it does: that one is gone by the person's own
        doing."""
        content = self._content()
        path = self.hot.inbox / name
        if path.exists():
            self.files.discard(path.read_bytes())
        self.files.add(content[:-6] if way == "partial" else content)
        if way == "renamed":
            staged = self.ground / "staged"
            self._write(staged, content)
            staged.rename(path)
        else:
            self._write(path, content[:-6] if way == "partial" else content)
        if heard:
            self.shop.watcher.hint(path)

    @rule(heard=st.booleans())
    def complete(self, *, heard: bool) -> None:
        """The slow writers are through, those whose files were not given up meanwhile."""
        for path in self._in(self.hot.inbox):
            before = path.read_bytes()
            if before in self.files and size_of(before) is None:
                self._rewrite(path, before, before + b"whole\n")
                if heard:
                    self.shop.watcher.hint(path)

    @rule(which=st.integers(0, 9))
    def write_into(self, which: int) -> None:
        """A program that has the file open writes into it, wherever it lies by now."""
        lying = [*self._in(self.hot.inbox), *self._in(self.hot.work)]
        found = [path for path in lying if path.read_bytes() in self.files and size_of(path.read_bytes())]
        if found:
            path = found[which % len(found)]
            self._rewrite(path, path.read_bytes(), self._content())

    @rule(which=st.integers(0, 9))
    def delete(self, which: int) -> None:
        lying = self._in(self.hot.inbox)
        if lying:
            self.files.discard(lying[which % len(lying)].read_bytes())
            lying[which % len(lying)].unlink()

    @rule(which=st.integers(0, 9))
    def retry(self, which: int) -> None:
        """Move a file from the error folder back into the inbox."""
        lying = [path for path in self._in(self.hot.error) if path.read_bytes() in self.files]
        if lying:
            path = lying[which % len(lying)]
            target = self.hot.inbox / path.name
            if not target.exists():
                self.retries[path.read_bytes()] += 1
                path.rename(target)
                self.shop.watcher.hint(target)

    @rule(which=st.integers(0, 9))
    def take_result(self, which: int) -> None:
        self._look_at_results()
        lying = self._in(self.hot.outbox)
        if lying:
            del self.results[lying[which % len(lying)]]
            lying[which % len(lying)].unlink()

    @rule()
    @precondition(lambda self: self.hot.outbox.exists())
    def unmount_outbox(self) -> None:
        self._look_at_results()
        self.hot.outbox.rename(self.ground / "unmounted")

    @rule()
    @precondition(lambda self: not self.hot.outbox.exists())
    def mount_outbox(self) -> None:
        (self.ground / "unmounted").rename(self.hot.outbox)

    # --- what the service does ---

    @rule(data=st.data(), endpoint=st.sampled_from(tuple(FAULTS)))
    def spoil(self, data: st.DataObject, endpoint: str) -> None:
        self.shop.api.script(endpoint, *data.draw(st.lists(st.sampled_from(FAULTS[endpoint]), min_size=1, max_size=4)))

    @rule(endpoint=st.sampled_from((*FAULTS, "*")))
    def go_away(self, endpoint: str) -> None:
        self.shop.api.away[endpoint] = LOST if endpoint == "generate" else UNREACHABLE

    @rule()
    @precondition(lambda self: self.shop.api.away)
    def come_back(self) -> None:
        self.shop.api.away.clear()

    @rule(fate=st.sampled_from(FATES))
    def decide_fate(self, fate: Fate) -> None:
        self.shop.api.fate = fate

    @rule(credits_left=st.sampled_from((0, 1, None)))
    def set_credits(self, credits_left: int | None) -> None:
        self.shop.api.credits = credits_left

    @rule(answers=st.booleans())
    def let_history(self, *, answers: bool) -> None:
        self.shop.api.history_answers = answers

    @rule(named=st.booleans(), kind=st.sampled_from((Announcement.RESULT, Announcement.ERROR)))
    def tell_of_a_stranger(self, kind: Announcement, *, named: bool) -> None:
        image_id = f"stranger-{len(self.foreign)}" if named or kind is Announcement.RESULT else ""
        number = self.shop.api.announce(kind, owner="a stranger", image_id=image_id, link="https://links.example/else")
        self.foreign.add(number)

    # --- what befalls the process ---

    @rule(rounds=st.integers(0, 300), seconds=st.sampled_from((0.0, 0.0, 2.0, 70.0, 700.0)))
    def crash(self, rounds: int, seconds: float) -> None:
        """Die after so many rounds of the loop, in the middle of whatever is under way; come back after a while."""

        async def die() -> None:
            passing = asyncio.create_task(self.shop.clock.advance(30.0))
            for _ in range(rounds):
                await asyncio.sleep(0)
            passing.cancel()
            # The dead write nothing: what a cancelled step tries on its way out does not reach the journal.
            self.shop.journal.away = True
            await self.shop.crash()
            self.shop.journal.away = False
            await self.shop.clock.advance(seconds)

        self.run(die)
        self.start()

    @rule(lies=st.booleans(), ahead=st.integers(1, 4))
    def fail_a_write(self, ahead: int, *, lies: bool) -> None:
        journal = self.shop.journal
        (journal.lies if lies else journal.fails).add(journal.writes + ahead)

    @rule(years=st.sampled_from((-30, -1, 1, 30)))
    def step_wall(self, years: int) -> None:
        self.shop.clock.step_wall(years * YEAR)

    @rule(seconds=st.sampled_from((0.125, 0.25, 1.0, 3.0, 3.0, 10.0, 10.0, 30.0, 70.0)))
    def wait(self, seconds: float) -> None:
        self.run(self.shop.advance, seconds)

    @rule()
    def wait_until_notifications_expire(self) -> None:
        self.run(self.shop.advance, 610.0)

    # --- what must be so ---

    @invariant()
    def no_bug_was_met(self) -> None:
        for event in self.shop.recorder.of(BugFound):
            raise event.error

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        paid = self.shop.api.paid
        assert max(Counter(one.image_id for one in paid).values(), default=0) <= 1
        by_file = Counter(self.shop.api.images[one.image_id].content for one in paid)
        assert all(times <= 1 + self.retries[content] for content, times in by_file.items())

    @invariant()
    def every_file_is_in_exactly_one_place(self) -> None:
        places = (self.hot.inbox, self.hot.work, self.hot.done, self.hot.error)
        found = Counter(path.read_bytes() for place in places for path in self._in(place))
        assert {content: found[content] for content in self.files} == dict.fromkeys(self.files, 1)

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
                self.results_ever += path not in self.results
                self.results.setdefault(path, path.read_bytes())

    async def _come_to_rest(self) -> None:
        """All is well again, and there is time: every file is answered."""
        api = self.shop.api
        api.heal()
        api.credits, api.history_answers, api.fate = None, True, Fate()
        self.shop.journal.fails.clear()
        self.shop.journal.lies.clear()
        if not self.hot.outbox.exists():
            self.mount_outbox()
        self.complete(heard=True)
        with contextlib.suppress(AssertionError):
            await self.shop.until(self._is_at_rest, within=3 * 3600.0)
        left = {(job.state.value, job.held, str(job.relative), job.note) for job in self.shop.engine.jobs if not job.held}
        assert left == set()
        assert [path.name for path in self._in(self.hot.inbox)] == []
        for check in (self.no_bug_was_met, self.nothing_is_paid_twice, self.every_file_is_in_exactly_one_place):
            check()
        self.the_outbox_shows_whole_results_and_keeps_them()
        assert self.results_ever == len(self._in(self.hot.done)), "one result for each original in done"

    def _is_at_rest(self) -> bool:
        return not self._in(self.hot.inbox) and all(job.held for job in self.shop.engine.jobs)

    # --- helpers ---

    def start(self) -> None:
        self.run(self.shop.start)

    def _content(self) -> bytes:
        self.number += 1
        return picture(note=f"{self.number:06d} whole"[:12])

    def _rewrite(self, path: Path, before: bytes, after: bytes) -> None:
        self.files.discard(before)
        self.files.add(after)
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
    suppress_health_check=list(HealthCheck),
)
test_whatever_happens_in_whatever_order = World.TestCase
