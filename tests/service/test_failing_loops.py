"""A part of the daemon that keeps failing is named to the caller for the status."""

from __future__ import annotations

from pathlib import Path

from expandd.service.reports.facts import Pace
from expandd.service.reports.overview import Money, Overview
from expandd.service.reports.overview_text import headlines
from expandd.service.reports.snapshot import LoopFailing, Snapshot, last_snapshot, write_snapshot

FAILING = (LoopFailing("inbox /srv/hot", 1_000.0, "ValueError: never"),)


def test_a_failing_loop_is_read_as_it_was_left(tmp_path: Path) -> None:
    write_snapshot(tmp_path, Snapshot(at=2_000.0, process="process 1", failing=FAILING))
    found = last_snapshot(tmp_path)

    assert found is not None
    assert found.failing == FAILING


def test_status_names_it_and_says_why() -> None:
    overview = Overview(
        at=2_000.0,
        running="process 1",
        told_at=2_000.0,
        folders=(),
        pauses=(),
        money=Money(paid_today=0, paid_this_month=0, day_left=None, month_left=None, credits=None, credits_at=None),
        pace=Pace(per_hour=0.0, seconds_left=None),
        in_progress=(),
        done=(),
        failed=(),
        differing=(),
        failing=FAILING,
    )
    said = " ".join(headlines(overview))

    assert "inbox /srv/hot" in said
    assert "ValueError: never" in said


def test_a_shared_account_and_lost_lines_of_the_log_are_read_as_they_were_left(tmp_path: Path) -> None:
    left = Snapshot(at=2_000.0, process="process 1", account_shared_with="process 7", lost_log_lines=3)
    write_snapshot(tmp_path, left)

    assert last_snapshot(tmp_path) == left
