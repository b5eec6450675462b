"""What bad intentions, or bad luck, put into an inbox or behind a link: the daemon goes on, and nothing leaks.

The daemon's clock runs ten times as fast.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import stat
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from expandd.simulator.faults import Endpoint, Fault, FaultKind
from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import Daemon, House, Line, names, started
from tests.support.failing import program
from tests.support.images import an_image, chunk, png_claiming

FAST = "clock:10"
FOLDER_DEFAULTS = "settle: 2s, settle_max: 20s"


@pytest.fixture
def quick(house: House) -> House:
    """A house whose times are meant for a clock that runs ten times as fast."""
    rebuild(house)
    return house


def rebuild(house: House, defaults: str = FOLDER_DEFAULTS) -> None:
    house.build(defaults=defaults, folders={"hot": "offsets: {top: 10}"})
    text = house.config.read_text(encoding="utf-8").replace("poll_interval: 100ms", "poll_interval: 3s")
    house.config.write_text(text, encoding="utf-8")


def is_over(line: Line) -> bool:
    return "outcome" in line


def is_done(line: Line) -> bool:
    return bool(line["outcome"] == "done")


def no_bugs(daemon: Daemon) -> bool:
    return not [line for line in daemon.lines if line["event"] in {"bug.found", "not.json"}]


# --- what is no file ---


@contextmanager
def odd_things(inbox: Path, secret: Path) -> Iterator[dict[str, str]]:
    """One of each kind, and what the log must call it."""
    (inbox / "link.png").symlink_to(secret)
    (inbox / "dangling.png").symlink_to(inbox / "nowhere")
    (inbox / "loop.png").symlink_to("loop.png")
    os.mkfifo(inbox / "pipe.png")
    kinds = dict.fromkeys(("link.png", "dangling.png", "loop.png"), "a symbolic link") | {"pipe.png": "a named pipe"}
    if os.geteuid() == 0:
        os.mknod(inbox / "device.png", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        kinds["device.png"] = "a device"
    here = Path.cwd()
    os.chdir(inbox)
    with socket.socket(socket.AF_UNIX) as listening:
        # By its bare name: the path of a socket may have 107 bytes.
        listening.bind("socket.png")
        os.chdir(here)
        yield kinds | {"socket.png": "a socket"}


def test_what_is_no_regular_file_is_left_where_it_is(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    secret = quick.root / "secret.png"
    secret.write_bytes(an_image("png", seed=66))
    with odd_things(hot / "inbox", secret) as kinds, quick.running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "folder.png").mkdir()
        os.link(secret, hot / "inbox" / "second name.png")
        daemon.finished()
        for name, kind in kinds.items():
            line = daemon.wait_for("file.ignored", lambda line, name=name: line["file"] == name)  # type: ignore[misc]  # mypy infers no type of a lambda with a default
            assert kind in line["why"]
        assert daemon.stop() == 0
        assert names(hot / "inbox") == sorted([*kinds, "folder.png"])

    assert names(hot / "outbox") == names(hot / "done") == ["second name.png"]
    assert secret.exists(), "a second name is picked up by that name alone"
    assert no_bugs(daemon)
    assert_good_client(server, images=1)


def test_a_swap_between_check_and_open_never_lets_a_secret_out(quick: House, server: Simulator) -> None:
    rebuild(quick, "settle: 300ms, settle_max: 20s")
    inbox, secret = quick.folder() / "inbox", quick.root / "secret.png"
    secret.write_bytes(an_image("png", seed=66))
    dice = random.Random(7)
    with quick.running(program(quick.config, FAST)) as daemon:
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            # A whole image for about as long as it takes to settle, then, in one step, a link in its place.
            (quick.root / "new.png").write_bytes(an_image("png", seed=1))
            (quick.root / "new.png").rename(inbox / "pic.png")
            time.sleep(dice.uniform(0.02, 0.08))
            (quick.root / "trap").symlink_to(secret)
            (quick.root / "trap").rename(inbox / "pic.png")
            time.sleep(dice.uniform(0.0, 0.01))
        (quick.root / "last.png").write_bytes(an_image("png", seed=2))
        (quick.root / "last.png").rename(inbox / "last.png")
        daemon.wait_for("job.finished", lambda line: line["file"] == "last.png")
        assert daemon.stop() == 0

    sent = {upload.sha256 for upload in server.counts().uploads}
    assert hashlib.sha256(secret.read_bytes()).hexdigest() not in sent
    assert secret.read_bytes() == an_image("png", seed=66)
    for part in ("outbox", "done", "error"):
        assert not [path for path in (quick.folder() / part).iterdir() if path.is_symlink()]
    assert no_bugs(daemon)


# --- what is too much ---


def inflating(size: int) -> bytes:
    """A PNG of 100 by 80 px whose data, and whose comment, inflate to `size` bytes."""
    whole = an_image("png", 100, 80)
    squeezed = zlib.compress(bytes(size), 9)
    comment = chunk(b"zTXt", b"Comment\0\0" + squeezed)
    return whole[:33] + comment + chunk(b"IDAT", squeezed) + chunk(b"IEND", b"")


def test_bombs_go_to_the_error_folder_and_harm_nobody(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    bombs = {
        "canvas.png": png_claiming(60_000, 60_000),
        "overflow.png": png_claiming(0x7FFFFFFF, 0x7FFFFFFF),
        "data.png": inflating(400 << 20),
        "nothing.png": png_claiming(0, 0),
        "deep.png": png_claiming(4096, 4096, depth=16, colour=6),
    }
    for name, content in bombs.items():
        (hot / "inbox" / name).write_bytes(content)
    with quick.running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "good.png").write_bytes(an_image("png"))
        daemon.finished()
        daemon.wait_for("job.failed", is_over, times=len(bombs))
        peak = most_memory(daemon)

    assert peak < 200 << 20
    assert names(hot / "error") == sorted(bombs)
    for name in bombs:
        sidecar = json.loads((hot / "error" / f"{name}.error.json").read_text())
        assert sidecar["code"] in {"too_large", "too_small", "not_whole", "unreadable"}, name
    assert no_bugs(daemon)
    assert_good_client(server, images=1)


def most_memory(daemon: Daemon) -> int:
    """The largest resident size the daemon's own process ever had, in bytes."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def test_ten_gigabytes_with_the_head_of_an_image_are_not_read(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    with (hot / "inbox" / "huge.png").open("wb") as file:
        file.write(an_image("png"))
        file.truncate(10 << 30)
    with started(quick).running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "good.png").write_bytes(an_image("png"))
        daemon.finished()
        daemon.wait_for("job.failed", is_over)
        read = bytes_read(daemon)

    assert names(hot / "error") == ["huge.png"]
    assert (hot / "error" / "huge.png").stat().st_blocks * 512 < 1 << 20, "moved, not copied"
    assert read < 1 << 30
    assert_good_client(server, images=1)


