from __future__ import annotations

from expandd.domain.job import JobState
from tests.support.fakes import picture
from tests.support.workshop import Workshop

S = JobState


async def test_a_dropped_picture_comes_out_expanded_and_its_original_is_put_away(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("inbox") == []
    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("done") == ["pic.png"]
    assert workshop.names("error") == []
    assert workshop.in_work() == []
    assert (workshop.hot[0].outbox / "pic.png").read_bytes() == picture(140, 100, note="made of 'pic.png'")
    assert (workshop.hot[0].done / "pic.png").read_bytes() == picture(note="pic.png")
    assert workshop.recorder.states_of("pic.png") == [
        S.CLAIMED,
        S.UPLOADED,
        S.INTENT,
        S.ACCEPTED,
        S.RENDERED,
        S.VAULTED,
        S.DELIVERED,
        S.DONE,
    ]
