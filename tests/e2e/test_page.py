"""Proves that the page does its work: a real daemon behind it, a real browser before it."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Locator, expect

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support.browser import Watched, browsing
from tests.support.daemon import Daemon, House, command, names
from tests.support.images import an_image

PATIENCE = 20_000.0
EVIL = "<img src=x onerror=alert(1)>.png"

FOCUSED = """() => {
    const one = document.activeElement;
    if (one === document.body) return '';
    return (getComputedStyle(one).outlineStyle === 'none' ? 'INVISIBLE ' : '') + one.textContent.trim();
}"""
"""What the focused element says, and whether it shows that it has the focus."""


@dataclass(frozen=True, slots=True)
class Studio:
    """A daemon with a page, three results, two errors, and the browser that looks, which has one tab: each costs."""

    house: House
    daemon: Daemon
    browser: Browser
    tab: Watched
    url: str


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    root = tmp_path_factory.mktemp("studio")
    switches = Switches(poll_limit=0.2, generate_min=0.2, generate_max=0.4, pro=True)
    with browsing() as browser, Simulator(switches) as server:
        house = House(root, server.api_url)
        house.build(top='page: {listen: "127.0.0.1:0"}')
        for number, name in enumerate((EVIL, "second.png", "third.png")):
            drop(house, name, an_image("png", 200, 160, seed=number))
        drop(house, "notes.txt", b"no image at all")
        drop(house, "small.png", an_image("png", 32, 32))
        with house.running() as daemon:
            url = daemon.wait_for("page.open")["address"]
            daemon.finished(times=3)
            daemon.wait_for("job.failed", times=2)
            yield Studio(house, daemon, browser, Watched(browser.new_page()), url)


@pytest.fixture
def seen(studio: Studio) -> Watched:
    """The page, loaded anew."""
    studio.tab.page.goto(studio.url)
    studio.tab.complaints.clear()
    return studio.tab


def drop(house: House, name: str, data: bytes) -> None:
    (house.folder() / "inbox" / name).write_bytes(data)


def test_without_scripts_all_can_be_read_and_ordered(studio: Studio) -> None:
    context = studio.browser.new_context(java_script_enabled=False)
    seen = Watched(context.new_page())
    seen.page.goto(studio.url)

    expect(seen.page.get_by_role("heading", name="Latest results")).to_be_visible()
    expect(seen.page.get_by_text(EVIL).first).to_be_visible()
    expect(seen.page.get_by_text("This is a text file")).to_be_visible()
    seen.page.get_by_role("button", name="Pause all").click()
    expect(seen.page.get_by_role("status")).to_contain_text("Pausing")
    studio.daemon.wait_for("page.ordered", matching=lambda line: line["verb"] == "pause")
    seen.page.goto(studio.url)
    _until_shown(seen, "Resume").click()
    studio.daemon.wait_for("page.ordered", matching=lambda line: line["verb"] == "resume")
    context.close()
    assert seen.complaints == []


def _until_shown(seen: Watched, name: str) -> Locator:
    """The button of that name, once it is there: without scripts, a person loads the page again."""
    for _ in range(40):
        button = seen.page.get_by_role("button", name=name).first
        if button.is_visible():
            return button
        seen.page.wait_for_timeout(250)
        seen.page.reload()
    raise AssertionError(f"no button {name}")


def test_a_result_appears_by_itself_beside_its_source_and_nothing_complains(studio: Studio, seen: Watched) -> None:
    expect(seen.page.locator("#freshness")).to_have_text("live")
    drop(studio.house, "fresh.png", an_image("png", 200, 160, seed=9))

    newest = seen.page.locator(".newest")
    expect(newest).to_contain_text("fresh.png", timeout=PATIENCE)
    expect(newest.get_by_role("img", name=re.compile("Original of fresh.png, 200×160 px"))).to_be_visible()
    expect(newest.get_by_role("img", name=re.compile("Result fresh.png, 250×170 px"))).to_be_visible()
    drawn = seen.page.evaluate(
        """async () => (await Promise.all([...document.querySelectorAll('.newest image')].map(async (image) => {
            const shown = new Image(); shown.src = image.href.baseVal; await shown.decode();
            return [shown.naturalWidth, shown.naturalHeight].join('x'); }))).join(' ')"""
    )
    assert drawn == "200x160 250x170"
    assert seen.complaints == []


def test_the_retry_button_tries_again_and_the_error_goes(studio: Studio, seen: Watched) -> None:
    error = studio.house.folder() / "error"
    failed = seen.page.locator("#failed li", has_text="small.png")
    expect(failed).to_have_count(1)
    # What was wrong is put right where it lies, as a person would who does not know the inbox.
    (error / "small.png").write_bytes(an_image("png", 120, 90))
    failed.get_by_role("button", name="Try again").click()

    expect(seen.page.get_by_role("status")).to_contain_text("tried again")
    expect(seen.page.locator(".newest")).to_contain_text("small.png", timeout=PATIENCE)
    expect(failed).to_have_count(0, timeout=PATIENCE)
    assert names(error) == ["notes.txt"]
    assert seen.complaints == []


def test_the_focus_stays_where_it_was_after_a_button(studio: Studio, seen: Watched) -> None:
    expect(seen.page.locator("#freshness")).to_have_text("live")
    for name, then in (("Pause all", "Resume everything"), ("Resume everything", "Pause all")):
        button = seen.page.locator("#head button")
        expect(button).to_have_text(re.compile(name))
        button.press("Enter")
        expect(button).to_have_text(re.compile(then), timeout=PATIENCE)
        expect(button).to_be_focused()
    errors = seen.page.locator("#failed")
    errors.get_by_role("button", name="Dismiss").first.press("Enter")
    expect(errors.locator("li")).to_have_count(0, timeout=PATIENCE)
    assert seen.page.evaluate("document.getElementById('failed').contains(document.activeElement)")
    seen.page.get_by_role("link", name="Errors", exact=True).click()
    again = seen.page.get_by_role("button", name="Try again").last
    again.press("Enter")
    expect(seen.page.get_by_role("status")).to_contain_text("tried again")
    expect(again).to_be_focused()
    expect(again).to_have_attribute("aria-disabled", "true")
    assert names(studio.house.folder() / "error") == ["notes.txt"]
    assert seen.complaints == []


def test_a_result_is_found_by_its_name_and_saved_as_it_is(studio: Studio, seen: Watched) -> None:
    seen.page.get_by_role("link", name="All results").click()
    seen.page.get_by_label("Part of a name").fill("SECOND")
    seen.page.get_by_role("button", name="Search").click()
    expect(seen.page.get_by_role("heading", level=1)).to_have_text("Results called “SECOND”")
    expect(seen.page.locator(".card")).to_have_count(1)
    with seen.page.expect_download() as saving:
        seen.page.get_by_role("link", name="Download second.png").click()
    expect(seen.page.locator(".whole img")).to_have_js_property("complete", value=True)
    seen.page.get_by_role("link", name="Open second.png").click()
    expect(seen.page.locator("img")).to_be_visible()

    assert saving.value.suggested_filename == "second.png"
    assert saving.value.path().read_bytes() == (studio.house.folder() / "outbox" / "second.png").read_bytes()


def test_metrics_are_beside_the_page(studio: Studio) -> None:
    told = httpx.get(f"{studio.url}metrics").text

    assert "# TYPE expandd_" in told


def test_on_a_phone_nothing_is_cut_off_and_fingers_find_the_buttons(seen: Watched) -> None:
    page, usual = seen.page, seen.page.viewport_size
    assert usual is not None
    page.set_viewport_size({"width": 360, "height": 740})
    width = page.evaluate("document.documentElement.scrollWidth")
    heights = page.evaluate("[...document.querySelectorAll('button')].map((one) => one.offsetHeight)")
    page.set_viewport_size(usual)

    assert width == 360
    assert min(heights) >= 44


def test_light_and_dark_follow_the_system_and_can_be_read(seen: Watched) -> None:
    grounds = {}
    page = seen.page
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        grounds[scheme] = _luminance(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        soft = _luminance(page.evaluate("getComputedStyle(document.querySelector('.facts')).color"))
        light, dark = max(soft, grounds[scheme]), min(soft, grounds[scheme])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, scheme
    page.emulate_media(color_scheme="null")

    assert grounds["light"] > 0.8
    assert grounds["dark"] < 0.05


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_keyboard_reaches_everything_and_shows_where_it_is(seen: Watched) -> None:
    page = seen.page
    reached: list[str] = []
    # More than once around, if need be: what is shown anew in just that moment is passed over.
    for _ in range(400):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        reached.append(" ".join(found.split()))
        if found.startswith("Load again") and any(one.startswith("Pause all") for one in reached):
            break
    landmarks = [page.get_by_role(role).count() for role in ("banner", "main", "contentinfo")]
    headings = page.get_by_role("heading", level=1).count()

    assert reached[0] == "Skip to the images"
    assert {"Open third.png", "Pause hot"} <= set(reached)
    assert any(one.startswith("Pause all") for one in reached)
    assert not any(one.startswith("INVISIBLE") for one in reached)
    assert landmarks == [1, 1, 1]
    assert headings == 1


def test_a_dead_daemon_looks_dead_within_seconds(studio: Studio, seen: Watched) -> None:
    """The last of the studio's tests: it kills the daemon."""
    page = seen.page
    expect(page.locator("#freshness")).to_have_text("live")
    page.get_by_role("button", name="Pause all").focus()
    studio.daemon.kill()

    expect(page).to_have_title("expandd does not answer · expandd", timeout=PATIENCE)
    expect(page.get_by_role("heading", level=1)).to_have_text("expandd does not answer")
    expect(page.locator(".state")).to_have_class("state lost")
    expect(page.locator("#freshness")).to_have_text(re.compile(r"^not live: last heard at \d\d:\d\d$"))
    assert page.get_by_role("button").count() == page.locator("button[aria-disabled=true]").count() > 0
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.get_by_role("button", name="Pause hot").click(force=True)
    expect(page.get_by_role("status")).to_have_text("Nothing was changed: expandd does not answer.")


