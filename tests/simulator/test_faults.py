"""Faults set on purpose, each as a client meets it."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from expandd.simulator.faults import Endpoint, Fault, FaultKind, read_fault
from tests.simulator.desk import Desk, an_image, opened

STATUSES = ["401", "402", "403", "404", "405", "413", "429", "500", "502", "503"]
CALLS: dict[str, Callable[[Desk], httpx.Response]] = {
    "upload": lambda desk: desk.send(),
    "generate": lambda desk: desk.generate(desk.upload()),
    "poll": lambda desk: desk.poll(),
    "delete": lambda desk: desk.delete(desk.finished()["id"]),
    "history": lambda desk: desk.history(desk.upload()),
    "me": lambda desk: desk.api.get("/me"),
    "login": lambda desk: desk.plain.post(f"{desk.server.api_url}/tokens", auth=("simulator@example.com", "simulator")),
    "refresh": lambda desk: desk.refresh("simulator-access", "simulator-refresh"),
    "link": lambda desk: desk.plain.get(desk.link()),
}


@pytest.mark.parametrize("endpoint", list(CALLS))
def test_every_endpoint_can_fail_once_and_is_well_again(desk: Desk, endpoint: str) -> None:
    desk.server.set_fault(f"{endpoint}:503")
    failed = CALLS[endpoint](desk)
    assert (failed.status_code, failed.json()["code"]) == (503, 503)
    assert CALLS[endpoint](desk).status_code == 200
    assert desk.server.counts().calls[endpoint] == {"503": 1, "200": 1}


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_comes_in_the_vendors_shape_and_nothing_was_done(desk: Desk, status: str) -> None:
    id_image = desk.upload()
    desk.server.set_fault(f"generate:{status}")
    answer = desk.generate(id_image)
    assert str(answer.status_code) == status
    assert answer.json().keys() == {"code", "message", "description"}
    counts = desk.server.counts()
    assert (counts.generates_accepted, counts.generates_refused) == (0, 1)


@pytest.mark.parametrize("status", ["500", "502", "503", "429"])
def test_a_status_after_the_work_hides_an_accepted_job(desk: Desk, status: str) -> None:
    desk.server.set_fault(f"generate:{status}-after")
    id_image = desk.upload()
    assert str(desk.generate(id_image).status_code) == status
    assert desk.server.counts().generates_by_image == {id_image: 1}
    desk.server.clock.advance(2)
    assert len(desk.listed(id_image=id_image)) == 1


def test_an_after_fault_waits_for_a_call_that_succeeds(desk: Desk) -> None:
    desk.server.set_fault("generate:reset-after")
    assert desk.generate("nobody").status_code == 405
    id_image = desk.upload()
    with pytest.raises(httpx.ReadError):
        desk.generate(id_image)
    assert desk.server.counts().generates_accepted == 1


def test_a_fault_does_not_hide_a_poll_that_came_too_soon(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=3.0)
    desk.server.set_fault("poll:500")
    assert [desk.poll().status_code for _ in range(2)] == [500, 429]
    assert desk.server.counts().polls_too_close == 1


def test_a_poll_answered_401_by_a_fault_may_be_repeated_at_once(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=3.0)
    desk.server.set_fault("poll:401")
    assert [desk.poll().status_code for _ in range(2)] == [401, 200]


def test_a_429_may_come_with_retry_after_or_without(desk: Desk) -> None:
    desk.server.set_fault(Fault(Endpoint.POLL, FaultKind.TOO_MANY, retry_after="7"))
    desk.server.set_fault("poll:429")
    first, second = desk.poll(), desk.poll()
    assert (first.status_code, first.headers["retry-after"]) == (429, "7")
    assert (second.status_code, "retry-after" in second.headers) == (429, False)


@pytest.mark.parametrize(
    ("kind", "media_type", "readable"),
    [("html", "text/html; charset=utf-8", True), ("empty", None, False), ("garbage", "application/json", True)],
)
def test_an_answer_with_status_200_may_be_nonsense(
    desk: Desk, kind: str, media_type: str | None, readable: bool
) -> None:
    desk.server.set_fault(f"poll:{kind}")
    answer = desk.poll()
    assert (answer.status_code, answer.headers.get("content-type")) == (200, media_type)
    assert bool(answer.content) == readable
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()


def test_a_connection_may_be_reset_before_anything_was_done(desk: Desk) -> None:
    id_image = desk.upload()
    desk.server.set_fault("generate:reset")
    # Where the reset meets a client still writing, it surfaces as an end without an answer.
    with pytest.raises(httpx.TransportError):
        desk.generate(id_image)
    counts = desk.server.counts()
    assert counts.generates_accepted == 0
    assert counts.calls["generate"] == {"reset": 1}


def test_an_upload_may_be_reset_while_it_is_sent(desk: Desk) -> None:
    desk.server.set_fault("upload:reset")
    with pytest.raises(httpx.TransportError):
        desk.send(bytes(20_000_000))
    assert desk.server.counts().uploads == []
    assert desk.send().status_code == 200


def test_a_connection_may_be_reset_after_the_job_was_accepted(desk: Desk) -> None:
    id_image = desk.upload()
    desk.server.set_fault("generate:reset-after")
    with pytest.raises(httpx.ReadError):
        desk.generate(id_image)
    counts = desk.server.counts()
    assert counts.generates_by_image == {id_image: 1}
    assert counts.calls["generate"] == {"reset": 1}


def test_a_hang_outlasts_the_clients_patience_and_nothing_was_done(desk: Desk) -> None:
    id_image = desk.upload()
    desk.server.set_fault("generate:hang")
    with pytest.raises(httpx.ReadTimeout):
        desk.api.post("/edit/generate", json={"id_image": id_image}, timeout=httpx.Timeout(30, read=0.1))
    assert desk.server.counts().generates_accepted == 0


def test_a_hang_after_the_job_was_accepted_hides_it(desk: Desk) -> None:
    desk.server.set_fault("generate:hang-after")
    id_image = desk.upload()
    desk.api.timeout = httpx.Timeout(30, read=1)
    with pytest.raises(httpx.ReadTimeout):
        desk.generate(id_image)
    assert desk.server.counts().generates_by_image == {id_image: 1}


def test_a_short_hang_is_only_slow(desk: Desk) -> None:
    desk.server.set_fault(Fault(Endpoint.ME, FaultKind.HANG, seconds=0.1))
    before = time.monotonic()
    assert desk.api.get("/me").status_code == 200
    assert time.monotonic() - before >= 0.1


def test_a_job_may_fail_and_then_leaves_no_result(desk: Desk) -> None:
    desk.server.set_fault("generate:job-fails")
    failed, fine = desk.finished(), desk.finished()
    assert (failed["name"], fine["name"]) == ("error", "expand_generate")
    assert failed["data"] == {"tasks": "expand_generate", "msg": "The image could not be expanded."}


def test_a_job_may_never_end(desk: Desk) -> None:
    desk.server.set_fault("generate:job-stuck")
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    assert desk.listed() == []
    desk.server.clock.advance(12 * 3600)
    assert desk.history(id_image).json()["history"] == []


def test_a_notification_may_be_lost(desk: Desk) -> None:
    desk.server.set_fault("generate:notification-lost")
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    assert desk.listed() == []
    assert len(desk.history(id_image).json()["history"]) == 1


def test_a_delete_may_fail_and_the_notification_stays(desk: Desk) -> None:
    number = desk.finished()["id"]
    desk.server.set_fault("delete:500")
    assert desk.delete(number).status_code == 500
    assert [one["id"] for one in desk.listed()] == [number]
    assert desk.server.counts().deletes == []


def test_a_download_may_end_before_its_announced_length(desk: Desk) -> None:
    link = desk.link()
    whole = desk.plain.get(link).content
    desk.server.set_fault("link:truncated")
    with pytest.raises(httpx.RemoteProtocolError, match=f"expected {len(whole)}"):
        desk.plain.get(link)
    assert sum(desk.server.counts().downloads.values()) == 1


def test_a_download_may_be_short_but_consistent(desk: Desk) -> None:
    link = desk.link()
    whole = desk.plain.get(link).content
    desk.server.set_fault("link:short")
    answer = desk.plain.get(link)
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content) < len(whole)
    assert whole.startswith(answer.content)
    assert sum(desk.server.counts().downloads.values()) == 1


def test_a_download_may_be_a_page_of_html(desk: Desk) -> None:
    link = desk.link()
    desk.server.set_fault("link:html")
    answer = desk.plain.get(link)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert desk.server.counts().downloads == {}


def test_a_download_may_be_an_image_of_the_wrong_size(desk: Desk) -> None:
    link = desk.link()
    desk.server.set_fault("link:wrong-size")
    assert opened(desk.plain.get(link).content).size == (96, 80)
    assert desk.server.counts().downloads == {}
    assert opened(desk.plain.get(link).content).size == (95, 80)


def test_a_download_may_never_end(desk: Desk) -> None:
    link = desk.link()
    desk.server.set_fault("link:endless")
    with desk.plain.stream("GET", link) as answer:
        assert "content-length" not in answer.headers
        received = 0
        for chunk in answer.iter_raw():
            received += len(chunk)
            if received > 20_000_000:
                break
    assert desk.api.get("/me").status_code == 200


def test_a_download_may_stall_half_way(desk: Desk) -> None:
    link = desk.link()
    desk.server.set_fault("link:stall")
    with pytest.raises(httpx.ReadTimeout):
        desk.plain.get(link, timeout=httpx.Timeout(30, read=0.1))
    assert desk.server.counts().downloads == {}


def test_a_stall_that_ends_in_time_gives_the_whole_result(desk: Desk) -> None:
    link = desk.link()
    whole = desk.plain.get(link).content
    desk.server.set_fault(Fault(Endpoint.LINK, FaultKind.STALL, seconds=0.05))
    assert desk.plain.get(link).content == whole


def test_a_link_may_redirect_for_ever(desk: Desk) -> None:
    link = desk.link()
    desk.server.set_fault("link:redirect-loop:always")
    with pytest.raises(httpx.TooManyRedirects):
        desk.plain.get(link, follow_redirects=True)


def test_a_link_may_be_404_for_a_while(desk: Desk) -> None:
    link = desk.link()
    desk.server.set_fault("link:404:2")
    assert [desk.plain.get(link).status_code for _ in range(3)] == [404, 404, 200]


def test_a_fault_strikes_its_number_of_times_after_those_it_lets_through(desk: Desk) -> None:
    desk.server.set_fault(Fault(Endpoint.ME, FaultKind.SERVER_ERROR, times=2, skip=1))
    assert [desk.api.get("/me").status_code for _ in range(4)] == [200, 500, 500, 200]


def test_an_endless_fault_strikes_until_it_is_cleared(desk: Desk) -> None:
    desk.server.set_fault("me:500:always")
    assert [desk.api.get("/me").status_code for _ in range(4)] == [500] * 4
    desk.server.clear_faults()
    assert desk.api.get("/me").status_code == 200


def test_faults_of_one_endpoint_strike_in_the_order_they_were_set(desk: Desk) -> None:
    desk.server.set_fault("me:500")
    desk.server.set_fault("me:503")
    desk.server.set_fault("poll:429")
    assert [desk.api.get("/me").status_code for _ in range(3)] == [500, 503, 200]


def test_a_probability_strikes_some_calls_and_the_seed_says_which(make_desk: Callable[..., Desk]) -> None:
    def statuses(seed: int) -> list[int]:
        desk = make_desk(seed=seed)
        desk.server.set_fault("me:503:p=0.5")
        return [desk.api.get("/me").status_code for _ in range(40)]

    first = statuses(1)
    assert 5 < first.count(503) < 35
    assert statuses(1) == first
    assert statuses(2) != first


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("poll:429:3", Fault(Endpoint.POLL, FaultKind.TOO_MANY, times=3)),
        ("generate:reset-after", Fault(Endpoint.GENERATE, FaultKind.RESET, after=True)),
        ("link:truncated:always", Fault(Endpoint.LINK, FaultKind.TRUNCATED, times=None)),
        ("upload:hang:p=0.25", Fault(Endpoint.UPLOAD, FaultKind.HANG, times=None, probability=0.25)),
        ("link:redirect-loop", Fault(Endpoint.LINK, FaultKind.REDIRECT_LOOP)),
        ("upload:413-html:above=9", Fault(Endpoint.UPLOAD, FaultKind.TOO_LARGE_PAGE, above=9)),
        (
            "upload:hang-after:always:seconds=2.5:sha256=ab",
            Fault(Endpoint.UPLOAD, FaultKind.HANG, times=None, after=True, seconds=2.5, sha256="ab"),
        ),
    ],
)
def test_a_fault_can_be_written_as_text(text: str, fault: Fault) -> None:
    assert read_fault(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "poll",
        "poll:nothing",
        "nowhere:500",
        "poll:500:often",
        "poll:500:p=2",
        "poll:truncated",
        "me:job-fails",
        "link:truncated-after",
        "poll:500:p=x",
        "poll:500:above=5",
        "upload:500:above=x",
        "upload:500:2:3",
    ],
)
def test_a_fault_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_fault(text)


def test_every_kind_of_fault_can_be_set_somewhere() -> None:
    def homes(kind: FaultKind) -> list[Any]:
        found = []
        for endpoint in Endpoint:
            try:
                found.append(Fault(endpoint, kind))
            except ValueError:
                continue
        return found

    assert {kind: len(homes(kind)) > 0 for kind in FaultKind} == dict.fromkeys(FaultKind, True)


def test_a_fault_may_strike_large_images_only(desk: Desk) -> None:
    small, large = an_image(), an_image(300, 300, noise=True)
    desk.server.set_fault(f"upload:413-html:always:above={len(small)}")

    refused = desk.send(large)

    assert (refused.status_code, refused.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert "413 Request Entity Too Large" in refused.text
    assert [desk.send(small).status_code, desk.send(large).status_code] == [200, 413]
    assert [seen.size for seen in desk.server.counts().uploads] == [len(small)]


@pytest.mark.parametrize("kind", ["500", "hang", "500-after", "reset-after", "job-fails"])
def test_a_fault_may_strike_the_paid_calls_of_chosen_images_only(desk: Desk, kind: str) -> None:
    chosen, other = an_image(seed=1), an_image(seed=2)
    desk.server.set_fault(f"generate:{kind}:always:sha256={hashlib.sha256(chosen).hexdigest()[:16]}:seconds=0")
    desk.server.switch(notification_life=3600.0)

    assert desk.finished(other)["name"] == "expand_generate"
    id_image = desk.upload(chosen)
    if kind == "reset-after":
        with pytest.raises(httpx.ReadError):
            desk.generate(id_image)
    else:
        assert desk.generate(id_image).status_code == (500 if "500" in kind else 200)
    assert desk.server.counts().generates_accepted == (1 if kind == "500" else 2)
    desk.server.clock.advance(2)
    assert [one["name"] for one in desk.listed(id_image=id_image)] == {
        "500": [],
        "job-fails": ["error"],
    }.get(kind, ["expand_generate"])


def test_an_upload_may_be_answered_late(desk: Desk) -> None:
    small, large = an_image(), an_image(300, 300, noise=True)
    desk.server.set_fault(f"upload:hang-after:always:above={len(small)}:seconds=20")
    desk.api.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        desk.send(large)
    desk.api.timeout = httpx.Timeout(10)
    assert desk.send(small).status_code == 200
    assert [seen.size for seen in desk.server.counts().uploads] == [len(large), len(small)]


def test_a_broken_call_meets_no_fault_of_chosen_images_and_is_told_what_is_wrong(desk: Desk) -> None:
    desk.server.set_fault("generate:500:always:above=0")
    desk.server.set_fault("upload:500:always:above=0")
    assert desk.generate("nobody").status_code == 405
    for body in ("[]", "{", '"text"'):
        headers = {"Content-Type": "application/json"}
        assert desk.api.post("/edit/generate", content=body, headers=headers).status_code == 400
    assert desk.api.post("/expand/target", data={"file": "no file"}).status_code == 400


@pytest.mark.parametrize(("kind", "encoding"), [("gzip", "gzip"), ("gzip-gzip", "gzip, gzip")])
@pytest.mark.parametrize("endpoint", ["me", "upload", "link"])
def test_an_answer_may_be_packed_many_times_over(desk: Desk, endpoint: str, kind: str, encoding: str) -> None:
    desk.server.set_fault(f"{endpoint}:{kind}")
    # Only its head is read, which unpacks nothing here either.
    call = CALLS[endpoint]
    desk.api.event_hooks = desk.plain.event_hooks = {"response": [_stop_at_packed]}
    with pytest.raises(_PackedError) as packed:
        call(desk)
    assert packed.value.args == (200, encoding)


class _PackedError(Exception):
    """A packed answer has come."""


def _stop_at_packed(answer: httpx.Response) -> None:
    if "content-encoding" in answer.headers:
        assert sum(map(len, answer.iter_raw())) < 100_000
        raise _PackedError(answer.status_code, answer.headers["content-encoding"])
