"""Proves that no connection costs the page, or the work beside it, more than its share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandd.domain.settings import PageSettings
from expandd.service.page.server import FEWEST, MOST, SHARE, Limits, limits_here
from tests.support.examples import examples
from tests.support.shown import Shown, shown

QUICK = Limits(most=8, receiving=0.4, idle=0.4, reading=0.4)
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


async def dial(page: Shown) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(page.url)
    return await asyncio.open_connection(parts.hostname, parts.port)


@asynccontextmanager
async def dialled(page: Shown, number: int, sent: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    both = [await dial(page) for _ in range(number)]
    for _, writer in both:
        writer.write(sent)
    try:
        yield [reader for reader, _ in both]
    finally:
        for _, writer in both:
            writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the page ends the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while more := await reader.read(1 << 16):
                found += more
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("sent", [b"", b"G", HALF, b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_however_many_half_sent_requests_there_are_whole_ones_are_answered(sent: bytes) -> None:
    before = descriptors()
    async with shown(limits=Limits(most=8)) as page, dialled(page, 200, sent):
        answer = await page.http.get("/")
        open_here = descriptors() - before - 200

    assert answer.status_code == 200
    # The page's own, its listener, the test's client and its image reader's pipes.
    assert open_here < 8 + 20


async def test_a_request_that_does_not_come_to_its_end_is_ended() -> None:
    post = b"POST /commands HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
    form = b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken="
    async with shown(limits=QUICK) as page:
        for sent in (b"", HALF, post, post + form, post + b"Expect: 100-continue\r\n" + form):
            async with dialled(page, 1, sent) as (reader,):
                assert b"200 OK" not in await ended(reader)

    assert "bug_found" not in page.log.getvalue()


async def test_a_header_that_comes_byte_by_byte_is_given_no_more_time_by_it() -> None:
    async with shown(limits=QUICK) as page:
        reader, writer = await dial(page)
        writer.write(HALF)
        began = asyncio.get_running_loop().time()
        while not reader.at_eof() and asyncio.get_running_loop().time() < began + 5:
            writer.write(b"x")
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.05):
                    await reader.read(1)
        writer.transport.abort()

    assert asyncio.get_running_loop().time() - began < 3


async def test_a_connection_is_kept_for_the_next_request_and_not_for_ever() -> None:
    request = b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with shown(limits=QUICK) as page, dialled(page, 1, request + request) as (reader,):
        found = await ended(reader)

    assert found.count(b"200 OK") == 2


async def test_who_reads_nothing_of_a_long_answer_is_let_go() -> None:
    long = b"x" * (16 << 20)
    async with shown(limits=QUICK, metrics=lambda: (long, "text/plain")) as page:
        host, port = urlsplit(page.url).hostname or "", urlsplit(page.url).port or 0
        loop = asyncio.get_running_loop()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await loop.sock_connect(slow, (host, port))
            await loop.sock_sendall(slow, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.sleep(1.5)  # no event: the other side hears of the end only by reading
            found = 0
            with contextlib.suppress(ConnectionError):
                while more := await loop.sock_recv(slow, 1 << 20):
                    found += len(more)

    assert found < len(long)


async def test_where_all_are_being_answered_one_more_is_told_to_come_later() -> None:
    look = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with shown(limits=QUICK) as page, dialled(page, 8, look) as readers:
        for reader in readers:
            await reader.readuntil(b"retry: ")
        async with dialled(page, 1, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as (refused,):
            told = await ended(refused)

        assert told.startswith(b"HTTP/1.1 503 ")
        assert all(not reader.at_eof() for reader in readers)


async def test_on_a_unix_socket_it_is_the_same(tmp_path: Path) -> None:
    async with shown(PageSettings(listen=f"unix:{tmp_path}/page.sock"), limits=Limits(most=8)) as page:
        both = [await asyncio.open_unix_connection(tmp_path / "page.sock") for _ in range(50)]
        answer = await page.http.get("/")
        for _, writer in both:
            writer.transport.abort()

    assert answer.status_code == 200


def test_of_few_descriptors_it_takes_few() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        found = {}
        for most in (64, 256, 1024):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
            found[most] = limits_here().most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert found == {64: FEWEST, 256: 256 // SHARE, 1024: MOST}


# --- whatever is sent ---

ODD = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"http://[", b"[::1", b"]", b"a" * 12000, b"%00%ff%", b"\xff\xfe", b"9" * 5000, b"-1", b"1e400", b"0x10"],
    ),
)
LINE = ODD.map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"").strip(b" \t"))
NAMES = (
    b"Origin", b"Cookie", b"Authorization", b"Content-Length", b"Content-Type", b"If-None-Match", b"Last-Event-ID",
    b"Sec-Fetch-Site", b"Accept", b"Transfer-Encoding", b"Expect", b"Connection", b"Upgrade", b"Range", b"Forwarded",
    b"X-Forwarded-For", b"Host",
)  # fmt: skip
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), LINE), max_size=4)
PATHS = st.one_of(
    st.sampled_from([b"/", b"/live", b"/commands", b"/metrics", b"/jobs/%00/source.webp", b"*", b"http://[/"]),
    LINE.map(lambda value: b"/jobs/" + value + b"/result.webp"),
    LINE.map(lambda value: b"/?said=" + value),
    LINE.map(lambda value: b"/static/" + value),
    LINE.map(lambda value: b"/" + value),
)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@contextmanager
def one_page() -> Iterator[tuple[asyncio.Runner, Shown]]:
    """One page for all examples; what it logs to the end is that it was opened, and no more."""
    with asyncio.Runner() as runner:
        opening = shown(limits=Limits())
        page = runner.run(opening.__aenter__())
        try:
            yield runner, page
            logged = [json.loads(line)["event"] for line in page.log.getvalue().splitlines()]
        finally:
            runner.run(opening.__aexit__(None, None, None))
    assert logged == ["page.open"]


def test_no_request_finds_a_bug() -> None:
    with one_page() as (runner, page):

        @given(
            method=st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"X" * 300]),
            path=PATHS,
            host=st.one_of(st.just(b"localhost"), LINE),
            headers=HEADERS,
            body=ODD,
            form=st.booleans(),
        )
        @settings(max_examples=examples(60), deadline=None)
        def one(  # noqa: PLR0917 - as given
            method: bytes, path: bytes, host: bytes, headers: list[tuple[bytes, bytes]], body: bytes, form: bool
        ) -> None:
            lines = [method + b" " + path + b" HTTP/1.1", b"Host: " + host]
            lines += [name + b": " + value for name, value in headers]
            if form:
                lines += [b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: %d" % len(body)]
            runner.run(_send(page, b"\r\n".join([*lines, b"Connection: close", b"", body])))

        one()


def test_no_bytes_at_all_find_a_bug() -> None:
    with one_page() as (runner, page):

        @given(raw=st.one_of(st.binary(max_size=400), ODD))
        @settings(max_examples=examples(20), deadline=None)
        def one(raw: bytes) -> None:
            runner.run(_send(page, raw))

        one()


def test_no_form_with_the_right_token_finds_a_bug() -> None:
    with one_page() as (runner, page):
        token = runner.run(page.token()).encode()

        async def press(body: bytes) -> None:
            answer = await page.http.post("/commands", content=b"token=" + token + b"&" + body, headers=FORM)
            assert answer.status_code in {303, 400, 403, 404, 409, 413}

        @given(fields=st.lists(st.tuples(st.sampled_from([b"verb", b"job", b"folder", b"token", b"x"]), LINE)))
        @settings(max_examples=examples(40), deadline=None)
        def one(fields: list[tuple[bytes, bytes]]) -> None:
            runner.run(press(b"&".join(name + b"=" + text for name, text in fields)))

        one()


async def _send(page: Shown, raw: bytes) -> None:
    async with dialled(page, 1, raw) as (reader,):
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.05):
                await reader.read(1 << 16)
    answer = await page.http.get("/static/icon.svg")
    assert answer.status_code == 200
