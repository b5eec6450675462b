"""The storm: images dropped in every way while the daemon is killed again and again and every call may fail.

All chance comes from one seed. What the API counts and what lies on the disk decide; the log only helps to see why.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import socket
import sqlite3
import subprocess
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageChops, ImageOps, ImageStat

from expandd.simulator.faults import Endpoint, Fault, FaultKind
from expandd.simulator.server import Simulator
from expandd.simulator.switches import Duplicates, Foreign, GenerateAnswer, HistoryShape, Naming, Order, UploadId
from tests.support.daemon import House, command, names
from tests.support.images import an_image

BACKLOG = 48
"""Images that may lie in an inbox before more are dropped: a storm is about what is in progress, not about queues."""

FOLDERS = {
    "flat": "offsets: {top: 10, left: 25%}, watch: events, scan_interval: 1s",
    "deep": "offsets: {bottom: 8, right: 12}, recursive: true, watch: poll, scan_interval: 300ms",
}

STILLBORN = 0.25
"""The share of lives that may end before the daemon is ready."""

LONGEST_LIFE = 1.6
"""Seconds from ready to the kill, at most."""

READY_WITHIN = 60.0

SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}

LARGE = 0.05
"""The share of images that are larger than the API takes."""

ANY = (Endpoint.UPLOAD, Endpoint.GENERATE, Endpoint.POLL, Endpoint.DELETE, Endpoint.HISTORY, Endpoint.LINK)
TORN = (FaultKind.TRUNCATED, FaultKind.SHORT, FaultKind.NOT_FOUND)


def faults(often: float) -> Iterator[Fault]:
    """Every kind of fault at every call, each with a small probability; `often` is that of the usual ones."""

    def fault(endpoint: Endpoint, kind: FaultKind, probability: float, **more: object) -> Fault:
        return Fault(endpoint, kind, times=None, probability=probability, **more)  # type: ignore[arg-type]  # keywords of any type

    for endpoint in ANY:
        for kind in (FaultKind.SERVER_ERROR, FaultKind.BAD_GATEWAY, FaultKind.UNAVAILABLE):
            yield fault(endpoint, kind, often / 2)
        for after in (False, True):
            yield fault(endpoint, FaultKind.RESET, often, after=after)
            yield fault(endpoint, FaultKind.HANG, often / 2, after=after, seconds=0.5)
        for kind in (FaultKind.SERVER_ERROR, FaultKind.HTML, FaultKind.GARBAGE, FaultKind.EMPTY):
            yield fault(endpoint, kind, often / 2, after=True)
        # Any 2xx to a generate is an acceptance: after one that made nothing a person would have to decide.
        if endpoint is not Endpoint.GENERATE:
            yield fault(endpoint, FaultKind.EMPTY, often / 2)
            yield fault(endpoint, FaultKind.HTML, often / 2)
        yield fault(endpoint, FaultKind.TOO_MANY, often / 10)
        yield fault(endpoint, FaultKind.TOO_MANY, often / 20, retry_after="1")
    for kind in TORN:
        yield fault(Endpoint.LINK, kind, often)
    for endpoint in (Endpoint.UPLOAD, Endpoint.GENERATE, Endpoint.POLL):
        yield fault(endpoint, FaultKind.UNAUTHORIZED, often / 10)
    yield fault(Endpoint.DELETE, FaultKind.NOT_FOUND, often)
    yield fault(Endpoint.GENERATE, FaultKind.NOTIFICATION_LOST, often)


@dataclass(frozen=True, slots=True)
class Dropped:
    """An image a person dropped: where, under which name below the inbox, and its bytes."""

    folder: str
    relative: Path
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def kind(self) -> str:
        return next(kind for kind, suffix in SUFFIX.items() if suffix == self.relative.suffix)


class Feeder(threading.Thread):
    """Drops images in every way people and programs do, as fast as the daemon takes them, until all are dropped."""

    def __init__(self, house: House, seed: int, images: int) -> None:
        super().__init__(name="feeder", daemon=True)
        self.dropped: list[Dropped] = []
        self.broken: list[tuple[str, Path]] = []
        self.failure: BaseException | None = None
        self.done = threading.Event()
        self._house = house
        self._dice = random.Random(f"feeder {seed}")
        self._images = images
        self._stage = house.root / "stage"
        self._stage.mkdir()
        self._half: list[Callable[[], None]] = []
        self._over = threading.Event()

    def run(self) -> None:
        try:
            while len(self.dropped) < self._images and not self._over.is_set():
                self._drop_some()
                self._over.wait(0.02)
            self._complete(everything=True)
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self.failure = error
        finally:
            self.done.set()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def inbox(self, folder: str) -> Path:
        return self._house.folder(folder) / "inbox"

    def _drop_some(self) -> None:
        self._complete(everything=False)
        for folder in FOLDERS:
            self._clear_empty(folder)
            if len(os.listdir(self.inbox(folder))) < BACKLOG:
                for _ in range(self._dice.randint(0, 6)):
                    if len(self.dropped) < self._images:
                        self._dice.choice(self._ways(folder))(folder)
        if self._dice.random() < 0.01:
            self._drop_broken()

    def _clear_empty(self, folder: str) -> None:
        """Take away the subfolders whose images have been picked up, as people do at last."""
        for entry in self.inbox(folder).iterdir():
            if entry.is_dir() and not entry.name.startswith("."):
                with contextlib.suppress(OSError):
                    entry.rmdir()

    def _ways(self, folder: str) -> list[Callable[[str], None]]:
        plain = [self._written, self._renamed, self._linked, self._from_hidden, self._in_halves, self._preallocated]
        deep: list[Callable[[str], None]] = [self._folder_moved_in, self._into_a_subfolder]
        return [*plain, self._same_name_again, *(deep if folder == "deep" else [])]

    # --- the ways ---

    def _written(self, folder: str) -> None:
        drop = self._new(folder)
        (self.inbox(folder) / drop.relative).write_bytes(drop.content)

    def _renamed(self, folder: str) -> None:
        drop = self._new(folder)
        self._staged(drop).rename(self.inbox(folder) / drop.relative)

    def _linked(self, folder: str) -> None:
        drop = self._new(folder)
        os.link(self._staged(drop), self.inbox(folder) / drop.relative)

    def _from_hidden(self, folder: str) -> None:
        drop = self._new(folder)
        hidden = self.inbox(folder) / f".{drop.relative}.tmp"
        hidden.write_bytes(drop.content)
        hidden.rename(self.inbox(folder) / drop.relative)

    def _in_halves(self, folder: str) -> None:
        """A slow writer: the second half comes when the first has long settled."""
        drop = self._new(folder)
        path, half = self.inbox(folder) / drop.relative, len(drop.content) // 2
        path.write_bytes(drop.content[:half])

        def complete() -> None:
            with path.open("r+b") as file:
                file.seek(half)
                file.write(drop.content[half:])

        self._half.append(complete)

    def _preallocated(self, folder: str) -> None:
        """A copy that takes its room first: the size is right from the start, the bytes are not.

        Never a WEBP: it has no sum and no end mark, and one of less than a kilobyte cannot be told from a whole one.
        """
        drop = self._new(folder, kinds=("png", "jpeg"))
        path = self.inbox(folder) / drop.relative
        with path.open("wb") as file:
            file.write(drop.content[:100])
            file.truncate(len(drop.content))

        def complete() -> None:
            with path.open("r+b") as file:
                file.write(drop.content)

        self._half.append(complete)

    def _same_name_again(self, folder: str) -> None:
        """Another image under a name that was there before, if that name is free again."""
        named = [drop for drop in self.dropped if drop.folder == folder and drop.relative.suffix == ".png"]
        if not named:
            return
        drop = Dropped(folder, self._dice.choice(named[-200:]).relative, self._content("png"))
        path = self.inbox(folder) / drop.relative
        if path.parent.is_dir():
            with contextlib.suppress(FileExistsError):
                os.link(self._staged(drop), path)
                self.dropped.append(drop)

    def _into_a_subfolder(self, folder: str) -> None:
        below = Path(f"sub {self._dice.randrange(5)}")
        (self.inbox(folder) / below).mkdir(exist_ok=True)
        drop = self._new(folder, below)
        (self.inbox(folder) / drop.relative).write_bytes(drop.content)

    def _folder_moved_in(self, folder: str) -> None:
        below = Path(f"moved {len(self.dropped)}")
        made = self._stage / below
        made.mkdir()
        for _ in range(self._dice.randint(1, 3)):
            if len(self.dropped) < self._images:
                drop = self._new(folder, below)
                (made / drop.relative.name).write_bytes(drop.content)
        made.rename(self.inbox(folder) / below)

    def _drop_broken(self) -> None:
        folder, relative = "flat", Path(f"broken {len(self.broken)}.jpg")
        (self.inbox(folder) / relative).write_bytes(b"GIF89a, in truth, and no image at all")
        self.broken.append((folder, relative))

    # --- helpers ---

    def _new(self, folder: str, below: Path = Path(), kinds: tuple[str, ...] = tuple(SUFFIX)) -> Dropped:
        kind = self._dice.choice(kinds)
        relative = below / f"pic {len(self.dropped):05d} ü{SUFFIX[kind]}"
        drop = Dropped(folder, relative, self._content(kind))
        self.dropped.append(drop)
        return drop

    def _content(self, kind: str) -> bytes:
        turned = self._dice.choice((1, 1, 1, 6)) if kind == "jpeg" else 1
        width, height = self._dice.randint(64, 96), self._dice.randint(64, 96)
        if kind != "webp" and self._dice.random() < LARGE:
            # The API is sent a smaller copy, and the result is finished to the full size.
            width, height = 4500, 80
        return an_image(kind, width, height, seed=self._dice.getrandbits(48), orientation=turned)

    def _staged(self, drop: Dropped) -> Path:
        path = self._stage / f"{len(self.dropped):05d} {drop.sha256[:16]}"
        path.write_bytes(drop.content)
        return path

    def _complete(self, *, everything: bool) -> None:
        while self._half and (everything or self._dice.random() < 0.1):
            self._half.pop(0)()


@dataclass(slots=True)
class Figures:
    """What a storm came to."""

    seed: int
    images: int = 0
    kills: int = 0
    kills_while_starting: int = 0
    calls: int = 0
    faults_met: int = 0
    seconds: float = 0.0
    paid: int = 0
    lost: int = 0
    paid_twice: int = 0

    def __str__(self) -> str:
        return (
            f"storm: seed {self.seed}, {self.images} images, {self.kills} kills ({self.kills_while_starting} of them "
            f"while starting), {self.calls} calls ({self.faults_met} of them spoilt), {self.seconds:.0f} s; "
            f"paid {self.paid}, lost {self.lost}, paid twice {self.paid_twice}"
        )


@dataclass(slots=True)
class Storm:
    """One storm: `rage`, then `assert_nothing_happened`."""

    root: Path
    server: Simulator
    seed: int
    images: int
    kills: int
    often: float = 0.01
    house: House = field(init=False)
    feeder: Feeder = field(init=False)
    figures: Figures = field(init=False)
    _dice: random.Random = field(init=False)
    _mark: str = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(f"killer {self.seed}")
        self._mark = f"EXPANDD_STORM_MARK={uuid.uuid4()}"
        self.figures = Figures(self.seed)
        self.house = House(self.root, self.server.api_url)
        self.house.build(
            top="workers: 16",
            api="unknown_wait: 1s",
            defaults="settle: 50ms, settle_max: 1m",
            folders=FOLDERS,
        )
        defaults = self.house.config.read_text(encoding="utf-8")
        defaults = defaults.replace("poll_interval: 100ms", "poll_interval: 50ms").replace("timeout: 5s", "timeout: 2s")
        self.house.config.write_text(defaults, encoding="utf-8")
        self.feeder = Feeder(self.house, self.seed, self.images)

    @property
    def log(self) -> Path:
        return self.root / "log"

    def rage(self) -> None:
        """Drop everything and kill at least as often as asked for, until all is dropped; then let it come to rest."""
        began = time.monotonic()
        for fault in faults(self.often):
            self.server.set_fault(fault)
        self.feeder.start()
        try:
            while self.figures.kills < self.kills or not self.feeder.done.is_set():
                self._weather()
                self._live_and_die()
        finally:
            self.feeder.stop()
        if self.feeder.failure is not None:
            raise self.feeder.failure
        self._come_to_rest()
        self.figures.seconds = time.monotonic() - began
        self._count()

    def assert_nothing_happened(self) -> None:
        """Pay once, lose nothing: from the API's counts and the disk alone."""
        assert not self.bugs(), self.bugs()[:3]
        self._assert_every_image_is_answered()
        self._assert_every_broken_file_is_in_error()
        self._assert_nothing_stray()
        self._assert_good_defaults()

    # --- lives and deaths ---

    def _weather(self) -> None:
        """The open points of the contract go either way, differently in each life."""
        self.server.switch(
            naming=self._dice.choice((Naming.BOTH, Naming.ID_IMAGE, Naming.ADDRESS)),
            upload_id=self._dice.choice((UploadId.ID_IMAGE, UploadId.IMAGE_ID, UploadId.BOTH)),
            generate_answer=self._dice.choice(tuple(GenerateAnswer)),
            bare_list=self._dice.random() < 0.5,
            duplicates=self._dice.choice(tuple(Duplicates)),
            order=self._dice.choice(tuple(Order)),
            history_shape=self._dice.choice(tuple(HistoryShape)),
            foreign=tuple(self._dice.sample(tuple(Foreign), 4)),
            redirects=self._dice.choice((0, 0, 1)),
        )

    def _live_and_die(self) -> None:
        with _told_ready() as (address, ready), self._process("run", NOTIFY_SOCKET=address) as process:
            # One life in four ends while it starts, or recovers at the latest.
            if self._dice.random() < STILLBORN:
                ready(self._dice.uniform(0.0, 0.6))
            elif ready(READY_WITHIN):
                self._let_live(process, self._dice.uniform(0.0, LONGEST_LIFE))
            else:
                raise AssertionError(f"the daemon does not start:\n{self._tail()}")
            if process.poll() is not None:
                raise AssertionError(f"the daemon ended by itself with {process.returncode}:\n{self._tail()}")
            process.kill()
            process.wait()
            self.figures.kills_while_starting += not ready(0.0)
        self.figures.kills += 1

    def _let_live(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)

    def _come_to_rest(self) -> None:
        """No more kills, and still faults: everything that is left is answered."""
        for _ in range(5):
            with self._process("once", "--patience", "20") as process:
                code = process.wait(300.0)
            if code in {0, 3} and not self._open_jobs():
                return
        raise AssertionError(f"not everything was answered: {self._open_jobs()[:5]}\n{self._tail()}")

    @contextlib.contextmanager
    def _process(self, verb: str, *options: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        name, _, value = self._mark.partition("=")
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("PIKTID_", "CREDENTIALS_"))}
        arguments = [*command(), verb, "--verbose", *options, "--config", str(self.house.config)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                arguments, env={**kept, **self.house.environ, **environ, name: value}, stderr=log
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _open_jobs(self) -> list[tuple[str, str, int, str]]:
        with contextlib.closing(sqlite3.connect(self.house.state_dir / "journal.sqlite")) as store:
            found = store.execute("SELECT id, state, held, json_extract(facts, '$.note') FROM jobs WHERE closed = 0")
            return [(str(one), str(state), int(held), str(note)) for one, state, held, note in found]

    # --- what the log says ---

    def bugs(self) -> list[str]:
        """What no run may say: bugs of ours, tracebacks, jobs held for a person."""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            return [line for line in lines if _is_bad(line)]

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    # --- what must be so ---

    def _count(self) -> None:
        counts = self.server.counts()
        figures = self.figures
        figures.images = len(self.feeder.dropped)
        figures.calls = sum(sum(by.values()) for by in counts.calls.values())
        figures.faults_met = sum(
            number for by in counts.calls.values() for status, number in by.items() if status != "200"
        )
        figures.paid = counts.generates_accepted
        figures.paid_twice = len(counts.paid_twice)
        done = self._done()
        missing = Counter((drop.folder, drop.sha256) for drop in self.feeder.dropped) - done
        results = sum(len(_files(self.house.folder(folder) / "outbox")) for folder in FOLDERS)
        figures.lost = max(missing.total(), figures.images - results)

    def _done(self) -> Counter[tuple[str, str]]:
        return Counter(
            (folder, hashlib.sha256(path.read_bytes()).hexdigest())
            for folder in FOLDERS
            for path in _files(self.house.folder(folder) / "done")
        )

    def _assert_every_image_is_answered(self) -> None:
        assert self._done() == Counter((drop.folder, drop.sha256) for drop in self.feeder.dropped)
        for folder in FOLDERS:
            outbox = self.house.folder(folder) / "outbox"
            families: dict[Path, list[Dropped]] = defaultdict(list)
            for drop in self.feeder.dropped:
                if drop.folder == folder:
                    families[drop.relative].append(drop)
            expected = {path for family in families for path in _numbered(family, len(families[family]))}
            assert {path.relative_to(outbox) for path in _files(outbox)} == expected
            for family, drops in families.items():
                _assert_pairs(outbox, family, drops)

    def _assert_every_broken_file_is_in_error(self) -> None:
        for folder in FOLDERS:
            error = self.house.folder(folder) / "error"
            broken = {str(relative) for where, relative in self.feeder.broken if where == folder}
            assert {str(path.relative_to(error)) for path in _files(error)} == broken | {
                f"{name}.error.json" for name in broken
            }

    def _assert_nothing_stray(self) -> None:
        for folder in FOLDERS:
            inbox = self.house.folder(folder) / "inbox"
            assert os.listdir(inbox / ".expandd") == []
            assert [path for path in _files(inbox) if ".expandd" not in path.parts] == []
        assert names(self.house.state_dir / "spool") == []
        assert self._open_jobs() == []
        assert _processes_with(self._mark) == [], "a child has outlived its daemon"

    def _assert_good_defaults(self) -> None:
        counts = self.server.counts()
        assert counts.paid_twice == []
        assert set(counts.generates_by_source.values()) == {1}
        assert counts.generates_accepted == len(self.feeder.dropped)
        assert counts.deletes_before_download == 0
        assert counts.deletes_foreign == 0
        assert counts.polls_too_close == 0
        assert counts.authorization_at_link_host == 0
        assert counts.authorization_at_refresh == 0
        assert counts.refresh_reused == 0
        assert counts.unknown_fields == counts.null_fields == counts.name_list_not_text == 0


@contextlib.contextmanager
def _told_ready() -> Iterator[tuple[str, Callable[[float], bool]]]:
    """A service manager's socket: its address, and whether READY came, or comes within so many seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0expandd-storm-{uuid.uuid4()}")
        heard: list[bytes] = []

        def ready(seconds: float) -> bool:
            listening.settimeout(seconds)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                heard.append(listening.recv(4096))
            return bool(heard)

        yield "@" + listening.getsockname()[1:].decode(), ready


def _is_bad(line: str) -> bool:
    if '"bug.found"' in line or '"job.held"' in line:
        return True
    try:
        json.loads(line)
    except json.JSONDecodeError:
        # A kill may cut the last line of a life short; a traceback is many lines that never were JSON.
        return not line.startswith("{") and not line.endswith(" to the error folder.\n")
    return False


def _files(directory: Path) -> list[Path]:
    """Every file below the directory, hidden ones too."""
    return [Path(root) / name for root, _, found in os.walk(directory) for name in found]


def _numbered(relative: Path, number: int) -> list[Path]:
    return [
        relative if n == 1 else relative.with_name(f"{relative.stem}-{n}{relative.suffix}")
        for n in range(1, number + 1)
    ]


def _assert_pairs(outbox: Path, family: Path, drops: list[Dropped]) -> None:
    """Each result of the family is one of its images, grown as configured, its own pixels inside; one for each."""
    left = list(drops)
    for path in _numbered(family, len(drops)):
        result = Image.open(outbox / path)
        mine = next((drop for drop in left if _is_grown_from(result, drop)), None)
        assert mine is not None, f"{path} is the result of no image dropped under that name"
        left.remove(mine)


def _is_grown_from(result: Image.Image, drop: Dropped) -> bool:
    with Image.open(io.BytesIO(drop.content)) as stored:
        source = ImageOps.exif_transpose(stored).convert("RGB")
    left, top, right, bottom = _sides(drop.folder, source.width)
    grown = (source.width + left + right, source.height + top + bottom)
    if result.format != drop.kind.upper() or result.size != grown:
        return False
    inside = result.convert("RGB").crop((left, top, left + source.width, top + source.height))
    difference = ImageStat.Stat(ImageChops.difference(inside, source)).mean
    # JPEG and WEBP are encoded once more, over hard edges; the seam of a finished image lies inside.
    return max(difference) <= (0.0 if drop.kind == "png" and source.width < 4096 else 12.0)


def _sides(folder: str, width: int) -> tuple[int, int, int, int]:
    """What FOLDERS says, in pixels: left, top, right, bottom. A quarter is rounded half up."""
    return ((width + 2) // 4, 10, 0, 0) if folder == "flat" else (0, 0, 12, 8)


def _processes_with(mark: str) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
