from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Incomplete, Inspection, Invalid, Size, Valid
from expandd.domain.offsets import Amount, Canvas, Offsets, Preset, Sides
from expandd.domain.settings import HotFolder
from expandd.domain.settle import (
    Expandable,
    FileStat,
    Observation,
    SettleDecision,
    content_decision,
    settle_decision,
)

LOOK = FileStat(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5)
QUIET = Observation(LOOK, 100.0)
HALF = Observation(LOOK, 100.0, unfinished="The image ends too early.")


@pytest.mark.parametrize(
    ("observation", "now", "decision"),
    [
        (QUIET, 100.0, SettleDecision.WAIT),  # just seen
        (QUIET, 101.9, SettleDecision.WAIT),  # not quiet for long enough
        (QUIET, 102.0, SettleDecision.INSPECT),  # quiet for the settle time
        (QUIET, 9999.0, SettleDecision.INSPECT),  # long quiet, never inspected: there was no room
        (HALF, 101.0, SettleDecision.WAIT),  # half a file, still fresh
        (HALF, 102.0, SettleDecision.WAIT),  # half a file, its rest may come
        (HALF, 699.9, SettleDecision.WAIT),
        (HALF, 700.0, SettleDecision.GIVE_UP),  # half a file for the longest time
        (QUIET, 50.0, SettleDecision.WAIT),  # a clock that went back never takes a file early
    ],
)
def test_a_candidate_ripens_by_its_quiet(observation: Observation, now: float, decision: SettleDecision) -> None:
    assert settle_decision(observation, now, settle=2.0, settle_max=600.0) is decision


def test_a_settle_time_of_zero_inspects_at_once() -> None:
    assert settle_decision(QUIET, 100.0, settle=0.0, settle_max=600.0) is SettleDecision.INSPECT


@pytest.mark.parametrize("change", ["device", "inode", "size", "mtime_ns", "ctime_ns"])
def test_any_change_begins_the_quiet_anew_and_forgets_what_was_found(change: str) -> None:
    changes: dict[str, Any] = {change: 99}
    look = replace(LOOK, **changes)

    assert HALF.updated(look, 107.0) == Observation(look, 107.0)


def test_no_change_keeps_the_quiet_and_what_was_found() -> None:
    assert HALF.updated(LOOK, 107.0) is HALF


def test_a_file_that_goes_on_changing_is_never_inspected() -> None:
    observation, now = QUIET, 100.0
    for size in range(1000):
        now += 1.5
        observation = observation.updated(replace(LOOK, size=size + 10), now)

        assert settle_decision(observation, now, settle=2.0, settle_max=600.0) is SettleDecision.WAIT


SIZE = Size(100, 80)
ENDS_EARLY = Incomplete(Fault(FaultCode.NOT_WHOLE, "The image ends too early.", "Copy it again."))
TEXT = Invalid(Fault(FaultCode.UNSUPPORTED_TYPE, "It is a text.", "Drop an image."))


def found_in(found: Inspection, preset: Preset) -> Expandable | Incomplete | Invalid:
    base = Path("/srv/hot")
    folder = HotFolder(
        inbox=base / "in", outbox=base / "out", done=base / "done", error=base / "error", preset=preset, preset_name="p"
    )
    return content_decision(found, folder)


def test_a_whole_image_is_expanded_by_the_offsets_of_its_folders_preset() -> None:
    whole = Valid(format=ImageFormat.PNG, size=SIZE, orientation=1)
    decision = found_in(whole, Canvas(width=120))

    assert decision == Expandable(whole, Offsets(left=10, right=10))
    assert decision.result_size == Size(120, 80)


@pytest.mark.parametrize(
    ("preset", "code"),
    [
        (Canvas(width=100, height=80), FaultCode.NOTHING_TO_DO),
        (Sides(left=Amount(Fraction(-100))), FaultCode.OFFSETS_LEAVE_NOTHING),
    ],
)
def test_a_whole_image_that_its_preset_does_not_fit_is_unfit(preset: Preset, code: FaultCode) -> None:
    decision = found_in(Valid(format=ImageFormat.PNG, size=SIZE, orientation=1), preset)

    assert isinstance(decision, Invalid)
    assert decision.fault.code is code


@pytest.mark.parametrize("found", [ENDS_EARLY, TEXT])
def test_what_is_no_whole_image_stays_what_was_found(found: Inspection) -> None:
    assert found_in(found, Canvas(width=120)) is found
