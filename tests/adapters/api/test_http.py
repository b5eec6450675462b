"""The HTTP seam over real sockets: what left, what came back, what hung, and where it refuses to go."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import os
import resource
import socket
from typing import TYPE_CHECKING, Any

import pytest

from expandd.adapters.api import links, transfer
from expandd.adapters.api.http import FLOOR_RATE, Http, MaybeReceivedError, NeverSentError, TooLargeError
from expandd.adapters.api.links import LinkRefusedError, LinkRule
from expandd.domain.errors import Later
from tests.support.scripted_server import After, Drip, Hang, Reset, Say, ScriptedServer, answer, answer_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

RELAXED = LinkRule(relaxed=True)
STRICT = LinkRule(relaxed=False)
ROUTE = "POST /api/x"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as running:
        yield running


def http_to(
    server: ScriptedServer,
    *,
    rule: LinkRule = RELAXED,
    timeout: float = 20,
    connections: int = 4,
    floor_rate: float = FLOOR_RATE,
) -> Http:
    return Http(f"{server.url}/api", timeout=timeout, connections=connections, rule=rule, floor_rate=floor_rate)


async def post(http: Http, *, once: bool = False, body: Any = None) -> Any:
    return await http.send("POST", "/x", headers={}, body=body, once=once)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def test_the_bytes_of_a_call(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(200, b"{}", headers={"X-Case": "Kept", "Content-Type": "text/plain"}))
    async with http_to(server) as http:
        reply = await http.send("POST", "/x", headers={"Authorization": "Bearer t"}, body={"a": 1})
    assert (reply.status, reply.body, reply.content_type) == (200, b"{}", "text/plain")
    assert reply.headers["x-case"] == "Kept"
    assert server.seen[0].body == b'{"a": 1}'
    assert server.seen[0].raw.startswith(b"POST /api/x HTTP/1.1\r\n")
    assert dict(server.seen[0].headers) == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "expandd",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "authorization": "Bearer t",
        "content-type": "application/json",
        "content-length": "8",
    }


async def test_nobody_listens_means_never_sent() -> None:
    async with Http(f"http://127.0.0.1:{free_port()}", timeout=1, connections=4, rule=RELAXED) as http:
        with pytest.raises(NeverSentError, match=r"127\.0\.0\.1 cannot be reached"):
            await post(http)


async def test_a_connection_for_which_there_is_no_descriptor_says_so(server: ScriptedServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with http_to(server) as http:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(NeverSentError, match="Too many open files"):
                await post(http)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_name_that_does_not_exist_means_never_sent() -> None:
    async with Http("http://nowhere.invalid", timeout=2, connections=4, rule=RELAXED) as http:
        with pytest.raises(NeverSentError, match=r"nowhere\.invalid cannot be reached"):
            await post(http)


async def test_a_failed_tls_handshake_means_never_sent(server: ScriptedServer) -> None:
    base_url = server.url.replace("http://", "https://")
    async with Http(base_url, timeout=1, connections=4, rule=RELAXED) as http:
        with pytest.raises(NeverSentError):
            await post(http)
    assert server.seen == []


async def test_a_tls_handshake_that_never_ends_means_never_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base_url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        async with Http(base_url, timeout=1, connections=4, rule=RELAXED) as http:
            with pytest.raises(NeverSentError, match="no answer in time"):
                await post(http)


async def test_no_free_connection_means_never_sent(server: ScriptedServer) -> None:
    server.on(ROUTE, Drip(b"HTTP/1.1 200 OK\r\nX-Long: "))
    async with Http(f"{server.url}/api", timeout=1, connections=1, rule=RELAXED) as http:
        first = asyncio.create_task(post(http))
        await server.arrived.wait()
        with pytest.raises(NeverSentError):
            await http.send("POST", "/y", headers={})
        with pytest.raises(MaybeReceivedError):
            await first
    assert server.requests("POST /api/y") == []


@pytest.mark.parametrize(
    "step",
    [
        Hang(),
        Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Reset(),
        Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Say(b"", close=True),
        Say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", close=True),
        Say(b"SSH-2.0-OpenSSH\r\n\r\n", close=True),
        Drip(b"HTTP/1.1 200 OK\r\nX-Long: "),
        Drip(CHUNKED, piece=b"1\r\nx\r\n"),
    ],
)
async def test_an_answer_lost_on_the_way_means_maybe_received(server: ScriptedServer, step: Any) -> None:
    server.on(ROUTE, step)
    async with http_to(server, timeout=answer_timeout(step)) as http:
        with pytest.raises(MaybeReceivedError, match=r"127\.0\.0\.1 broke off: ."):
            await post(http, once=True)
    assert len(server.seen) == 1


async def test_an_endless_answer_is_cut(server: ScriptedServer) -> None:
    big = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    server.on(ROUTE, Drip(CHUNKED, piece=big, gap=0))
    async with http_to(server, timeout=5) as http:
        with pytest.raises(TooLargeError):
            await post(http)


async def test_a_dead_kept_connection_is_tried_anew_once(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(200), Reset(), answer(201))
    async with http_to(server) as http:
        await post(http)
        assert (await post(http)).status == 201
    assert [seen.connection for seen in server.seen] == [1, 1, 2]


async def test_a_new_connection_that_dies_is_not_tried_anew(server: ScriptedServer) -> None:
    server.on(ROUTE, Reset(), answer(200))
    async with http_to(server) as http:
        with pytest.raises(MaybeReceivedError):
            await post(http)
    assert len(server.seen) == 1


async def test_a_time_out_is_not_tried_anew(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(200), Hang(), answer(200))
    async with http_to(server, timeout=answer_timeout(Hang())) as http:
        await post(http)
        with pytest.raises(MaybeReceivedError):
            await post(http)
    assert len(server.seen) == 2


async def test_once_has_a_connection_of_its_own_and_is_never_repeated(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(200), answer(200), Reset(), answer(200))
    async with http_to(server) as http:
        await post(http)
        await post(http, once=True)
        with pytest.raises(MaybeReceivedError):
            await post(http, once=True)
    assert [seen.connection for seen in server.seen] == [1, 2, 3]


async def test_redirects_and_cookies_of_the_api_are_ignored(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(302, headers={"Location": "/api/y", "Set-Cookie": "refresh_token=r; Path=/"}))
    async with http_to(server) as http:
        assert (await post(http)).status == 302
        await post(http)
    assert [seen.target for seen in server.seen] == ["/api/x", "/api/x"]
    assert server.seen[1].header("cookie") is None


async def test_a_user_name_in_the_base_url_is_not_sent(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(200))
    base_url = f"http://user:secret@127.0.0.1:{server.port}/api"
    async with Http(base_url, timeout=1, connections=4, rule=RELAXED) as http:
        await post(http)
    assert server.seen[0].header("authorization") is None


async def test_urls_do_not_reach_the_log(
    server: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.on("GET /a?sig=SECRET", answer(200, b"image"))
    caplog.set_level(logging.DEBUG)
    async with http_to(server) as http:
        await http.download(f"{server.url}/a?sig=SECRET", tmp_path / "t")
    assert "SECRET" not in caplog.text


# --- uploads


async def test_an_upload_is_the_whole_file_and_nothing_else(server: ScriptedServer, tmp_path: Path) -> None:
    content = b"\xff\xd8\xff" + os.urandom(3 * transfer.CHUNK + 17)
    source = tmp_path / "ungültig\nname.jpg"
    source.write_bytes(content)
    server.on(ROUTE, answer(200, b"{}"))
    async with http_to(server) as http, transfer.opened_part(source) as part:
        reply = await http.upload("/x", part, headers={"Authorization": "Bearer t"})
    assert reply.status == 200
    assert part.sha256 == hashlib.sha256(content).hexdigest()
    kind, _, boundary = (server.seen[0].header("content-type") or "").partition("; boundary=")
    assert kind == "multipart/form-data"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    assert server.seen[0].body == head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    assert server.seen[0].header("transfer-encoding") is None


async def upload(http: Http, source: Path) -> Any:
    async with transfer.opened_part(source) as part:
        return await http.upload("/x", part, headers={})


async def test_what_cannot_be_uploaded(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    async with http_to(server) as http:
        for name in ("missing", "link", "fifo"):
            with pytest.raises(Later):
                await upload(http, tmp_path / name)
    assert server.connections == 0


async def test_a_file_that_shrinks_while_it_is_sent(server: ScriptedServer, tmp_path: Path) -> None:
    source = tmp_path / "shrinks"
    source.write_bytes(b"x" * 100)
    async with transfer.opened_part(source) as part:
        os.truncate(source, 10)
        with pytest.raises(Later, match="shorter"):
            async for _ in part.body(lambda _: None):
                pass


async def test_an_upload_that_nobody_reads_ends(tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(b"x" * 20_000_000)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with Http(base_url, timeout=1, connections=4, rule=RELAXED, floor_rate=1e6) as http:
            with pytest.raises(MaybeReceivedError, match="no answer in time"):
                await upload(http, source)


async def test_the_wait_for_an_uploads_answer_grows_with_the_file(server: ScriptedServer, tmp_path: Path) -> None:
    """A small file's answer is waited for as long as any other's; that of an hour's worth of bytes, for longer."""
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(b"x" * 3600)
    late = asyncio.Event()
    server.on(ROUTE, After(late, answer(200, b"{}")))
    async with http_to(server, timeout=0.5, floor_rate=1.0) as http:
        with pytest.raises(MaybeReceivedError):
            await upload(http, tmp_path / "small")
        task = asyncio.create_task(upload(http, tmp_path / "large"))
        done, _ = await asyncio.wait({task}, timeout=1.0)
        assert not done
        late.set()
        assert (await task).status == 200


