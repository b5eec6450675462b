"""A host of several tells its boot also where /proc is closed to it."""

from __future__ import annotations

from pathlib import Path

from expandd.service.runtime.joining import BOOT_ID, BOOT_ID_GIVEN, boot_id

AWAY = Path("/proc/nowhere")


def test_the_boot_is_what_the_unit_says_or_the_kernel() -> None:
    kernels = BOOT_ID.read_text().strip().replace("-", "")
    assert boot_id({BOOT_ID_GIVEN: kernels}, AWAY) == kernels
    assert boot_id({}) == boot_id({BOOT_ID_GIVEN: ""}) == kernels


def test_a_boot_that_nothing_tells_is_no_other() -> None:
    assert boot_id({}, AWAY) != boot_id({}, AWAY)
