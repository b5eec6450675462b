from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from expandd.domain.api_types import Announcement, Notification
from expandd.domain.errors import DatabaseAway, Fault, FaultCode, IllegalMove, StaleJob
from expandd.domain.events import JobClosed, JobMoved, JobRetrying, PauseEnded, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.settle import FileStat, Observation
from expandd.engine.flow.error_matching import ErrorMatching
from expandd.engine.flow.slots import Slots
from expandd.engine.inbox.candidates import (
    MOST_HINTS,
    MOST_IN_TURN,
    WINDOW,
    Announced,
    Backlog,
    Candidate,
    Candidates,
    Hints,
)
from expandd.engine.jobs import Jobs
from tests.support.fakes import MemoryJobStore
from tests.support.jobs import a_job, a_job_in
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder

S = JobState
NOBODY: frozenset[int] = frozenset()


def error(number: int, image_id: str = "") -> Notification:
    return Notification(id=number, kind=Announcement.ERROR, image_id=image_id)


def result(number: int, image_id: str) -> Notification:
    return Notification(id=number, kind=Announcement.RESULT, image_id=image_id, link="https://links.example")


# --- whose an error is ---


def test_nobody_is_asked_about_while_there_are_no_nameless_errors() -> None:
    error_matching = ErrorMatching()
    error_matching.read([result(1, "a"), error(2, "b")], "", settled=NOBODY, now=0.0)

    assert [error_matching.next_question(["a", "b"]) for _ in range(6)] == [""] * 6


def test_each_waiting_image_is_asked_about_once_and_every_second_poll_serves_all() -> None:
    error_matching = ErrorMatching()
    asked = []
    for _ in range(8):
        question = error_matching.next_question(["a", "b"])
        asked.append(question)
        error_matching.read([error(1)] if not question else [], question, settled=NOBODY, now=0.0)

    assert asked == ["", "a", "", "b", "", "", "", ""]


def test_an_error_belongs_to_the_image_it_is_shown_for_and_for_no_other() -> None:
    error_matching = ErrorMatching()
    error_matching.read([error(1), error(2)], "", settled=NOBODY, now=0.0)

    assert error_matching.read([error(2)], "b", settled=NOBODY, now=0.0) == {}
    assert error_matching.read([error(1)], "c", settled=NOBODY, now=0.0) == {1: "c", 2: "b"}


def test_an_error_that_is_shown_for_every_image_is_nobodys() -> None:
    error_matching = ErrorMatching()
    error_matching.read([error(1), result(2, "b")], "", settled=NOBODY, now=0.0)
    error_matching.read([error(1), result(2, "b")], "a", settled=NOBODY, now=0.0)

    assert error_matching.read([error(1), result(2, "b")], "b", settled=NOBODY, now=0.0) == {}


def test_the_only_image_that_waits_is_compared_with_one_that_does_not_exist() -> None:
    error_matching = ErrorMatching()
    error_matching.read([error(1)], "", settled=NOBODY, now=0.0)
    questions = [error_matching.next_question(["ab"]) for _ in range(2)]
    error_matching.read([error(1)], "ab", settled=NOBODY, now=0.0)
    questions += [error_matching.next_question(["ab"]) for _ in range(2)]

    assert questions == ["", "ab", "", "ba"]
    assert error_matching.read([], "ba", settled=NOBODY, now=0.0) == {1: "ab"}


def test_an_error_whose_job_is_known_is_nobodys_question() -> None:
    error_matching = ErrorMatching()
    error_matching.read([error(1)], "", settled=frozenset({1}), now=0.0)

    assert error_matching.read([error(1)], "a", settled=frozenset({1}), now=0.0) == {}
    assert {error_matching.next_question(["a"]) for _ in range(4)} == {""}


def test_errors_that_have_expired_are_forgotten() -> None:
    error_matching = ErrorMatching()
    error_matching.read([error(1)], "", settled=NOBODY, now=0.0)
    error_matching.read([], "", settled=NOBODY, now=0.0)

    assert {error_matching.next_question(["a"]) for _ in range(4)} == {""}


def test_before_a_poll_for_all_was_answered_no_image_is_clear_of_errors() -> None:
    error_matching = ErrorMatching()
    error_matching.read([], "", settled=NOBODY, now=5.0)
    error_matching.read([], "a", settled=NOBODY, now=9.0)

    assert error_matching.clears("a", since=5.0)
    assert not error_matching.clears("a", since=6.0)