def bytes_read(daemon: Daemon) -> int:
    """What the daemon and its ended children have read, in bytes."""
    facts = Path(f"/proc/{daemon.process.pid}/io").read_text().split()
    return int(facts[facts.index("rchar:") + 1])


# --- files that change under our hands ---


def received(daemon: Daemon, server: Simulator) -> None:
    """Until the API has a whole upload, whose answer it still keeps back."""
    daemon.wait_for("job.claimed")
    end = time.monotonic() + 10.0
    while not server.counts().uploads and time.monotonic() < end:
        time.sleep(0.005)


def test_a_file_cut_short_while_it_is_uploaded_is_given_back(quick: House, server: Simulator) -> None:
    inbox = quick.folder() / "inbox"
    whole = an_image("jpeg", 1600, 1200, quality=95)
    server.set_fault(Fault(Endpoint.UPLOAD, FaultKind.HANG, after=True, seconds=1.0))
    (inbox / "pic.jpg").write_bytes(whole)
    with (inbox / "pic.jpg").open("r+b") as held, quick.running(program(quick.config, FAST)) as daemon:
        received(daemon, server)
        held.truncate(len(whole) // 2)
        daemon.wait_for("job.returned", lambda line: "being written" in line.get("why", ""))
        daemon.wait_for("file.unfinished")
        assert server.counts().generates_by_image == {}
        held.seek(0)
        held.write(whole)
        held.close()
        daemon.wait_for("job.finished", is_done)

    assert (quick.folder() / "done" / "pic.jpg").read_bytes() == whole
    assert names(quick.folder() / "error") == []
    assert_good_client(server, images=1)


def test_a_late_writer_through_another_name_pays_for_nothing(quick: House, server: Simulator) -> None:
    inbox, other = quick.folder() / "inbox", quick.root / "other name.png"
    early, late = an_image("png", seed=1), an_image("png", seed=2)
    server.set_fault(Fault(Endpoint.UPLOAD, FaultKind.HANG, after=True, seconds=1.0))
    other.write_bytes(early)
    os.link(other, inbox / "pic.png")
    with quick.running(program(quick.config, FAST)) as daemon:
        received(daemon, server)
        other.write_bytes(late)
        daemon.wait_for("job.returned", lambda line: "being written" in line.get("why", ""))
        daemon.wait_for("job.finished", is_done)

    paid = server.counts().generates_by_source
    assert list(paid) == [hashlib.sha256(late).hexdigest()]
    assert (quick.folder() / "done" / "pic.png").read_bytes() == late
    assert_good_client(server, images=1)


# --- what a link may lead to ---


def test_whatever_a_link_sends_the_result_is_fetched_once_it_is_right(quick: House, server: Simulator) -> None:
    for fault in ("link:html", "link:redirect-loop", "link:endless", "link:empty", "link:garbage", "link:truncated"):
        server.set_fault(fault)
    (quick.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with quick.running(program(quick.config, FAST, f"cap:{1 << 20}")) as daemon:
        largest = 0
        over = threading.Event()

        def measure() -> None:
            nonlocal largest
            while not over.wait(0.005):
                largest = max(largest, usage(quick.state_dir / "spool"))

        measuring = threading.Thread(target=measure)
        measuring.start()
        try:
            daemon.finished()
        finally:
            over.set()
            measuring.join()

    assert largest <= 1 << 20
    assert names(quick.folder() / "outbox") == names(quick.folder() / "done") == ["pic.png"]
    assert os.listdir(quick.state_dir / "spool") == []
    assert no_bugs(daemon)
    assert_good_client(server, images=1)


def usage(directory: Path) -> int:
    total = 0
    for entry in os.scandir(directory) if directory.exists() else ():
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            continue
    return total


def test_a_result_that_is_a_bomb_is_never_delivered(quick: House, server: Simulator) -> None:
    (quick.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with quick.running(program(quick.config, FAST, "bomb:3")) as daemon:
        daemon.wait_for("job.retrying", times=3)
        assert names(quick.folder() / "outbox") == []
        daemon.finished()

    assert_good_client(server, images=1)


# --- names that lead elsewhere ---


def test_templates_that_lead_out_of_the_outbox_are_refused(house: House) -> None:
    templates = ["../{stem}{ext}", "{stem}/../../x{ext}", "/tmp/{stem}{ext}", "..", "{preset}/{stem}"]
    folders = {f"hot{number}": f"offsets: {{top: 1}}, name: '{name}'" for number, name in enumerate(templates)}
    house.build(folders=folders)
    outcome = house.call("check")

    assert outcome.returncode == 78
    for number in range(len(templates)):
        assert f"folders.{number}.name" in outcome.stdout + outcome.stderr


def test_the_name_of_a_dropped_file_leads_nowhere(quick: House, server: Simulator) -> None:
    """What looks like a way out is only a name."""
    odd = ["..png", "...png", "%2e%2e%2fpic.png", "..\\..\\pic.png", "$(reboot).png", "{stem}{width}.png"]
    hot = quick.folder()
    for number, name in enumerate(odd):
        (hot / "inbox" / name).write_bytes(an_image("png", seed=number))
    visible = sorted(name for name in odd if not name.startswith("."))
    with quick.running(program(quick.config, FAST)) as daemon:
        daemon.finished(times=len(visible))

    assert names(hot / "outbox") == names(hot / "done") == visible
    assert_good_client(server, images=len(visible))
