from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from expandd.domain.errors import AccountAway, OutcomeUnknown
from expandd.domain.events import PauseEnded, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from tests.support.fake_api import Fate, Lose, Refuse
from tests.support.workshop import A_WHILE, Workshop

S = JobState

LOST = OutcomeUnknown("its answer was lost")
UNREACHABLE = AccountAway(PauseReason.API_UNREACHABLE, "no route to host")


async def test_without_credits_nothing_more_is_paid_and_the_polls_go_on(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=4)
    workshop.api.credits = 2
    workshop.api.fate = Fate(seconds=120.0)
    workshop.start()
    names = [f"pic-{number}.png" for number in range(6)]
    for name in names:
        workshop.drop(name)
    await workshop.advance(1800.0)

    [shut] = workshop.recorder.of(PauseStarted)
    assert (shut.pause, shut.reason) == ("spending", PauseReason.NO_CREDITS)
    assert len(workshop.api.paid) == 2
    assert len(workshop.names("outbox")) == 2
    assert workshop.names("error") == []


async def test_free_account_call_probes_while_credits_are_used_up(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=4)
    workshop.api.credits = 0
    workshop.start()
    for number in range(6):
        workshop.drop(f"pic-{number}.png")
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    await workshop.advance(60.0)
    refused, asked = len(workshop.api.called("generate")), len(workshop.api.called("account"))
    await workshop.advance(4 * A_WHILE)

    # Those that were under way when the breaker shut are refused; then only /me is asked, once a minute at most.
    assert refused <= 4
    assert len(workshop.api.called("generate")) == refused
    assert 4 * A_WHILE / 60 * 0.4 < len(workshop.api.called("account")) - asked < 4 * A_WHILE / 60 * 2


async def test_one_file_probes_for_credits_and_the_others_stay_in_the_inbox(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.credits = 0
    workshop.start()
    for number in range(6):
        workshop.drop(f"pic-{number}.png")
    await workshop.advance(3600.0)

    # One that is paid for, and one that was uploaded beside it.
    assert len(workshop.names("inbox")) == 4
    assert len(workshop.in_work()) == 2
    assert len(workshop.api.called("upload")) == 2


async def test_everything_goes_on_by_itself_once_there_are_credits(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.credits = 0
    workshop.start()
    names = [f"pic-{number}.png" for number in range(6)]
    for name in names:
        workshop.drop(name)
    await workshop.advance(3 * A_WHILE)
    workshop.api.credits = 100
    await workshop.closed(*names, within=600.0)

    assert len(workshop.api.paid) == 6
    assert [event.reason for event in workshop.recorder.of(PauseEnded)] == [PauseReason.NO_CREDITS]


async def test_new_credits_are_noticed_though_answers_are_empty(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.credits = 0
    workshop.start()
    names = [f"pic-{number}.png" for number in range(12)]
    for name in names:
        workshop.drop(name)
    await workshop.advance(600.0)
    workshop.api.credits = 100
    workshop.api.script("generate", *[Lose(LOST)] * len(names))
    await workshop.closed(*names, within=180.0)

    assert len(workshop.api.paid) == len(names)


async def test_a_probe_for_credits_that_is_lost_is_repeated_soon(workshop: Workshop) -> None:
    workshop.api.script("generate", Refuse(AccountAway(PauseReason.NO_CREDITS, "403, forbidden")))
    workshop.api.script("account", Refuse(AccountAway(PauseReason.API_UNREACHABLE, "200, a web page")))
    workshop.start()
    workshop.drop("pic.png")

    await workshop.closed("pic.png", within=30.0)


async def test_lost_answers_to_paid_calls_are_no_outage_while_the_api_serves(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=8)
    workshop.api.script("generate", *[Lose(LOST)] * 16)
    workshop.start()
    names = [f"pic-{number}.png" for number in range(16)]
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)

    assert workshop.recorder.of(PauseStarted) == []


async def test_a_retry_after_slows_every_call_of_the_account(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=4)
    workshop.api.fate = Fate(seconds=1.0)
    workshop.api.script("generate", None, Refuse(AccountAway(PauseReason.RATE_LIMITED, "429", 120.0)))
    workshop.start()
    names = [f"pic-{number}.png" for number in range(8)]
    for name in names:
        workshop.drop(name)
    shut = await workshop.event(lambda event: isinstance(event, PauseStarted))
    shut_at = workshop.clock.monotonic()
    await workshop.closed(*names)
    during = [call.endpoint for call in workshop.api.calls if shut_at < call.began < shut_at + 119.0]

    assert isinstance(shut, PauseStarted)
    assert shut.reason is PauseReason.RATE_LIMITED
    # What was under way ends; a download comes from another host.
    assert set(during) <= {"download"}
    assert len(workshop.api.paid) == 8


async def test_an_unreachable_api_shuts_the_breaker_after_three_failures(workshop: Workshop) -> None:
    workshop.api.script("upload", Refuse(UNREACHABLE), Refuse(UNREACHABLE))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.recorder.of(PauseStarted) == []


async def test_an_unreachable_api_is_probed_ever_more_rarely(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=8)
    workshop.api.away["*"] = UNREACHABLE
    workshop.start()
    for number in range(30):
        workshop.drop(f"pic-{number:02d}.png")
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    await workshop.advance(120.0)
    before = len(workshop.api.calls)
    await workshop.advance(3600.0)
    calls = workshop.api.calls[before:]
    apart = [after.began - (call.ended or 0.0) for call, after in pairwise(calls)]

    assert 30 < len(calls) < 140
    assert min(apart) > 0
    assert workshop.names("error") == []


async def test_recovery_of_the_api_is_spread(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=8)
    workshop.start()
    workshop.api.away["*"] = UNREACHABLE
    names = [f"pic-{number:02d}.png" for number in range(30)]
    for name in names:
        workshop.drop(name)
    await workshop.advance(3600.0)
    del workshop.api.away["*"]
    await workshop.event(lambda event: isinstance(event, PauseEnded))
    back_at = workshop.clock.monotonic()
    await workshop.closed(*names)
    at_first = [call for call in workshop.api.calls if back_at <= call.began < back_at + 1.0]

    # Eight images are paid for, they and eight more uploaded, and nothing else than the one poll happens.
    assert len(at_first) <= 3 * 8 + 1
    assert len(workshop.api.paid) == 30
    assert workshop.names("error") == []


async def test_a_rejected_token_waits_and_costs_no_file(workshop: Workshop) -> None:
    workshop.api.away["*"] = AccountAway(PauseReason.LOGIN_REFUSED, "the token was rejected")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(3 * A_WHILE)
    del workshop.api.away["*"]
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["pic.png"]
    assert len(workshop.api.paid) == 1
    assert [event.reason for event in workshop.recorder.of(PauseStarted)] == [PauseReason.LOGIN_REFUSED]


async def test_a_wrong_path_stops_the_spending_and_says_so(workshop: Workshop) -> None:
    workshop.api.away["generate"] = AccountAway(PauseReason.ENDPOINT_NOT_FOUND, "api.generate_path is wrong")
    workshop.start()
    workshop.drop("pic.png")
    shut = await workshop.event(lambda event: isinstance(event, PauseStarted))

    assert isinstance(shut, PauseStarted)
    assert (shut.pause, shut.reason) == ("spending", PauseReason.ENDPOINT_NOT_FOUND)