async def test_uploads_that_share_a_slow_line_are_sent_once_each(server: ScriptedServer, tmp_path: Path) -> None:
    """Four at the floor rate, behind a proxy that takes them at once: alone each would have to be there by 1.5 s."""
    source = tmp_path / "image"
    source.write_bytes(b"x" * 10_000)
    late = asyncio.Event()
    server.on(ROUTE, After(late, answer(200, b"{}")))
    async with http_to(server, timeout=0.5, floor_rate=10_000) as http:
        tasks = [asyncio.create_task(upload(http, source)) for _ in range(4)]
        done, _ = await asyncio.wait(tasks, timeout=1.7)
        assert not done
        late.set()
        assert [(await task).status for task in tasks] == [200] * 4
    assert len(server.requests(ROUTE)) == 4


async def test_uploads_wait_for_a_place_and_paid_calls_for_no_upload(server: ScriptedServer, tmp_path: Path) -> None:
    source = tmp_path / "image"
    source.write_bytes(b"x" * 3600)
    late = asyncio.Event()
    server.on(ROUTE, After(late, answer(200, b"{}")))
    server.on("POST /api/paid", answer(200, b"{}"))
    async with http_to(server, timeout=2.0, connections=1, floor_rate=1.0) as http:
        tasks = [asyncio.create_task(upload(http, source)) for _ in range(2)]
        await server.arrived.wait()
        assert (await http.send("POST", "/paid", headers={}, body={}, once=True)).status == 200
        done, _ = await asyncio.wait(tasks, timeout=2.5)
        assert not done
        assert len(server.requests(ROUTE)) == 1
        late.set()
        assert [(await task).status for task in tasks] == [200, 200]


