from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from expandd.domain.errors import IllegalMove
from expandd.domain.image import ImageFormat, Size
from expandd.domain.job import AWAITING_RESULT, MAYBE_PAID, MOVES, Job, JobState, StateChange, moved
from tests.support.jobs import WAYS, a_job, a_job_in, a_result, a_snapshot
from tests.support.manual_clock import START

S = JobState

ENDS = {S.DONE, S.FAILED, S.RETURNED}
BACK = {(S.UPLOADED, S.CLAIMED), (S.SUBMITTING, S.UPLOADED), (S.SUBMITTING, S.CLAIMED), (S.UNKNOWN, S.UPLOADED)}
"""The only steps back: each before anything was made, or once it is known that nothing was."""

OF_DUPLICATES = {
    (S.CLAIMED, S.DOWNLOADED),
    (S.CLAIMED, S.DELIVERED),
    (S.UPLOADED, S.DOWNLOADED),
    (S.UPLOADED, S.DELIVERED),
    (S.DOWNLOADED, S.CLAIMED),
}
"""Moves of jobs for which nothing is paid, because the same was paid for before."""

BY_RECORD = {(S.CLAIMED, S.UNKNOWN), (S.UPLOADED, S.UNKNOWN)}
"""Moves of jobs whose record beside the file tells more than the journal: they come with the record's state changes."""

TABLE = {
    S.CLAIMED: "uploaded unknown downloaded delivered failed returned",
    S.UPLOADED: "claimed submitting unknown rendered downloaded delivered failed returned",
    S.SUBMITTING: "accepted unknown uploaded claimed failed",
    S.ACCEPTED: "rendered failed unknown",
    S.UNKNOWN: "rendered failed uploaded",
    S.RENDERED: "downloaded failed",
    S.DOWNLOADED: "delivered rendered claimed",
    S.DELIVERED: "done",
    S.DONE: "",
    S.FAILED: "",
    S.RETURNED: "",
}
"""The whole machine, written down a second time: a change of the table is a change of a promise."""


@pytest.mark.parametrize("before", list(S))
def test_a_move_works_when_the_table_has_it_and_raises_otherwise(before: JobState) -> None:
    for after in S:
        job = a_job_in(before, reused_from="job-0" if (before, after) in OF_DUPLICATES else "")
        if after.value in TABLE[before].split():
            assert moved(job, after, 99.0).state is after
            continue
        with pytest.raises(IllegalMove, match=f"from {before.value} to {after.value}"):
            moved(job, after, 99.0)


@pytest.mark.parametrize("state", list(S))
def test_a_closed_job_never_moves(state: JobState) -> None:
    job = a_job_in(state, closed=True)
    for after in S:
        with pytest.raises(IllegalMove):
            moved(job, after, 99.0)


def test_every_state_can_be_reached_and_every_one_but_the_ends_can_be_left() -> None:
    reached = {S.CLAIMED}.union(*MOVES.values())

    assert reached == set(S)
    assert {state for state, to in MOVES.items() if not to} == ENDS


def test_nothing_is_returned_or_paid_anew_once_it_may_be_paid() -> None:
    # From a state that may be paid, only a proof leads back, and only from these two.
    for state in MAYBE_PAID - {S.SUBMITTING, S.UNKNOWN, S.DOWNLOADED}:
        assert not MOVES[state] & {S.CLAIMED, S.UPLOADED, S.SUBMITTING, S.RETURNED}
    for state in MAYBE_PAID:
        assert S.RETURNED not in MOVES[state]
        assert S.SUBMITTING not in MOVES[state]
    assert AWAITING_RESULT <= MAYBE_PAID


def test_what_was_paid_for_never_goes_back_to_where_it_could_be_paid_again() -> None:
    assert MOVES[S.DOWNLOADED] == {S.DELIVERED, S.RENDERED, S.CLAIMED}
    with pytest.raises(IllegalMove):
        moved(a_job_in(S.DOWNLOADED), S.CLAIMED, 99.0)
    assert MOVES[S.RENDERED] == {S.DOWNLOADED, S.FAILED}
    assert MOVES[S.DELIVERED] == {S.DONE}


