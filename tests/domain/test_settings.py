from __future__ import annotations

from pathlib import Path

from expandd.domain.offsets import Sides
from expandd.domain.settings import HotFolder, Settings

FOLDER = HotFolder(
    inbox=Path("/srv/in"),
    outbox=Path("/srv/out"),
    done=Path("/srv/done"),
    error=Path("/srv/error"),
    preset=Sides(),
    preset_name="none",
)


def test_the_work_folder_is_inside_the_inbox_so_that_a_claim_is_a_rename() -> None:
    assert FOLDER.work == Path("/srv/in/.expandd")


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings(state_dir=Path("/var/lib/expandd"))

    assert (settings.workers, settings.folders) == (4, ())
    assert (settings.api.poll_interval, settings.api.timeout, settings.api.unknown_wait) == (3.0, 30.0, 900.0)
    assert (FOLDER.settle, FOLDER.settle_max, FOLDER.scan_interval) == (2.0, 600.0, 60.0)