# --- what is packed


def packed(times: int, size: int) -> bytes:
    """Zeros, packed so many times."""
    content = bytes(size)
    for _ in range(times):
        content = gzip.compress(content)
    return content


@pytest.mark.parametrize(("coding", "times"), [("gzip", 1), ("gzip, gzip", 2), ("deflate", 1), ("br", 1), ("zstd", 1)])
async def test_nothing_is_unpacked(server: ScriptedServer, tmp_path: Path, coding: str, times: int) -> None:
    body = packed(times, 8_000_000)
    server.on(ROUTE, answer(200, body, headers={"Content-Encoding": coding}))
    server.on("GET /a", answer(200, body, headers={"Content-Encoding": coding}))
    async with http_to(server) as http:
        reply = await post(http)
        found = await http.download(f"{server.url}/a", tmp_path / "t", limit=len(body))
    assert (reply.body, reply.packed) == (body, True)
    assert (tmp_path / "t").read_bytes() == body
    assert found.size == len(body)
    assert {seen.header("accept-encoding") for seen in server.seen} == {"identity"}


# --- downloads


async def test_a_download_is_whole_hashed_and_without_a_token(server: ScriptedServer, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    server.on("GET /a.png?sig=1", answer(200, content))
    async with http_to(server) as http:
        found = await http.download(f"http://user:pw@127.0.0.1:{server.port}/a.png?sig=1", tmp_path / "t")
    assert (found.status, found.size, found.sha256) == (200, 1_000_000, hashlib.sha256(content).hexdigest())
    assert (tmp_path / "t").read_bytes() == content
    assert {name for name, _ in server.seen[0].headers} <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
    }


