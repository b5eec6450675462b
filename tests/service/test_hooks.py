"""Who is told of what, in which command, and what it costs the work when nobody listens: nothing."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.errors import Fault, FaultCode
from expandd.domain.events import Event, Facts, HookFailed, HookName, JobClosed, JobMoved, PauseEnded, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Hook, Hooks
from expandd.service.observability.hooks import GIVE_UP, TRIES, HookRunner, facts_of, hook_of, telling
from expandd.service.observability.logs import set_up
from tests.support.fakes import FixedRandomness
from tests.support.jobs import a_job_in
from tests.support.manual_clock import START, ManualClock
from tests.support.scripted_server import ScriptedServer, answer

COMMAND = Hook(command=("/usr/local/bin/tell",))
DONE = JobClosed(a_job_in(JobState.DONE))


def done(number: int) -> JobClosed:
    return JobClosed(a_job_in(JobState.DONE, relative=Path(f"pic-{number}.png")))


class PromptClock(ManualClock):
    """Sleeps at once and remembers for how long: time passes only in sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.suspend(seconds)
        await asyncio.sleep(0)


class Listener:
    """Hears what a hook is told; hangs, or fails, when a test says so."""

    def __init__(self) -> None:
        self.heard: list[tuple[Hook, str]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.error: Exception | None = None
        self.called = asyncio.Event()

    async def run(self, hook: Hook, facts: Facts) -> tuple[str, ...]:
        self.called.set()
        await self.free.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.heard.append((hook, facts.about))
        return ()

    @property
    def names(self) -> list[str]:
        return [about for _, about in self.heard]


class Bench:
    """A teller with its hooks, its log and a listener."""

    def __init__(self, hooks: Hooks, *, most: int = 1000, **parts: Any) -> None:
        self.hooks = hooks
        self.log = io.StringIO()
        self.clock = PromptClock()
        self.listener = Listener()
        self.hook_runner = HookRunner(
            set_up(self.log, pretty=False),
            lambda: self.hooks,
            clock=self.clock,
            randomness=FixedRandomness(),
            most=most,
            **{"run": self.listener.run, **parts},
        )

    def lines(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


# --- what is told ---


@pytest.mark.parametrize(
    ("event", "hook"),
    [
        (DONE, HookName.ON_DONE),
        (JobClosed(a_job_in(JobState.FAILED)), HookName.ON_ERROR),
        (JobClosed(a_job_in(JobState.RETURNED)), None),
        (JobMoved(a_job_in(JobState.DONE), JobState.DELIVERED), None),
        (PauseStarted("service", PauseReason.NO_CREDITS, "no credits"), HookName.ON_PAUSED),
        (PauseEnded("service", PauseReason.NO_CREDITS, 3.0), None),
    ],
)
def test_each_hook_has_its_events(event: Event, hook: HookName | None) -> None:
    assert hook_of(event) is hook


def test_an_original_that_was_removed_has_no_path() -> None:
    job = a_job_in(JobState.DONE, closed=True)
    removed = job.with_(archived_to=job.work_file)
    told = [json.loads(facts_of(HookName.ON_DONE, JobClosed(one), ident="1", now=START).json) for one in (job, removed)]

    assert told[0]["original_at"] == str(job.archived_to)
    assert "original_at" not in told[1]


def test_a_job_is_told_as_the_log_tells_it_and_without_its_link() -> None:
    job = a_job_in(JobState.DONE)
    facts = facts_of(HookName.ON_DONE, JobClosed(job), ident="id-1", now=START)
    told, environ = json.loads(facts.json), dict(facts.environ)

    assert (told["event"], told["id"], told["at"]) == ("done", "id-1", "2027-01-15T08:00:00+00:00")
    assert told["delivered_to"] == environ["EXPANDD_DELIVERED_TO"] == "/srv/hot/outbox/image.png"
    assert (told["offsets"]["top"], environ["EXPANDD_OFFSETS_TOP"]) == (10, "10")
    assert (told["paid"], environ["EXPANDD_PAID"]) == (True, "true")
    assert job.link
    assert "links.example" not in str(facts)


def test_a_failure_is_told_with_its_sentences() -> None:
    told = json.loads(facts_of(HookName.ON_ERROR, JobClosed(a_job_in(JobState.FAILED)), ident="1", now=START).json)

    assert (told["event"], told["code"]) == ("error", "refused_by_api")
    assert told["what_to_do"] == "Save it again and drop that."


@pytest.mark.parametrize("reason", PauseReason)
def test_a_pause_is_told_with_what_lifts_it(reason: PauseReason) -> None:
    event = PauseStarted("service", reason, "GET https://host/x?signature=abcdef failed")
    told = json.loads(facts_of(HookName.ON_PAUSED, event, ident="1", now=START).json)

    assert (told["event"], told["pause"], told["reason"]) == ("paused", "service", reason.value)
    assert told["why"] == "GET https://host/… failed"
    assert told["what_to_do"].endswith(".")


def test_a_name_that_is_no_text_can_still_be_opened_by_a_command() -> None:
    raw = b"a\nb\xff.png"
    job = a_job_in(JobState.DONE, relative=Path(os.fsdecode(raw)))
    facts = facts_of(HookName.ON_DONE, JobClosed(job), ident="1", now=START)

    assert os.fsencode(dict(facts.environ)["EXPANDD_FILE"]) == raw
    assert json.loads(facts.json)["file"] == "a\nb\\xff.png"
    assert facts.about.isprintable()


# --- how it is told ---


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "x" * 200_000, "\x1b[31m\n\udcff", "😀" * 40_000])
def test_whatever_the_service_says_a_command_can_be_given_it(text: str) -> None:
    job = a_job_in(JobState.FAILED, fault=Fault(FaultCode.FAILED_AT_API, text, text), image_id=text)
    facts = facts_of(HookName.ON_ERROR, JobClosed(job), ident="1", now=START)

    assert json.loads(facts.json)["image_id"]
    assert all(b"\0" not in os.fsencode(value) for _, value in facts.environ)
    assert max(len(os.fsencode(value)) for _, value in facts.environ) < 128 << 10


