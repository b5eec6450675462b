from __future__ import annotations

import io

from rich.console import Console

from expandd.domain.events import Event, JobClosed, JobMoved, Recovered
from expandd.domain.job import JobState
from expandd.service.runtime.progress import Progress
from tests.support.jobs import a_job, a_job_in

S = JobState


def shown(*events: Event, expected: int = 0) -> str:
    """What stands on a terminal once these events have come."""
    screen = io.StringIO()
    with Progress(Console(file=screen, force_terminal=True, width=120), expected=expected) as progress:
        for event in events:
            progress(event)
    return screen.getvalue()


def test_the_bar_counts_towards_all_that_waits_not_towards_what_is_in_progress() -> None:
    done = a_job_in(S.DONE, closed=True)

    assert "1/12" in shown(JobMoved(a_job(), None), JobClosed(done), expected=12)


def test_what_an_earlier_run_left_in_progress_is_counted_too() -> None:
    assert "1/5" in shown(Recovered(3, 0), JobClosed(a_job_in(S.DONE, closed=True)), expected=2)


def test_more_than_was_expected_is_counted_as_it_comes() -> None:
    moved = [JobMoved(a_job(str(number)), None) for number in range(3)]

    assert "0/3" in shown(*moved, expected=1)


def test_a_failed_image_leaves_its_reason_on_the_screen() -> None:
    failed = a_job_in(S.FAILED, closed=True)

    assert failed.fault is not None
    assert failed.fault.message in shown(JobClosed(failed))