@pytest.mark.parametrize(
    "step",
    [
        Say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", close=True),
        Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Say(CHUNKED + b"4\r\nhalf\r\n", close=True),
        Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    ],
)
async def test_a_download_that_is_not_whole_leaves_nothing(server: ScriptedServer, tmp_path: Path, step: Any) -> None:
    server.on("GET /a", step)
    async with http_to(server, timeout=answer_timeout(step)) as http:
        with pytest.raises(MaybeReceivedError):
            await http.download(f"{server.url}/a", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


async def test_a_download_may_take_long_as_long_as_it_comes(server: ScriptedServer, tmp_path: Path) -> None:
    piece = b"x" * transfer.CHUNK
    body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * 1000)
    server.on("GET /a", Drip(body, piece=piece, gap=0.05))
    async with http_to(server, timeout=1.0) as http:
        task = asyncio.create_task(http.download(f"{server.url}/a", tmp_path / "t"))
        done, _ = await asyncio.wait({task}, timeout=2.5)
        assert not done
        task.cancel()
        await asyncio.wait({task})


async def test_a_download_over_its_limit_leaves_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("GET /a", answer(200, b"x" * 1001))
    async with http_to(server) as http:
        with pytest.raises(TooLargeError, match="more than 1000 bytes"):
            await http.download(f"{server.url}/a", tmp_path / "t", limit=1000)
    assert list(tmp_path.iterdir()) == []


async def test_a_target_that_cannot_be_written_is_an_os_error(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("GET /a", answer(200, b"x"))
    async with http_to(server) as http:
        with pytest.raises(FileNotFoundError):
            await http.download(f"{server.url}/a", tmp_path / "gone" / "t")


async def test_redirects_are_followed_five_times(server: ScriptedServer, tmp_path: Path) -> None:
    for number in range(9):
        server.on(f"GET /{number}", answer(302, headers={"Location": f"{number + 1}"}))
    server.on("GET /5", answer(200, b"image"))
    async with http_to(server) as http:
        assert (await http.download(f"{server.url}/0", tmp_path / "t")).size == 5
        server.on("GET /5", answer(302, headers={"Location": "/6"}))
        with pytest.raises(LinkRefusedError):
            await http.download(f"{server.url}/0", tmp_path / "t")
    assert server.requests("GET /6") == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher:x", "http://"])
async def test_a_redirect_to_no_http_is_refused(server: ScriptedServer, tmp_path: Path, location: str) -> None:
    server.on("GET /a", answer(302, headers={"Location": location}))
    async with http_to(server) as http:
        with pytest.raises(LinkRefusedError):
            await http.download(f"{server.url}/a", tmp_path / "t")


async def test_a_redirect_to_nonsense_is_a_broken_answer(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("GET /a", answer(302, headers={"Location": "https://[::1"}))
    async with http_to(server) as http:
        with pytest.raises(MaybeReceivedError):
            await http.download(f"{server.url}/a", tmp_path / "t")


async def test_a_redirect_without_a_place_is_no_result(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("GET /a", answer(302))
    async with http_to(server) as http:
        assert (await http.download(f"{server.url}/a", tmp_path / "t")).status == 302
    assert len(server.seen) == 1


# --- the link rule


async def public(_host: str, _port: int) -> Sequence[str]:
    return ["93.184.216.34"]


async def unresolved(_host: str, _port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


async def both(_host: str, _port: int) -> Sequence[str]:
    return ["93.184.216.34", "10.0.0.1"]


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example.com/a",
        "ftp://cdn.example.com/a",
        "file:///etc/passwd",
        "https:///a",
        "//cdn.example.com/a",
        "cdn.example.com/a",
        "https://[::1",
        "https://cdn.example.com:99999/a",
        "",
    ],
)
async def test_only_https_links(url: str) -> None:
    with pytest.raises(LinkRefusedError):
        await LinkRule(relaxed=False, resolve=public).check(url)


async def test_every_address_of_a_host_counts() -> None:
    await LinkRule(relaxed=False, resolve=public).check("https://cdn.example.com/a")
    with pytest.raises(LinkRefusedError, match=r"10\.0\.0\.1.*api\.allow_private_links"):
        await LinkRule(relaxed=False, resolve=both).check("https://cdn.example.com/a")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "[fe80::1]", "2130706433"])