def test_a_taken_port_costs_the_page_and_nothing_else(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house.build(top=f'page: {{listen: "127.0.0.1:{port}"}}')
        with house.running() as daemon:
            told = daemon.wait_for("page.cannot_listen")
            (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
            daemon.finished()

    assert "page.listen" in told["why"]
    assert f"127.0.0.1:{port}" in told["why"]


def test_it_is_there_over_a_unix_socket_and_a_stop_is_not_held_up_by_who_looks(house: House, tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    house.build(top=f"page: {{listen: 'unix:{path}'}}")
    with house.running() as daemon, socket.socket(socket.AF_UNIX) as looking:
        daemon.wait_for("page.open")
        looking.connect(str(path))
        looking.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert looking.recv(15) == b"HTTP/1.1 200 OK"
        assert daemon.stop() == 0

    assert not path.exists()
    assert not [line for line in daemon.lines if line.get("event", "").startswith(("page.failed", "page.bug", "not."))]


def test_hundreds_of_half_sent_requests_cost_nothing(house: House) -> None:
    """With as few descriptors as make the page's share a small one: four hundred sockets are more than all of them."""
    house.build(top='page: {listen: "127.0.0.1:0"}')
    few = ["prlimit", "--nofile=256:256", *command(), "run", "--config", str(house.config)]
    with ExitStack() as stack, house.running(few) as daemon:
        address = daemon.wait_for("page.open")["address"]
        port = urlsplit(address).port or 0
        for number in range(400):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
            if not number % 100:
                (house.folder() / "inbox" / f"{number}.png").write_bytes(an_image("png", seed=number))
        seen = [urllib.request.urlopen(address, timeout=20).status for _ in range(3)]
        daemon.finished(times=4)

    assert seen == [200, 200, 200]
    assert not [line for line in daemon.lines if line.get("level") in {"error", "critical"}]
