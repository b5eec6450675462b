"""Files that were given up unfinished and are filled in the error folder: each comes back once it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from expandd.domain.events import BroughtBack
from tests.support.fakes import an_image
from tests.support.workshop import Workshop

WHOLE = an_image(note="whole")
HALF = WHOLE[: len(WHOLE) // 2]


async def given_up(workshop: Workshop, content: bytes) -> Path:
    """A file with this content, in the error folder."""
    workshop.start()
    workshop.drop("slow.png", content)
    await workshop.closed("slow.png", within=3600.0)
    assert workshop.names("error") == ["slow.png", "slow.png.error.json"]
    return workshop.hot[0].error / "slow.png"


@pytest.mark.parametrize("content", [b"", HALF])
async def test_a_file_that_is_filled_in_the_error_folder_comes_back_and_is_expanded_once(
    workshop: Workshop, content: bytes
) -> None:
    archived_to = await given_up(workshop, content)
    archived_to.write_bytes(WHOLE)
    await workshop.until(lambda: workshop.names("done") == ["slow.png"], within=600.0)

    assert workshop.names("error") == []
    assert workshop.names("outbox") == ["slow.png"]
    assert len(workshop.recorder.of(BroughtBack)) == 1
    assert len(workshop.api.paid) == 1


async def test_a_writer_that_holds_the_file_while_it_is_moved_may_write_on(workshop: Workshop) -> None:
    workshop.start()
    with workshop.drop("slow.png", HALF).open("ab") as writer:
        await workshop.closed("slow.png", within=3600.0)
        for byte in range(len(HALF), len(WHOLE)):
            writer.write(WHOLE[byte : byte + 1])
            writer.flush()
            await workshop.advance(10.0)
    await workshop.until(lambda: workshop.names("done") == ["slow.png"], within=600.0)

    assert (workshop.hot[0].done / "slow.png").read_bytes() == WHOLE
    assert len(workshop.api.paid) == 1


async def test_after_a_restart_it_is_still_looked_at(workshop: Workshop) -> None:
    archived_to = await given_up(workshop, b"")
    await workshop.crash()
    archived_to.write_bytes(WHOLE)
    workshop.start()
    await workshop.until(lambda: workshop.names("done") == ["slow.png"], within=600.0)

    assert len(workshop.api.paid) == 1


async def test_unfinished_file_in_error_is_inspected_once_for_each_change(
    workshop: Workshop,
) -> None:
    archived_to = await given_up(workshop, b"")
    before = workshop.images.inspected
    await workshop.advance(1800.0)
    untouched = workshop.images.inspected - before
    archived_to.write_bytes(HALF)
    await workshop.advance(1800.0)

    assert untouched == 0
    assert workshop.images.inspected - before == 1
    assert workshop.names("error") == ["slow.png", "slow.png.error.json"]
    assert workshop.api.paid == []


async def test_a_file_that_failed_for_another_reason_stays_whatever_becomes_of_it(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("slow.png", b"no image at all")
    await workshop.closed("slow.png")
    (workshop.hot[0].error / "slow.png").write_bytes(WHOLE)
    await workshop.advance(1800.0)

    assert workshop.names("error") == ["slow.png", "slow.png.error.json"]
    assert workshop.api.paid == []


async def test_an_error_folder_that_is_away_for_a_while_costs_nothing(workshop: Workshop) -> None:
    archived_to = await given_up(workshop, b"")
    away = archived_to.parent.with_name("away")
    archived_to.parent.rename(away)
    (away / "slow.png").write_bytes(WHOLE)
    workshop.drop("other.png")
    await workshop.advance(600.0)
    away.rename(archived_to.parent)
    await workshop.until(lambda: "slow.png" in workshop.names("done"), within=600.0)

    assert len(workshop.api.paid_for("slow.png")) == 1
