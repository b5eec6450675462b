"""What counts as progress for `once`: a job that goes to and fro makes none."""

from __future__ import annotations

from expandd.domain.events import JobClosed, JobMoved
from expandd.domain.job import JobState
from expandd.service.runtime.entry import Outcomes
from tests.support.jobs import a_job_in

S = JobState


def test_a_job_that_goes_to_and_fro_makes_no_progress() -> None:
    now = [0.0]
    tally = Outcomes(lambda: now[0])
    for state in (S.RENDERED, S.DOWNLOADED):
        now[0] += 1.0
        tally(JobMoved(a_job_in(state), None))
    for state in (S.RENDERED, S.DOWNLOADED) * 5:
        now[0] += 1.0
        tally(JobMoved(a_job_in(state), None))

    assert tally.progress_at == 2.0


def test_the_end_of_a_job_and_another_job_are_progress() -> None:
    now = [0.0]
    tally = Outcomes(lambda: now[0])
    tally(JobMoved(a_job_in(S.DOWNLOADED), None))
    now[0] = 5.0
    tally(JobMoved(a_job_in(S.DOWNLOADED, "job-2"), None))
    again = tally.progress_at
    now[0] = 9.0
    tally(JobClosed(a_job_in(S.DONE)))

    assert (again, tally.progress_at) == (5.0, 9.0)