async def test_addresses_written_out_are_judged_too(host: str) -> None:
    with pytest.raises(LinkRefusedError):
        await STRICT.check(f"https://{host}/a")


async def test_an_impossible_host_is_refused() -> None:
    with pytest.raises(LinkRefusedError):
        await STRICT.check(f"https://{'x' * 70}.example.com/a")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d822", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("192.168.1.1", False),
        ("172.16.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("nonsense", False),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    assert links.is_public(address) is expected


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.piktid.com/api", False),
        ("https://93.184.216.34/api", False),
        ("http://api.piktid.com/api", True),
        ("https://127.0.0.1:8443/api", True),
        ("https://[::1]/api", True),
        ("https://10.0.0.5/api", True),
        ("https://localhost/api", True),
        ("https://localhost.example.com/api", False),
    ],
)
def test_what_makes_the_api_itself_local(base_url: str, expected: bool) -> None:
    assert links.is_local(base_url) is expected


async def test_a_private_link_is_refused_before_a_connection(server: ScriptedServer, tmp_path: Path) -> None:
    async with http_to(server, rule=STRICT) as http:
        for url in (f"https://127.0.0.1:{server.port}/a", f"https://localhost:{server.port}/a", f"{server.url}/a"):
            with pytest.raises(LinkRefusedError):
                await http.download(url, tmp_path / "t")
    assert server.connections == 0


async def test_a_name_that_changes_its_address_gets_no_byte(server: ScriptedServer, tmp_path: Path) -> None:
    rebound = LinkRule(relaxed=False, resolve=public)
    async with http_to(server, rule=rebound) as http:
        with pytest.raises(LinkRefusedError, match=r"private address 127\.0\.0\.1"):
            await http.download(f"https://127.0.0.1:{server.port}/a", tmp_path / "t")
    assert server.bytes_in == 0


async def test_a_host_that_cannot_be_resolved_is_for_later(server: ScriptedServer, tmp_path: Path) -> None:
    rule = LinkRule(relaxed=False, resolve=unresolved)
    async with http_to(server, rule=rule) as http:
        with pytest.raises(NeverSentError, match=r"cdn\.example\.com cannot be found: no such name"):
            await http.download("https://cdn.example.com/a", tmp_path / "t")
    await rule.check("https://cdn.example.com/a", proxied=True)


@pytest.mark.parametrize(("excepted", "asked"), [("", 1), ("127.0.0.1,.example", 0)])
async def test_proxy_is_used_for_addresses_that_are_not_local(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, excepted: str, asked: int
) -> None:
    """That a proxy and TLS work was tried by hand, with a real one; here it is asked, and refuses."""
    server.on("CONNECT api.example:443", answer(407))
    monkeypatch.setenv("HTTPS_PROXY", server.url.replace("://", "://studio:word@"))
    monkeypatch.setenv("NO_PROXY", excepted)
    async with Http("https://api.example/api", timeout=20, connections=1, rule=RELAXED) as http:
        with pytest.raises(NeverSentError) as caught:
            await post(http, once=True)

    assert len(server.seen) == asked
    assert ("through the proxy 127.0.0.1: 407" in str(caught.value)) == bool(asked)
    assert "word" not in str(caught.value)
