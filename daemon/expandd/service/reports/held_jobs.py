"""Owns what a person is asked about an image that needs one."""

from __future__ import annotations

from expandd.domain.job import Job

_RESULT = (
    "Ask the service for its result, or give it up with `expandd resolve FILE --paid`; nothing more is paid for it."
)
_PAID = (
    "Look into your account at the service, then `expandd resolve FILE --paid` or `--not-paid`; nothing more is paid "
    "for it until you decide."
)


def asked(job: Job) -> str:
    """What to do about a held job."""
    return _RESULT if job.lost_result else _PAID
