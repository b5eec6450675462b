"""Proves that the page answers only those it is for, and that a foreign site can make it do nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from expandd.adapters.config.addresses import Address, parse_address
from expandd.domain.errors import ConfigurationError, DatabaseAway
from expandd.domain.settings import PageSettings
from expandd.service.observability.logs import set_up
from expandd.service.page.guard import FORGOTTEN, MOST_PEERS, Guesses, host_name
from expandd.service.page.page import Page
from expandd.service.page.server import Limits, bound
from tests.support.shown import FakeRecords, failed_job, shown

CONFIG = Path("config.yaml")


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def beyond(tmp_path: Path, password: str = "open sesame") -> PageSettings:
    file = tmp_path / "password"
    file.write_text(f"{password}\n")
    return PageSettings(listen="0.0.0.0:0", password_file=file)


async def test_a_name_that_is_not_its_own_is_refused_and_learns_nothing() -> None:
    names = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "10.1.2.3")
    async with shown() as page:
        answers = [await page.http.get("/", headers={"Host": name}) for name in names]

    assert {answer.status_code for answer in answers} == {421}
    assert not any("<html" in answer.text for answer in answers)


async def test_it_answers_to_this_machine_and_to_configured_names_on_any_port() -> None:
    names = ("localhost", "localhost:9000", "127.0.0.1", "[::1]:80", "Images.Example", "localhost.")
    async with shown(PageSettings(listen="127.0.0.1:0", hosts=("images.example",))) as page:
        codes = {(await page.http.get("/", headers={"Host": name})).status_code for name in names}

    assert codes == {200}


async def test_whoever_asks_is_told_whether_it_works_and_nothing_else(tmp_path: Path) -> None:
    works = True
    async with shown(beyond(tmp_path), alive=lambda: works) as page:
        well = await page.http.get("/healthz", headers={"Host": "probe.example"})
        works = False
        ill = await page.http.get("/healthz")
        order = await page.http.post("/healthz")

    assert (well.status_code, well.text) == (200, "alive\n")
    assert (ill.status_code, ill.text) == (503, "a part of expandd is stuck\n")
    assert order.status_code == 401


@pytest.mark.parametrize(
    ("host", "name"),
    [("a.example:80", "a.example"), ("[::1]:80", "::1"), ("[::1", ""), ("a@b.example", "b.example"), ("x:y:z", "x")],
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


async def test_what_another_site_sends_changes_nothing_even_with_the_right_token() -> None:
    senders: tuple[dict[str, str], ...] = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Origin": "http://[::1"},
        {"Origin": ""},
    )
    async with shown() as page:
        codes = [(await page.press("pause", sender, folder="all")).status_code for sender in senders]

        assert codes == [403] * len(senders)
        assert page.records.commands == []
        assert page.log.getvalue().count("\n") == 1  # that it is open


async def test_the_page_itself_may_command() -> None:
    async with shown() as page:
        own = page.url.rstrip("/")
        answers = [
            await page.press("pause", headers, folder="all")
            for headers in ({}, {"Origin": own}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"})
        ]

        assert [answer.status_code for answer in answers] == [303, 303, 303]
        assert len(page.records.commands) == 3


async def test_without_the_token_nothing_is_ordered() -> None:
    async with shown() as page:
        forms = [{"token": token, "verb": "pause", "folder": "all"} for token in ("", "wrong", "ä")]
        answers = [await page.http.post("/commands", data=form) for form in forms]

        assert {answer.status_code for answer in answers} == {403}
        assert all("Nothing was changed" in answer.text for answer in answers)
        assert page.records.commands == []


async def test_forms_that_are_none_or_too_large_are_refused() -> None:
    async with shown() as page:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        codes = [
            (await page.http.post("/commands", json={"verb": "pause"})).status_code,
            (await page.http.post("/commands", content=b"x=" + b"y" * 5000, headers=kind)).status_code,
            (await page.http.post("/commands", content=b"\xff\xfe", headers=kind)).status_code,
            (
                await page.http.post("/commands", content="&".join(f"a{n}=1" for n in range(99)), headers=kind)
            ).status_code,
        ]

        assert codes == [415, 413, 400, 400]
        assert page.records.commands == []


async def test_looking_changes_nothing() -> None:
    async with shown() as page:
        for path in ("/", "/?said=pause", "/commands", "/commands?verb=pause&folder=all"):
            await page.http.get(path)
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
            assert (await page.http.request(method, "/commands")).status_code == 405

        assert page.records.commands == []


async def test_page_needs_its_password_beyond_this_machine(tmp_path: Path) -> None:
    settings = beyond(tmp_path)
    assert settings.password_file is not None
    async with shown(settings) as page:
        closed = await page.http.get("/")
        wrong = await page.http.get("/", headers=basic("open sesam"))
        right = await page.http.get("/", headers=basic("open sesame"))
        settings.password_file.write_text("another: one\n")
        old = await page.http.get("/live", headers=basic("open sesame"))
        new = await page.http.get("/", headers=basic("another: one"))
        settings.password_file.unlink()
        away = await page.http.get("/", headers=basic("another: one"))
        settings.password_file.write_text("\n")
        empty = await page.http.get("/", headers=basic(""))

    assert [closed.status_code, wrong.status_code, right.status_code] == [401, 401, 200]
    assert [old.status_code, new.status_code, away.status_code, empty.status_code] == [401, 200, 503, 503]
    assert closed.headers["www-authenticate"].startswith("Basic ")
    assert "sesame" not in page.log.getvalue()


async def test_an_authorization_that_is_no_password_is_none(tmp_path: Path) -> None:
    given = ("Basic", "Basic !!!", "Bearer open sesame", "Basic b3BlbiBzZXNhbWU=", "Basic ///")
    async with shown(beyond(tmp_path)) as page:
        codes = {(await page.http.get("/", headers={"Authorization": header})).status_code for header in given}

    assert codes == {401}


async def test_wrong_passwords_beyond_a_few_are_told_so_and_no_right_one_waits_for_them(tmp_path: Path) -> None:
    async with shown(beyond(tmp_path)) as page:

        async def code(password: str) -> int:
            return (await page.http.get("/static/page.css", headers=basic(password))).status_code

        wrong = await asyncio.gather(*(code(f"guess {number}") for number in range(80)))
        during = [asyncio.create_task(code(f"guess {number}")) for number in range(80)]
        right = [await code("open sesame") for _ in range(5)]
        await asyncio.gather(*during)
        asked = await page.http.get("/")

    assert sorted(wrong) == [401] * 5 + [429] * 75
    assert right == [200] * 5
    # A browser that has given none yet still asks its person.
    assert asked.status_code == 401


def test_wrong_passwords_are_forgotten_one_by_one_and_peers_too() -> None:
    at = [0.0]
    guesses = Guesses(lambda: at[0])
    first = [guesses.one_more("a") for _ in range(7)]
    at[0] += FORGOTTEN
    then = [guesses.one_more("a") for _ in range(2)]
    other = guesses.one_more("b")
    for number in range(MOST_PEERS):
        guesses.one_more(f"peer {number}")

    assert first == [False] * 5 + [True] * 2
    assert then == [False, True]
    assert not other
    assert not guesses.one_more("a")


async def test_on_all_addresses_it_answers_to_addresses_and_not_to_names(tmp_path: Path) -> None:
    async with shown(beyond(tmp_path)) as page:
        codes = [
            (await page.http.get("/", headers={**basic("open sesame"), "Host": host})).status_code
            for host in ("192.168.1.5:8080", "[fe80::1]", "rebound.example")
        ]

    assert codes == [200, 200, 421]


async def test_every_answer_has_the_strict_headers() -> None:
    records = FakeRecords()
    records.know(failed_job())
    async with shown(records=records) as page:
        answers = [
            await page.http.get("/"),
            await page.http.get("/static/page.css"),
            await page.http.get("/nothing"),
            await page.http.get("/", headers={"Host": "evil.example"}),
            await page.http.post("/commands"),
            await page.http.get("/jobs/job-2/source.webp"),
        ]
        records.failing = DatabaseAway("The job database is away.")
        answers.append(await page.http.get("/"))

    assert answers[-1].status_code == 503
    assert "The job database is away." in answers[-1].text
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers


async def test_a_bug_of_the_page_is_logged_with_no_word_of_it_to_the_browser() -> None:
    async with shown() as page:
        page.records.failing = ZeroDivisionError("secret detail")
        answer = await page.http.get("/")

    assert answer.status_code == 503
    assert "secret detail" not in answer.text
    assert "page.bug_found" in page.log.getvalue()


# --- where it listens ---


@pytest.mark.parametrize("listen", ["8080", "unix:relative", ":80", "host:http", "127.0.0.1:"])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|begin with /"):
        parse_address(listen)


def test_a_taken_port_is_a_config_error_of_the_configuration_with_its_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ConfigurationError, match="already in use") as caught,
            bound(PageSettings(listen=listen), CONFIG),
        ):
            pass

    assert listen in str(caught.value)
    assert "page.listen" in str(caught.value)


def test_beyond_this_machine_without_a_password_it_does_not_listen() -> None:
    with pytest.raises(ConfigurationError, match="password_file"), bound(PageSettings(listen="0.0.0.0:0"), CONFIG):
        pass


async def test_a_unix_socket_is_for_user_and_group_and_goes_with_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    mask = os.umask(0)
    try:
        async with shown(PageSettings(listen=f"unix:{path}")) as page:
            mode = path.stat().st_mode
            answer = await page.http.get("/")
    finally:
        os.umask(mask)

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    assert answer.status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_was_left_is_replaced_and_what_lives_or_is_none_is_not(tmp_path: Path) -> None:
    settings = PageSettings(listen=f"unix:{tmp_path}/page.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{tmp_path}/page.sock")
    with bound(settings, CONFIG):
        with pytest.raises(ConfigurationError, match="another program listens there"), bound(settings, CONFIG):
            pass
        assert (tmp_path / "page.sock").is_socket()
    (tmp_path / "page.sock").write_text("a file of somebody")
    with pytest.raises(ConfigurationError, match="no socket"), bound(settings, CONFIG):
        pass

    assert (tmp_path / "page.sock").read_text() == "a file of somebody"


async def test_an_open_stream_does_not_hold_up_the_end() -> None:
    loop = asyncio.get_running_loop()
    async with shown() as page, page.http.stream("GET", "/live") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        began = loop.time()
    assert loop.time() - began < 5


class Log(io.StringIO):
    """A log that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def write(self, text: str) -> int:
        self._news.set()
        return super().write(text)

    async def says(self, event: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.getvalue().count(event) < times:
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def showing(page: Page) -> AsyncIterator[None]:
    task = asyncio.create_task(page.show(FakeRecords()))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_page_that_failed_can_be_shown_again() -> None:
    log = Log()
    closed = socket.socket()
    closed.close()
    page = Page(PageSettings(listen="127.0.0.1:0"), CONFIG, set_up(log, pretty=False), Limits())
    page.place = (Address("127.0.0.1"), closed)
    with pytest.raises(OSError, match="descriptor"):
        await page.show(FakeRecords())
    async with showing(page):
        await log.says("page.open", times=2)


async def test_a_page_whose_port_is_taken_is_there_once_it_is_free() -> None:
    log = Log()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = PageSettings(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        page = Page(settings, CONFIG, set_up(log, pretty=False), Limits(), again=0.02)
        async with showing(page):
            await log.says("page.cannot_listen")
            taken.close()
            await log.says("page.open")

    assert log.getvalue().count("page.cannot_listen") == 1
    assert "already in use" in log.getvalue()
