"""Each call at each port fails, with each error it may have and with one nobody foresaw, once and for ever.

Whatever fails, the other folder goes on, nothing is paid for twice, no file is lost, nothing spins; and once it is
well again, everything comes out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from expandd.domain.errors import AccountAway, FolderAway, Later, SpoolDamaged
from expandd.domain.events import PauseStarted
from expandd.domain.job import Job
from expandd.domain.pauses import PauseReason
from tests.support.workshop import Workshop

Make = Callable[..., Workshop]
Row = tuple[str, str, Exception]

FOLDER = FolderAway(PauseReason.INBOX_UNAVAILABLE, "it cannot be used")
OWN = FolderAway(PauseReason.STORAGE_UNAVAILABLE, "not allowed", may_be_file=True, detail="permission denied")
ACCOUNT = AccountAway(PauseReason.API_UNREACHABLE, "no network")
LATER = Later("not just now")
BUG = ZeroDivisionError("nobody foresaw this")

PORTS: dict[str, tuple[tuple[Exception, ...], str]] = {
    "folders": (
        (FOLDER, OWN, BUG),
        (
            "stat scan claim identity digest free_name make_directories prove publish archive tidy write_record strays "
            "inbox_state first_there directory_identity forget_sidecar write_result_sidecar"
        ),
    ),
    "spool": ((ACCOUNT, BUG), "admit prove drop"),
    "api": ((ACCOUNT, LATER, BUG), "upload notifications delete_notification download account"),
    "images": ((LATER, BUG), "inspect inspect_result"),
}
ROWS: list[Row] = [
    (port, method, error) for port, (errors, methods) in PORTS.items() for method in methods.split() for error in errors
] + [("folders", "publish", SpoolDamaged("gone"))]

MOST = 1.2
"""Calls in vain of one method each second, for one image and one folder that is looked for: far from spinning."""

LONG = 600.0

EACH = 1 if os.environ.get("EXPANDD_STORM") == "1" else 7
"""One row of so many is tried each time; all of them with EXPANDD_STORM=1."""


class Failing:
    """A port of which one method fails for the folder `hot-0`; `fails` is how many more calls of it do."""

    def __init__(self, real: Any, port: str, method: str, error: Exception, *, fails: float) -> None:
        self._real = real
        self._port = port
        self._method = method
        self._error = error
        self.fails = fails
        self.failed = 0

    def _concerns(self, arguments: tuple[Any, ...]) -> bool:
        """Whether a call is about the first folder; the API, the spool and the decoder serve both."""
        about = [str(one.folder.inbox if isinstance(one, Job) else one) for one in arguments]
        return self._port != "folders" or any("hot-0" in one for one in about)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._real, name)
        if name != self._method:
            return call

        def strikes(arguments: tuple[Any, ...]) -> None:
            if self.fails > 0 and self._concerns(arguments):
                self.fails -= 1
                self.failed += 1
                raise self._error

        async def failing(*arguments: Any, **options: Any) -> Any:
            strikes(arguments)
            return await call(*arguments, **options)

        async def scanning(*arguments: Any, **options: Any) -> Any:
            strikes(arguments)
            async for batch in call(*arguments, **options):
                yield batch

        return scanning if name == "scan" else failing


def broken(make: Make, row: Row, *, fails: float) -> tuple[Workshop, Failing]:
    """A workshop of two folders, in the first of which this call fails."""
    port, method, error = row
    workshop = make(folders=2, sidecar=True)
    workshop.bugs_expected = True
    failing = Failing(getattr(workshop, port), port, method, error, fails=fails)
    setattr(workshop, port, failing)
    return workshop, failing


def whole(workshop: Workshop) -> list[str]:
    """Where the two images lie, hidden files left out, sidecars too."""
    where = [
        f"{place} {name}"
        for folder in (0, 1)
        for place in ("inbox", "done", "error")
        for name in workshop.names(place, folder)
    ]
    return sorted([one for one in where if not one.endswith(".json")] + [f"work {name}" for name in _in_work(workshop)])


def _in_work(workshop: Workshop) -> list[str]:
    return [name for folder in (0, 1) for name in workshop.in_work(folder) if not name.startswith(".")]


def title(row: Row) -> str:
    return f"{row[0]}.{row[1]}-{type(row[2]).__name__}{'-of-file' if row[2] is OWN else ''}"


each_row = pytest.mark.parametrize("row", ROWS[::EACH], ids=title)


@each_row
async def test_what_fails_once_costs_a_moment(make_workshop: Make, row: Row) -> None:
    workshop, _ = broken(make_workshop, row, fails=1)
    workshop.start()
    workshop.drop("bad.png")
    workshop.drop("good.png", folder=1)
    await workshop.until(lambda: whole(workshop) == ["done bad.png", "done good.png"], within=3600.0)

    assert len(workshop.api.paid_for("bad.png")) == 1
    assert len(workshop.api.paid_for("good.png")) == 1


@pytest.mark.parametrize("method", ["inbox_state", "scan", "stat", "publish"])
async def test_a_folder_that_cannot_be_used_for_long_is_told_of_once(make_workshop: Make, method: str) -> None:
    workshop, failing = broken(make_workshop, ("folders", method, FOLDER), fails=float("inf"))
    workshop.start()
    workshop.drop("bad.png")
    await workshop.advance(LONG)
    told = [event.pause for event in workshop.recorder.of(PauseStarted)]
    failing.fails = 0
    await workshop.until(lambda: whole(workshop) == ["done bad.png"], within=3600.0)

    assert failing.failed > 1
    assert len(told) == 1


@each_row
async def test_what_fails_for_long_stops_nothing_else_and_spins_nowhere(make_workshop: Make, row: Row) -> None:
    workshop, failing = broken(make_workshop, row, fails=float("inf"))
    workshop.start()
    workshop.drop("bad.png")
    workshop.drop("good.png", folder=1)
    await workshop.advance(LONG)
    failed, lying, good = failing.failed, whole(workshop), workshop.names("outbox", 1)
    failing.fails = 0
    await workshop.until(lambda: whole(workshop) == ["done bad.png", "done good.png"], within=2 * 3600.0)

    assert 0 < failed < MOST * LONG
    assert len(lying) == 2, f"each file lies in one place: {lying}"
    assert row[0] != "folders" or "good.png" in good
    assert len(workshop.api.paid_for("bad.png")) == 1
    assert len(workshop.api.paid_for("good.png")) == 1
