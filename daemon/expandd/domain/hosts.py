"""The facts that the hosts of a cluster know of each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLine:
    """The known facts of one run of a host.

    `age` is in seconds since its start, `lease_left` until its lease ends; negative where it has ended. `digest` is of
    what must be configured alike everywhere. `inboxes` are those whose files it picks up, `jobs` the images it carries.
    """

    name: str
    incarnation: str
    version: str
    digest: str
    workers: int
    age: float
    lease_left: float
    dead: bool
    proven_dead: bool
    draining: bool
    inboxes: int
    jobs: int