async def test_one_after_the_other_in_their_command() -> None:
    bench = Bench(Hooks(on_done=COMMAND))
    async with telling(bench.hook_runner, 10.0):
        for number in range(3):
            bench.hook_runner(done(number))

    assert bench.listener.names == ["pic-0.png", "pic-1.png", "pic-2.png"]
    assert bench.listener.heard[0][0] is COMMAND


async def test_what_nobody_wants_to_hear_is_not_kept() -> None:
    bench = Bench(Hooks(on_error=COMMAND))
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(DONE)

    assert bench.listener.heard == []


async def test_a_hook_that_hangs_holds_up_neither_the_work_nor_another_hook() -> None:
    bench = Bench(Hooks(on_done=COMMAND, on_paused=Hook(url="http://127.0.0.1:1/")), send=(paused := Posted()).send)
    bench.listener.free.clear()
    async with telling(bench.hook_runner, 10.0):
        for number in range(50):
            bench.hook_runner(done(number))
        bench.hook_runner(PauseStarted("service", PauseReason.NO_CREDITS, "no credits"))
        await paused.came.wait()

        assert bench.listener.heard == []
        bench.listener.free.set()
    assert len(bench.listener.heard) == 50


class Posted:
    """A web server that takes everything, in place of one."""

    def __init__(self) -> None:
        self.came = asyncio.Event()

    async def send(self, hook: Hook, facts: Facts, now: float) -> None:
        self.came.set()


async def test_when_too_much_waits_the_oldest_is_dropped_and_counted_in_one_line() -> None:
    bench = Bench(Hooks(on_done=COMMAND), most=3)
    bench.listener.free.clear()
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(done(0))
        await bench.listener.called.wait()
        for number in range(1, 8):
            bench.hook_runner(done(number))
        bench.listener.free.set()

    assert bench.listener.names == ["pic-0.png", "pic-5.png", "pic-6.png", "pic-7.png"]
    [line] = bench.lines("hook.dropped")
    assert (line["hook"], line["dropped"]) == ("on_done", 4)
    assert bench.hook_runner.dropped == 4


async def test_at_the_end_what_could_not_be_told_in_time_is_counted_too() -> None:
    bench = Bench(Hooks(on_done=COMMAND))
    bench.listener.free.clear()
    async with telling(bench.hook_runner, 0.05):
        for number in range(3):
            bench.hook_runner(done(number))

    [line] = bench.lines("hook.dropped")
    assert line["dropped"] == 3