def test_an_image_is_clear_of_errors_once_each_is_known_to_be_anothers() -> None:
    error_matching = ErrorMatching()
    error_matching.read([error(1), error(2)], "", settled=NOBODY, now=0.0)
    before = error_matching.clears("a", since=0.0)
    error_matching.read([error(1)], "b", settled=NOBODY, now=0.0)
    one_in_doubt = error_matching.clears("a", since=0.0)
    error_matching.read([], "a", settled=NOBODY, now=0.0)

    assert (before, one_in_doubt) == (False, False)
    assert error_matching.clears("a", since=0.0)
    assert not error_matching.clears("b", since=0.0)


# --- slots ---


def test_slots_are_bounded_and_given_to_the_oldest_that_was_refused() -> None:
    woken: list[str] = []
    slots = Slots(2, woken.append)
    taken = [slots.take(job_id) for job_id in ("a", "b", "d", "c")]
    slots.give("a")

    assert taken == [True, True, False, False]
    assert woken == ["c"]
    assert slots.spare == 0
    assert [slots.take("d"), slots.take("c")] == [False, True]


def test_what_the_api_has_already_gets_a_slot_by_force() -> None:
    slots = Slots(1, lambda _: None)
    slots.take("a")

    assert slots.take("b", by_force=True)
    assert slots.spare == 0


def test_taking_a_slot_twice_takes_one() -> None:
    slots = Slots(2, lambda _: None)
    slots.take("a")
    slots.take("a")

    assert slots.spare == 1


# --- candidates, hints, what was told ---


def candidate(number: int, due: float = 0.0) -> Candidate:
    return Candidate((0.0, number, f"{number}.png"), due, hinted=True)


def test_the_window_is_full_at_its_size() -> None:
    window = Candidates()
    for number in range(WINDOW):
        window.add(candidate(number))
    full = window.full
    window.drop(Path("0.png"))

    assert full
    assert not window.full


def test_unfinished_files_do_not_fill_the_window() -> None:
    window = Candidates()
    for number in range(WINDOW):
        window.set_unfinished(candidate(number))

    assert not window.full
    assert len(window) == WINDOW


def test_a_candidate_is_in_one_place_at_a_time() -> None:
    window, one = Candidates(), candidate(1)
    window.add(one)
    window.set_unfinished(one)
    window.set_fresh(one)
    window.set_unfinished(one)

    assert len(window) == 1
    assert window.get(one.relative) is one


def test_what_is_due_comes_in_its_turn_and_what_is_not_due_not_at_all() -> None:
    window = Candidates()
    for number, due in ((3, 3.0), (0, 5.0), (2, 9.0), (1, 1.0)):
        window.add(candidate(number, due))

    assert [one.due for one in window.due(5.0)] == [5.0, 1.0, 3.0]
    assert window.next_due() == 1.0
    assert Candidates().next_due() is None


def test_a_backlog_holds_the_first_of_however_many_and_gives_them_in_their_turn() -> None:
    backlog, numbers = Backlog(), list(range(3 * MOST_IN_TURN))
    random.Random(7).shuffle(numbers)
    for number in numbers:
        if backlog.takes((0.0, number, str(number))):
            backlog.put((0.0, number, str(number)), hinted=False)

    assert backlog.cut
    assert len(backlog) < 2 * MOST_IN_TURN
    assert [backlog.pop()[0][1] for _ in range(MOST_IN_TURN)] == list(range(MOST_IN_TURN))
    # What was left out is taken once there is room.
    assert backlog.takes((0.0, numbers[-1] + 3 * MOST_IN_TURN, "new"))


def test_a_file_in_the_backlog_that_is_hinted_at_is_in_it_once() -> None:
    backlog = Backlog()
    backlog.put((0.0, 1, "pic.png"), hinted=False)

    assert not backlog.hint("other.png")
    assert backlog.hint("pic.png")
    assert not backlog.takes((1.0, 0, "pic.png"))
    assert backlog.pop() == ((0.0, 1, "pic.png"), True)


def test_a_candidate_keeps_its_fault_beside_its_observation() -> None:
    one = candidate(1)
    one.observation = Observation(FileStat(1, 2, 3, 4, 5), 0.0)
    one.fault = Fault(FaultCode.EMPTY, "empty", "fill it")

    assert one.observation.updated(FileStat(1, 2, 3, 4, 6), 7.0) == Observation(FileStat(1, 2, 3, 4, 6), 7.0)