@pytest.mark.parametrize("seed", range(20))
def test_a_random_walk_never_comes_where_it_should_not(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(50):
        job, path, now = a_job(), [S.CLAIMED], START
        while job.state not in ENDS:
            may = [state for state in MOVES[job.state] if (job.state, state) not in OF_DUPLICATES | BY_RECORD]
            to = dice.choice(sorted(may, key=lambda state: state.value))
            before, now = job, now + 1.0
            job = moved(job, to, now)
            path.append(to)
            _check_step(before, job)
        history = f"seed {seed}: {' → '.join(state.value for state in path)}"

        assert len({change.state for change in job.state_changes}) == len(job.state_changes), history
        assert [change.at for change in job.state_changes] == sorted(change.at for change in job.state_changes), history
        assert job.paid is _was_taken(path), history
        assert len(job.payments) >= path.count(S.SUBMITTING), history
        assert sum(payment.counts for payment in job.payments) <= 1, history
        if job.state is S.DONE:
            assert {S.CLAIMED, S.UPLOADED, S.RENDERED, S.DOWNLOADED, S.DELIVERED} <= set(path), history
            assert job.paid, history


def _check_step(before: Job, after: Job) -> None:
    order = list(S)
    assert after.state_changes[-1].state is after.state
    assert all(order.index(change.state) <= order.index(after.state) for change in after.state_changes)
    if (before.state, after.state) in BACK:
        assert after.state_changes == before.state_changes[: len(after.state_changes)]


def _was_taken(path: list[JobState]) -> bool:
    return bool({S.ACCEPTED, S.RENDERED} & _since_the_last_step_back(path)) or path[-2:] == [S.UNKNOWN, S.FAILED]


def _since_the_last_step_back(path: list[JobState]) -> set[JobState]:
    backs = [number for number, step in enumerate(pairwise(path), 1) if step in BACK]
    return set(path[backs[-1] :] if backs else path)


@pytest.mark.parametrize(("before", "after"), sorted(BACK, key=str))
def test_step_back_drops_later_state_changes(before: JobState, after: JobState) -> None:
    job = a_job_in(before)
    back = moved(job, after, job.state_changes[-1].at + 100.0)

    assert back.state_changes == tuple(
        change for change in job.state_changes if list(S).index(change.state) <= list(S).index(after)
    )
    assert back.entered(after) == job.entered(after)
    assert back.entered(before) is None


def test_a_new_upload_after_a_step_back_is_as_old_as_it_is() -> None:
    job = moved(a_job_in(S.UPLOADED), S.CLAIMED, 50.0)
    again = moved(job, S.UPLOADED, 60.0)

    assert again.entered(S.UPLOADED) == 60.0


def test_a_name_that_was_chosen_for_a_result_which_never_came_is_let_go_of() -> None:
    job = a_job_in(JobState.RENDERED, target=Path("/out/pic.png"))
    assert moved(job, JobState.FAILED, 9.0).target is None
    assert moved(job, JobState.DOWNLOADED, 9.0).target == Path("/out/pic.png")


def test_a_move_begins_its_step_anew_and_keeps_the_tries_of_the_whole() -> None:
    job = a_job(attempts=3, tries=5, note="the last try failed")
    after = moved(job, S.UPLOADED, 2.0, image_id="image")

    assert (after.attempts, after.tries, after.note, after.image_id) == (0, 5, "", "image")
    assert moved(job, S.UPLOADED, 2.0, attempts=4, note="kept").attempts == 4


@pytest.mark.parametrize(
    ("state", "paid"),
    [
        (S.CLAIMED, False),
        (S.UPLOADED, False),
        (S.SUBMITTING, False),  # nobody knows yet
        (S.UNKNOWN, False),  # nor here
        (S.ACCEPTED, True),
        (S.RENDERED, True),
        (S.DOWNLOADED, True),
        (S.DELIVERED, True),
        (S.DONE, True),
        (S.FAILED, False),  # refused at the paid call
        (S.RETURNED, False),
    ],
)
def test_a_job_knows_whether_the_api_took_the_paid_call(state: JobState, paid: bool) -> None:
    assert a_job_in(state).paid is paid


@pytest.mark.parametrize("state", list(S))
def test_a_job_is_spent_from_its_intent_on_unless_it_was_refused(state: JobState) -> None:
    spent = state not in {S.CLAIMED, S.UPLOADED, S.FAILED, S.RETURNED}

    assert (a_job_in(state).spent_at is not None) is spent


def test_a_job_that_failed_after_it_was_taken_is_spent() -> None:
    accepted = a_job_in(S.ACCEPTED)

    assert moved(accepted, S.FAILED, 99.0).spent_at == accepted.entered(S.SUBMITTING)


def test_the_usual_ways_are_of_the_table() -> None:
    for state, way in WAYS.items():
        assert a_job_in(state).state is state
        assert all(to in MOVES[before] for before, to in zip((S.CLAIMED, *way), way, strict=False))


def test_a_claimed_file_keeps_its_name_in_a_directory_of_its_own() -> None:
    job = a_job("0123", folder=a_snapshot(Path("/srv")), relative=Path("album/pic.png"))

    assert job.work_file == Path("/srv/inbox/.expandd/0123/pic.png")
    assert job.work_dir == Path("/srv/inbox/.expandd/0123")


def test_a_state_never_entered_has_no_time() -> None:
    assert a_job().entered(S.DONE) is None
    assert a_job().state_changes == (StateChange(S.CLAIMED, START),)


def test_a_result_of_another_size_differs() -> None:
    assert not a_result().differs
    assert a_result(size=Size(1, 1)).differs


def test_endings_are_those_people_know() -> None:
    assert [kind.extension for kind in ImageFormat if kind.taken_by_api] == [".jpg", ".png", ".webp"]
    assert (ImageFormat.TIFF.extension, ImageFormat.HEIC.extension) == (".tif", ".heic")
