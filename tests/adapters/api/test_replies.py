"""What the API may say, in every shape it may say it, and nothing that it says can make the reading fail."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from expandd.adapters.api import errors, replies
from expandd.adapters.api.errors import Complaint, Endpoint
from expandd.adapters.api.replies import Shape
from expandd.domain.api_types import Announcement, History, Notification
from expandd.domain.errors import ExpanddError

LINK = "https://cdn.example.com/a.png?sig=1"


def said(value: Any, status: int = 200) -> replies.Answer:
    return replies.read(status, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"id_image": "abc"}, "abc"),
        ({"image_id": "abc"}, "abc"),
        ({"id_image": 67762577}, "67762577"),
        ({"id_image": "first", "image_id": "second"}, "first"),
        ({"id_image": "", "image_id": 7}, "7"),
        ({"id_image": None, "image_id": " x "}, "x"),
        ({"id_image": True}, ""),
        ({"id_image": ["a"]}, ""),
        ({"id_image": "a\nb"}, ""),
        ({"id_image": "\ud800"}, ""),
        ({"id_image": "x" * 201}, ""),
        ({}, ""),
        (["abc"], ""),
        ("abc", ""),
    ],
)
def test_upload_id(value: Any, expected: str) -> None:
    assert replies.upload_id(said(value)) == expected


@pytest.mark.parametrize(
    "links",
    [
        [{"l": LINK, "t": "https://cdn.example.com/thumb.png"}],
        {"l": LINK},
        LINK,
        [LINK],
        json.dumps([{"l": LINK}]),
        json.dumps({"l": LINK}),
        json.dumps(LINK),
        [{}, None, 5, {"l": None}, {"l": LINK}],
        [{"l": LINK}, {"l": LINK}],
        [[{"l": f"  {LINK} "}]],
    ],
)
def test_links_in_every_loose_shape(links: Any) -> None:
    assert replies.links(links) == (LINK,)


@pytest.mark.parametrize(
    "links", [None, [], {}, "", "done", "ftp://x/y", "file:///etc/passwd", "//cdn/x", "{", [{"t": LINK}], 5, "a b"]
)
def test_what_is_no_link(links: Any) -> None:
    assert replies.links(links) == ()


def test_notifications_wrapped_or_bare() -> None:
    items = [
        {"id": 5, "name": "expand_generate", "data": {"id_image": "a", "links": [{"l": LINK}], "id_task": 9}},
        {"id": "6", "name": "expand_generate", "data": {"address": "b", "link": LINK}},
        {"id": 7, "name": "error", "data": {"tasks": "expand", "msg": "no\nfaces"}},
        {"id": 8, "name": "expand_generate", "data": None},
        {"name": ["odd"], "data": "odd"},
        "odd",
        {"id": 5, "name": "expand_generate", "data": {"id_image": "a", "links": [{"l": LINK}], "id_task": 9}},
    ]
    expected = (
        Notification(id=5, kind=Announcement.RESULT, image_id="a", task_id="9", link=LINK),
        Notification(id=6, kind=Announcement.RESULT, image_id="b", link=LINK),
        Notification(id=7, kind=Announcement.ERROR, message="no faces"),
        Notification(id=8, kind=Announcement.RESULT),
        Notification(id=None, kind=Announcement.OTHER),
    )
    assert replies.notifications(said({"notifications_list": items})) == expected
    assert replies.notifications(said(items)) == expected


@pytest.mark.parametrize("value", [{"notifications_list": None}, {}, [], None])
def test_no_notifications(value: Any) -> None:
    assert replies.notifications(said(value)) == ()


@pytest.mark.parametrize("value", ["x", 5, {"notifications_list": "x"}, {"notifications_list": {"a": 1}}])
def test_what_is_no_list_of_notifications(value: Any) -> None:
    assert replies.notifications(said(value)) is None
    assert replies.notifications(replies.read(200, b"<html>")) is None
    assert replies.notifications(replies.read(200, b"")) is None


@pytest.mark.parametrize("number", [True, 1.5, "x", "٣", "9" * 5000, 10**30, None, [1]])
def test_a_notification_without_a_usable_number(number: Any) -> None:
    found = replies.notifications(said([{"id": number, "name": "error"}]))
    assert found is not None
    assert found[0].id is None


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [(1702819200.5, 1702819200.5), (1702819200, 1702819200.0), (True, None), ("today", None), (float("nan"), None)],
)
def test_when_a_notification_was_made(timestamp: Any, at: float | None) -> None:
    found = replies.notifications(said([{"id": 1, "name": "error", "timestamp": timestamp}]))
    assert found is not None
    assert found[0].at == at


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"history": [{"l": LINK}], "info_list": []}, History(known=True, links=(LINK,))),
        ({"history": LINK}, History(known=True, links=(LINK,))),
        ([{"l": LINK}], History(known=True, links=(LINK,))),
        ({"history": []}, History(known=True)),
        ({"history": [], "info_list": []}, History(known=True)),
        ([], History(known=True)),
        ({"history": [], "info_list": [{"w": 1}]}, History(known=False)),
        ({"history": None}, History(known=False)),
        ({"history": ""}, History(known=False)),
        ({"history": [{"x": LINK}]}, History(known=False)),
        ({"history": ["soon"]}, History(known=False)),
        ({}, History(known=False)),
        (None, History(known=False)),
    ],
)
def test_history_never_says_nothing_was_made_unless_it_does(value: Any, expected: History) -> None:
    assert replies.history(said(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12.50", Decimal("12.50")),
        (" 3 ", Decimal(3)),
        (7, Decimal(7)),
        (0.25, Decimal("0.25")),
        ("lots", None),
        ("NaN", None),
        ("Infinity", None),
        (True, None),
        (None, None),
        ([1], None),
        ("1e30", None),
        ("9" * 30, None),
        ("1e99999999", None),
        ("1e-99999999", None),
        (10**400, None),
        (1e308, None),
    ],
)
def test_credits(value: Any, expected: Decimal | None) -> None:
    assert replies.credits_of(said({"credits": value})) == expected


def test_a_code_inside_a_200_is_the_status() -> None:
    answer = said({"code": 405, "message": "Method Not Allowed", "description": "image expired"})
    assert (answer.status, answer.text) == (405, "image expired Method Not Allowed")
    assert said({"code": 200}).status == 200
    assert said({"code": "500"}).status == 200
    assert said({"code": True}).status == 200
    assert said({"code": 400}, status=503).status == 503


def test_the_words_of_an_error_hold_no_secret() -> None:
    answer = said({"description": f"see {LINK} and eyJ{'a' * 60}.x", "errors": {"json": {"top": ["Not an int."]}}})
    assert answer.text == "see https://… and … top: Not an int."


def test_a_redirect_says_where_it_leads_and_no_secret() -> None:
    location = f"https://me:word@api.example:8443/{'s' * 60}/v2/upload?sig=secret"
    moved = errors.fault(Endpoint.UPLOAD, replies.read(301, b"<html>moved</html>", location=location))

    assert str(moved) == (
        "The API answered 301, which leads to https://api.example:8443/…/v2/upload (“upload”). "
        "If it has moved there, correct `api.base_url`."
    )


def test_shapes_by_content() -> None:
    assert replies.read(200, b" \r\n").shape is Shape.EMPTY
    assert replies.read(204, b"x").shape is Shape.EMPTY
    assert replies.read(200, b"\n<!doctype html>").shape is Shape.PAGE
    assert replies.read(200, b"\xef\xbb\xbf<html>").shape is Shape.PAGE
    assert replies.read(200, b"deleted").shape is Shape.TEXT
    assert replies.read(200, b"\xff\xfe\x00").shape is Shape.TEXT
    assert replies.read(200, b"[" * 100_000).shape is Shape.TEXT
    assert replies.read(200, b"9" * 10_000).shape is Shape.TEXT


def test_token_pair() -> None:
    pair = replies.token_pair(
        said({"access_token": "a", "refresh_token": "r", "access_expiration": "2019-08-24T14:15:22Z"})
    )
    assert pair == replies.TokenAnswer(access_token="a", refresh_token="r", access_expiration=1566656122.0)
    bare = replies.token_pair(said({"access_token": "a", "access_expiration": 5}))
    assert bare == replies.TokenAnswer(access_token="a", refresh_token="", access_expiration=None)


@pytest.mark.parametrize("value", [{}, [], {"access_token": ""}, {"access_token": "a\r\nX: y"}, {"access_token": "ä"}])
def test_no_token_pair(value: Any) -> None:
    assert replies.token_pair(said(value)) is None


STOCK_405 = "The method is not allowed for the requested URL."
STOCK_404 = (
    "The requested URL was not found on the server. If you entered the URL manually please check your spelling and "
    "try again."
)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (405, {"code": 405, "message": "Method Not Allowed", "description": STOCK_405}, Complaint.PATH),
        (404, {"code": 404, "message": "Not Found", "description": STOCK_404}, Complaint.PATH),
        (405, {"message": "Method Not Allowed"}, Complaint.PATH),
        (404, {"error": "Not found."}, Complaint.PATH),
        (404, {"message": "Cannot POST /expand/image"}, Complaint.PATH),
        (405, {"message": "Method Not Allowed", "description": "id_image not valid or expired"}, Complaint.IMAGE),
        (405, {"message": "Image not valid or expired for the user", "description": STOCK_405}, Complaint.IMAGE),
        (404, {"message": "Image not found"}, Complaint.IMAGE),
        (405, {"message": "Method Not Allowed", "description": "No room in the queue"}, Complaint.OTHER),
    ],
)
def test_what_a_404_or_405_is_about(status: int, body: Any, expected: Complaint) -> None:
    assert errors.complaint(said(body, status)) is expected


def test_a_page_or_nothing_is_about_the_path() -> None:
    assert errors.complaint(replies.read(405, b"<html>image expired</html>")) is Complaint.PATH
    assert errors.complaint(replies.read(405, b"")) is Complaint.PATH


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("-3", None),
        ("99999999", 3600.0),
        ("1e999", 3600.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("²", None),
        ("Wed, 99 Oct 2015 07:28:30 GMT", None),
    ],
)
def test_retry_after(header: str, expected: float | None) -> None:
    assert errors.retry_after(header, now=1445412480.0) == expected


WORDS = (
    *("id_image", "image_id", "address", "id", "name", "data", "links", "link", "l", "msg", "errors", "code"),
    *("notifications_list", "history", "info_list", "credits", "message", "description"),
    *("access_token", "refresh_token", "access_expiration"),
)
KEYS = st.sampled_from(WORDS)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["expand_generate", "error", LINK, '[{"l": 1}]', "9" * 5000, "\ud800"])
    | st.sampled_from(["1e30", "9" * 30, "1e99999999", "NaN", "-Infinity", "1_0", "٣", 10**400, -(2**64), 1e308])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=6)
)


def read_everything(status: int, body: bytes) -> None:
    answer = replies.read(status, body)
    history = replies.history(answer)
    texts = [answer.text, replies.upload_id(answer), replies.task_id(answer), *history.links]
    for item in replies.notifications(answer) or ():
        texts += [item.image_id, item.task_id, item.link, item.message]
    pair = replies.token_pair(answer)
    texts += [pair.access_token, pair.refresh_token] if pair else []
    for endpoint in Endpoint:
        found = errors.fault(endpoint, answer)
        assert isinstance(found, ExpanddError)
        texts.append(str(found))
    replies.credits_of(answer)
    for text in texts:
        assert text.isprintable()
        text.encode()


@given(VALUES, st.integers(100, 599))
def test_no_json_makes_the_reading_fail(value: Any, status: int) -> None:
    read_everything(status, json.dumps(value).encode())


@given(st.binary(), st.integers(100, 599))
@example(b"[" * 100_000, 200)
@example(b'{"data":' * 50_000, 500)
def test_no_bytes_make_the_reading_fail(body: bytes, status: int) -> None:
    read_everything(status, body)


@given(st.text(), st.floats(allow_nan=False))
def test_no_header_makes_the_reading_fail(header: str, now: float) -> None:
    wait = errors.retry_after(header, now)
    assert wait is None or 0 <= wait <= 3600
    errors.http_date(header)


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "flag"], "msg": "extra fields not permitted"}]},
        {"message": {"flag": ["Unknown field."]}},
        {"error": {"message": "unknown field flag"}},
        {"description": "Unknown field Flag"},
        {"errors": {"json": {"flag": ["Unknown field."]}}},
    ],
)
def test_a_refused_field_is_found_in_any_report(body: Any) -> None:
    assert errors.refused_field(said(body, 400), ["flag"]) == "flag"


def test_a_name_nested_however_deeply_is_none() -> None:
    for depth in range(300, 1000):
        answer = replies.read(200, b'[{"id": 1, "name": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}]")
        found = replies.notifications(answer)
        assert found is None or found[0].kind is Announcement.OTHER