def test_hints_wake_once_and_overflow_into_a_scan() -> None:
    woken: list[None] = []
    hints = Hints(lambda: woken.append(None))
    for number in range(MOST_HINTS + 5):
        hints.put(Path(str(number)))
    paths, overflow = hints.take()

    assert (len(paths), overflow, len(woken)) == (MOST_HINTS, True, 1)
    assert list(paths)[:2] == [Path("0"), Path("1")]
    assert not any(hints.take())


def test_each_thing_is_told_once_and_the_memory_of_it_is_bounded() -> None:
    told = Announced(most=3)
    first = [told.is_news(Path("a"), "hidden"), told.is_news(Path("a"), "hidden"), told.is_news(Path("a"), "a link")]
    for name in "bcde":
        told.is_news(Path(name), "hidden")

    assert first == [True, False, True]
    assert told.is_news(Path("a"), "a link")


# --- the jobs in memory ---


async def test_every_change_is_written_down_before_it_is_announced() -> None:
    store, recorder = MemoryJobStore(), Recorder()
    jobs = Jobs(store, ManualClock(), recorder)
    job = await jobs.add(a_job())
    job = await jobs.move(job, S.UPLOADED, image_id="image")
    await jobs.retry_later(job, "not now", 7.0)

    assert store.rows[job.id] == jobs.get(job.id)
    assert [type(event) for event in recorder.events] == [JobMoved, JobMoved, JobRetrying]
    assert (store.rows[job.id].attempts, store.rows[job.id].tries) == (1, 1)


async def test_a_write_that_fails_changes_nothing_and_says_once_that_the_store_is_away() -> None:
    store, recorder, clock = MemoryJobStore(), Recorder(), ManualClock()
    jobs = Jobs(store, clock, recorder)
    job = await jobs.add(a_job())
    store.away = True
    for _ in range(3):
        with pytest.raises(DatabaseAway):
            await jobs.move(job, S.UPLOADED)
    unchanged = jobs.get(job.id) == job
    await clock.advance(30.0)
    store.away = False
    await jobs.move(job, S.UPLOADED)

    assert unchanged
    assert [type(event) for event in recorder.events] == [JobMoved, PauseStarted, PauseEnded, JobMoved]
    assert [event.seconds for event in recorder.of(PauseEnded)] == [30.0]


async def test_a_move_that_the_table_lacks_is_refused_and_not_written() -> None:
    store = MemoryJobStore()
    jobs = Jobs(store, ManualClock(), Recorder())
    job = await jobs.add(a_job())
    with pytest.raises(IllegalMove):
        await jobs.move(job, S.ACCEPTED)

    assert store.rows[job.id].state is S.CLAIMED


async def test_whoever_looked_before_a_move_is_told_that_the_job_has_moved_on() -> None:
    jobs = Jobs(MemoryJobStore(), ManualClock(), Recorder())
    before = await jobs.add(a_job())
    await jobs.move(before, S.UPLOADED)
    with pytest.raises(StaleJob):
        await jobs.note(before, note="too late")

    assert jobs.in_state(S.UPLOADED)


async def test_two_changes_at_once_are_both_written_or_end_stale() -> None:
    clock, store = ManualClock(), MemoryJobStore()
    store.clock, store.seconds = clock, 1.0
    store.fails = {2}
    jobs = Jobs(store, clock, Recorder())
    adding = asyncio.create_task(jobs.add(a_job()))
    await clock.advance(1.0)
    job = await adding
    first = asyncio.create_task(jobs.note(job, note="fails at the disk"))
    await clock.settle()
    second = asyncio.create_task(jobs.move(job, S.UPLOADED, image_id="image"))
    await clock.advance(5.0)

    assert isinstance(first.exception(), DatabaseAway)
    assert jobs.get(job.id) == store.rows[job.id] == second.result()


async def test_a_job_that_the_store_shows_elsewhere_is_read_again() -> None:
    store = MemoryJobStore()
    jobs = Jobs(store, ManualClock(), Recorder())
    job = await jobs.add(a_job())
    store.rows[job.id] = a_job_in(S.UPLOADED)
    with pytest.raises(StaleJob):
        await jobs.move(job, S.UPLOADED)

    assert jobs.get(job.id) == store.rows[job.id]


async def test_a_closed_job_is_out_of_memory_and_in_the_store() -> None:
    store, recorder = MemoryJobStore(a_job_in(S.FAILED)), Recorder()
    jobs = Jobs(store, ManualClock(), recorder)
    await jobs.load()
    [job] = jobs
    await jobs.close(job)

    assert len(jobs) == 0
    assert store.rows[job.id].closed
    assert isinstance(recorder.events[-1], JobClosed)
