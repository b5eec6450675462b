"""Owns how one job is shown: a result beside its source, a file in hand, one that needs a person, an error."""

from __future__ import annotations

from expandd.domain.commands import Verb
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.service.observability.redaction import safe_text
from expandd.service.page.canvas import canvas_of
from expandd.service.page.text import added, clock, folder_name, machine_time, state_words
from expandd.service.page.values import Button, JobView, Moment, PictureView

_UNDONE = frozenset({JobState.CLAIMED, JobState.UPLOADED})


def picture_view(job: Job, now: float) -> PictureView:
    assert job.target is not None, "delivered"
    name = printable(job.target.name)
    before, result = job.source.size, job.result
    after = result.size if result else None
    differs = ""
    if result is not None and result.differs:
        differs = f"The service made {result.size} px; the folder asks for {result.expected} px."
    return PictureView(
        job=job.id,
        name=name,
        folder=folder_name(job.place.inbox),
        preset=printable(job.place.preset_name),
        at=moment(ended(job), now),
        sizes=f"{before} → {after} px" if before and after else "",
        added=added(job.offsets),
        canvas=canvas_of(job),
        source_alt=f"Original of {name}, {before} px, on the canvas of its result" if before else f"Original of {name}",
        result_alt=f"Result {name}, {after} px, {added(job.offsets)}" if after else f"Result {name}",
        differs=differs,
        free=bool(job.twin),
    )


def in_hand_view(job: Job, now: float) -> JobView:
    buttons = []
    if job.note:
        buttons.append(Button(Verb.RETRY.value, "Try now", printable(job.relative.name), job=job.id))
    if job.state in _UNDONE:
        buttons.append(Button(Verb.CANCEL.value, "Cancel", printable(job.relative.name), job=job.id))
    return _job(job, now, words=state_words(job), advice=safe_text(job.note), buttons=tuple(buttons))


def held_view(job: Job, now: float) -> JobView:
    name = printable(job.relative.name)
    if job.lost_result:
        given_up = Button(Verb.PAID.value, "Give it up", f"{name} goes to the error folder", job=job.id)
        advice = "Ask the service for its result. Nothing more is paid for it."
        return _job(job, now, words=safe_text(job.note), advice=advice, buttons=(given_up,))
    return _job(
        job,
        now,
        words="Nobody can tell whether this picture was paid for; nothing more is paid for it meanwhile.",
        advice="Look into your account at the service, then say here what you found.",
        buttons=(
            Button(Verb.PAID.value, "It was paid", f"{name} goes to the error folder", job=job.id),
            Button(Verb.NOT_PAID.value, "It was not paid", f"{name} is expanded, and paid for", job=job.id),
        ),
    )


def failed_view(job: Job, now: float) -> JobView:
    fault = job.fault
    return _job(
        job,
        now,
        words=safe_text(fault.message) if fault else "It went to the error folder.",
        advice=safe_text(fault.what_to_do) if fault else "",
        buttons=(Button(Verb.RETRY.value, "Try again", printable(job.relative.name), job=job.id),),
    )


def _job(job: Job, now: float, *, words: str, advice: str, buttons: tuple[Button, ...]) -> JobView:
    return JobView(
        job=job.id,
        name=printable(job.relative.name),
        folder=folder_name(job.place.inbox),
        at=moment(ended(job), now),
        words=words,
        advice=advice,
        picture=f"{printable(job.relative.name)}, {job.source.size} px" if job.source.size else "",
        buttons=buttons,
    )


def ended(job: Job) -> float:
    """When it came to where it is."""
    return job.stamps[-1].at if job.stamps else 0.0


def moment(at: float, now: float) -> Moment:
    return Moment(clock(at, now), machine_time(at))