async def test_a_person_who_is_in_a_hurry_waits_no_longer_than_a_moment() -> None:
    bench, hurry = Bench(Hooks(on_done=COMMAND), grace=0.05), asyncio.Event()
    bench.listener.free.clear()
    async with asyncio.timeout(30.0), telling(bench.hook_runner, 3600.0, hurry):
        bench.hook_runner(done(0))
        await bench.listener.called.wait()
        hurry.set()

    assert bench.lines("hook.dropped")[0]["dropped"] == 1


async def test_failed_hook_command_is_logged_and_the_next_event_still_sent() -> None:
    bench = Bench(Hooks(on_done=COMMAND))
    bench.listener.error = HookFailed("tell ended with exit code 3.", output=("no room",))
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(done(0))
        bench.hook_runner(done(1))

    [line] = bench.lines("hook.failed")
    assert (line["hook"], line["about"], line["output"]) == ("on_done", "pic-0.png", ["no room"])
    assert bench.listener.names == ["pic-1.png"]


async def test_a_bug_of_ours_in_a_hook_is_logged_and_stops_nothing() -> None:
    bench = Bench(Hooks(on_done=COMMAND))
    bench.listener.error = ZeroDivisionError("division by zero")
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(done(0))
        bench.hook_runner(done(1))

    assert bench.lines("bug.found")[0]["where"] == "hook on_done"
    assert bench.listener.names == ["pic-1.png"]


async def test_a_new_configuration_is_followed_at_once() -> None:
    bench, other = Bench(Hooks(on_done=COMMAND)), Hook(command=("/usr/local/bin/other",))
    bench.listener.free.clear()
    async with telling(bench.hook_runner, 10.0):
        for number in range(2):
            bench.hook_runner(done(number))
        await bench.listener.called.wait()
        bench.hooks = Hooks(on_done=other)
        bench.listener.free.set()

    assert [hook for hook, _ in bench.listener.heard] == [COMMAND, other]


async def test_a_hook_that_is_taken_away_is_told_nothing_more() -> None:
    bench = Bench(Hooks(on_done=COMMAND))
    bench.listener.free.clear()
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(done(0))
        bench.hook_runner(done(1))
        await bench.listener.called.wait()
        bench.hooks = Hooks()
        bench.listener.free.set()

    assert bench.listener.names == ["pic-0.png"]


# --- webhooks, over real connections ---


def webhook(server: ScriptedServer) -> Hooks:
    return Hooks(on_done=Hook(url=f"{server.url}/in?key=s3cret-value", timeout=10.0))


ROUTE = "POST /in?key=s3cret-value"


async def test_a_webhook_that_fails_is_tried_again_with_the_same_facts(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(500), answer(429), answer(200))
    bench = Bench(webhook(server))
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(DONE)

    bodies = [seen.json for seen in server.requests(ROUTE)]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert bench.clock.slept == [TRIES.wait(1, 0.5), TRIES.wait(2, 0.5)]
    assert bench.log.getvalue() == ""


async def test_webhook_is_given_up_after_a_time(
    server: ScriptedServer,
) -> None:
    server.on(ROUTE, answer(503))
    bench = Bench(webhook(server))
    async with telling(bench.hook_runner, 30.0):
        bench.hook_runner(DONE)

    tries = len(server.seen)
    [line] = bench.lines("hook.failed")
    assert line["why"] == f"127.0.0.1 answered with status 503. Given up after {tries} tries."
    assert tries > 10
    assert sum(bench.clock.slept) <= GIVE_UP
    assert max(bench.clock.slept) <= TRIES.cap
    assert "s3cret" not in bench.log.getvalue()


async def test_a_webhook_that_refuses_is_not_tried_again(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(404))
    bench = Bench(webhook(server))
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(DONE)

    assert len(server.seen) == 1
    assert bench.lines("hook.failed")[0]["why"] == "127.0.0.1 answered with status 404. Given up after 1 try."


async def test_a_webhook_that_is_taken_away_is_not_tried_again(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(503))
    bench = Bench(webhook(server))

    def vanish(_: object) -> None:
        bench.hooks = Hooks()

    server.hooks.append(vanish)
    async with telling(bench.hook_runner, 10.0):
        bench.hook_runner(DONE)

    assert len(server.seen) == 1
    assert "no such webhook" in bench.lines("hook.failed")[0]["why"]
