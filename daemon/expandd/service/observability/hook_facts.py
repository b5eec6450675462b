"""Owns the facts that a hook is told: of a job that is over, of a gate that shuts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from expandd.domain.events import Event, GateShut, JobClosed
from expandd.domain.hook import Facts, HookName
from expandd.domain.job import JobState
from expandd.domain.naming import printable
from expandd.service.observability.logs import canonical
from expandd.service.observability.redaction import safe_text

PREFIX = "EXPANDD"
LONGEST = 16_384
"""Characters of a variable: what is longer stands whole in the JSON."""


def hook_of(event: Event) -> HookName | None:
    """The hook that an event is for, if any."""
    match event:
        case JobClosed(job) if job.state is JobState.DONE:
            return HookName.ON_DONE
        case JobClosed(job) if job.state is JobState.FAILED:
            return HookName.ON_ERROR
        case GateShut():
            return HookName.ON_PAUSED
    return None


def facts_of(hook: HookName, event: JobClosed | GateShut, *, ident: str, now: float) -> Facts:
    """The facts of the event: `ident` is the same in each try to tell them, `now` is epoch seconds."""
    head = {"event": hook.event, "id": ident, "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")}
    if isinstance(event, JobClosed):
        return _facts(hook, printable(event.job.relative), {**head, **canonical(event.job)})
    stop = {"gate": event.gate, "reason": event.reason.value, "why": event.why, "what_to_do": event.reason.remedy}
    return _facts(hook, event.gate, {**head, **stop})


def _facts(hook: HookName, about: str, facts: Mapping[str, Any]) -> Facts:
    known = {key: _known(value) for key, value in facts.items()}
    return Facts(
        event=hook.event,
        about=about,
        json=json.dumps(_spelt(known), ensure_ascii=False).encode(),
        environ=tuple(_named(PREFIX, known)),
    )


def _known(value: Any) -> Any:
    """Paths as they are on the disk, so that a program can open them; sentences without anything secret."""
    if isinstance(value, PurePath):
        return str(value)
    return safe_text(value) if isinstance(value, str) else value


def _spelt(value: Any) -> Any:
    """As JSON: bytes of a file name that are no UTF-8 are written as escapes."""
    if isinstance(value, Mapping):
        return {key: _spelt(inner) for key, inner in value.items()}
    return os.fsencode(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value


def _named(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """EXPANDD_OFFSETS_TOP and so on; true and false as in JSON."""
    for key, value in facts.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, Mapping):
            yield from _named(name, value)
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        else:
            # The kernel starts no program with a variable of more than 128 KiB; a path has 4 at most.
            yield name, str(value)[:LONGEST]
