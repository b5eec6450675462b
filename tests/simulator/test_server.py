"""Starting, stopping and serving."""

import ast
import socket
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

import expandd.simulator
from expandd.simulator.server import Simulator, serve
from expandd.simulator.switches import Switches
from tests.simulator.desk import Desk


def test_port_zero_takes_free_ports_and_tells_them() -> None:
    with Simulator() as first, Simulator() as second:
        ports = {httpx.URL(url).port for url in (first.url, first.link_url, second.url, second.link_url)}
        assert len(ports) == 4
        assert 0 not in ports
        assert first.api_url == f"{first.url}/api"


def test_a_port_in_use_is_an_os_error_and_frees_the_other_one() -> None:
    with Simulator() as server:
        taken = httpx.URL(server.url).port
        assert taken is not None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Simulator(port=free, link_port=taken).start()
        with Simulator(port=free) as other:
            assert httpx.URL(other.url).port == free


def test_a_server_that_was_away_comes_back_on_its_ports_with_all_it_knew(desk: Desk) -> None:
    id_image = desk.accepted()
    desk.server.stop()
    with pytest.raises(httpx.ConnectError):
        desk.poll()
    desk.server.start()
    desk.server.clock.advance(2)
    (found,) = desk.listed()
    assert found["data"]["id_image"] == id_image
    assert desk.plain.get(found["data"]["links"][0]["l"]).status_code == 200


def test_the_poll_limit_outlives_a_restart(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=60.0)
    desk.poll()
    desk.server.stop()
    desk.server.start()
    assert desk.poll().status_code == 429


def test_a_running_server_cannot_be_started_again_and_may_be_stopped_twice(desk: Desk) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        desk.server.start()
    desk.server.stop()
    desk.server.stop()


@pytest.mark.parametrize("fault", ["me:hang", "me:hang-after", "link:stall", "link:endless"])
def test_a_hanging_call_does_not_hold_up_the_end(desk: Desk, fault: str) -> None:
    address = desk.link() if fault.startswith("link") else f"{desk.server.api_url}/me"
    desk.server.set_fault(fault)
    ended: list[str] = []

    def call() -> None:
        try:
            desk.api.get(address, timeout=60)
            ended.append("with an answer")
        except httpx.TransportError:
            ended.append("cut")

    caller = threading.Thread(target=call)
    caller.start()
    wait_for(lambda: desk.server.faults_left == 0)
    before = time.monotonic()
    desk.server.stop()
    assert time.monotonic() - before < 0.9
    caller.join(5)
    assert ended == ["cut"]


def test_an_endless_download_ends_with_its_client(desk: Desk) -> None:
    link = desk.link()
    desk.server.set_fault("link:endless")
    with desk.plain.stream("GET", link) as answer:
        next(answer.iter_raw())
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.2)
    # A server that went on would have used a whole core for this time.
    assert time.process_time() - before < 0.1


def test_a_kept_connection_answers_without_the_delay_of_small_packets(desk: Desk) -> None:
    def seconds() -> float:
        before = time.monotonic()
        desk.api.get("/me")
        return time.monotonic() - before

    # Nagle's algorithm against delayed acknowledgement costs each call 40 ms from about the third on. A busy machine
    # may delay most calls as much, but not all.
    assert min([seconds() for _ in range(40)][20:]) < 0.035


def test_serve_runs_until_told_to_stop_and_logs_addresses_and_calls() -> None:
    lines: list[str] = []
    stop = threading.Event()
    options = {"port": 0, "faults": ["me:503"], "log": lines.append, "stop": stop}
    thread = threading.Thread(target=serve, kwargs=options)
    thread.start()
    wait_for(lambda: len(lines) == 3)
    address = lines[0].split()[-1]
    headers = {"Authorization": "Bearer simulator-access"}
    assert httpx.get(f"{address}/me", headers=headers).status_code == 503
    assert httpx.get(f"{address}/me", headers=headers).status_code == 200
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert lines[3:] == ["fault: me 503", "GET /api/me 503", "GET /api/me 200"]


def test_no_log_line_shows_a_token_or_the_signature_of_a_link() -> None:
    lines: list[str] = []
    with Simulator(Switches(poll_limit=0.0), log=lines.append) as server:
        desk = Desk(server)
        link = desk.link()
        desk.plain.get(link)
        desk.refresh("simulator-access", "simulator-refresh")
        desk.close()
    text = "\n".join(lines)
    assert "/results/" in text
    assert "signature" not in text
    assert "simulator-" not in text


def test_the_date_of_an_answer_is_the_servers_own(desk: Desk) -> None:
    desk.server.clock.advance(10 * 24 * 3600)
    told = parsedate_to_datetime(desk.api.get("/me").headers["date"]).timestamp()
    assert told == pytest.approx(desk.server.clock.now(), abs=5)


def test_many_clients_at_once_are_all_served(desk: Desk) -> None:
    id_image = desk.upload()
    threads = [threading.Thread(target=desk.generate, args=(id_image,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert desk.server.counts().generates_by_image == {id_image: 20}
    assert desk.server.counts().in_flight_max == 20


def test_the_simulator_server_imports_nothing_else_of_expandd() -> None:
    folder = Path(expandd.simulator.__file__).parent
    modules = sorted(folder.glob("*.py"))
    assert len(modules) > 5
    for module in modules:
        for name in imported(ast.parse(module.read_text(encoding="utf-8"))):
            own = name.startswith("expandd.simulator.")
            assert own or name.partition(".")[0] != "expandd", f"{module.name} imports {name}"


def imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            # A relative import could reach the parent package; it would show as a bare "expandd".
            names.append(node.module or "" if node.level == 0 else "expandd")
    return names


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
