"""A daemon whose disk, folders, watcher and clock fail as they are told to: the real program, at its own seams.

Run as a program: `failing.py CONFIG RULE…` is `expandd run` under these rules:

- `OPERATION:ERRNO:NTH[:TIMES][@PART]`: the calls NTH to NTH+TIMES-1 of this operation of Disk fail, of those alone
  that have to do with a path of which PART is one part; TIMES is 1, or `always`. `folders.METHOD` fails a method of
  the Folders port in the same way.
- `queue:N`: the kernel keeps only N events for this process.
- `raise:N`: the first N hints of a file whose name has `raise` in it do so, in the watcher's own thread.
- `clock:N`: the daemon's clock runs N times as fast.
- `cap:N`: a download is cut at N bytes.
- `bomb:N`: the first N results are images of a few bytes that claim to be gigantic.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from expandd.adapters.api.magic_expand import MagicExpand
from expandd.adapters.clock import SystemClock
from expandd.adapters.config.load import load
from expandd.adapters.files.durable_io import Content, Disk, Original
from expandd.adapters.files.folder_errors import folder_away
from expandd.domain.api_types import Fetched
from expandd.domain.job import Job
from expandd.domain.settings import Settings
from expandd.domain.spending import Today
from expandd.engine.ports import Ports, Watcher
from expandd.service.observability.logs import EventLog, set_up
from expandd.service.runtime.app import EventBus, built, run_until
from expandd.service.runtime.daemon import stopped_by_signals
from tests.support.forked import PYTHON
from tests.support.images import png_claiming

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@dataclass(slots=True)
class Rule:
    """Which calls of one operation fail, and how."""

    operation: str
    number: int
    first: int
    times: float
    part: str
    called: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, paths: Iterable[str]) -> bool:
        if self.part and not any(self.part in Path(path).parts for path in paths):
            return False
        with self.lock:
            self.called += 1
            return self.first <= self.called < self.first + self.times


def read_rule(text: str) -> Rule:
    words, _, part = text.partition("@")
    operation, name, first, *times = words.split(":")
    count = float("inf") if times == ["always"] else float(times[0]) if times else 1.0
    return Rule(operation, getattr(errno, name), int(first), count, part)


class Rules:
    """All rules; asked before each operation."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._rules = [read_rule(text) for text in texts]

    def about(self, operation: str) -> bool:
        return any(rule.operation == operation for rule in self._rules)

    def ask(self, operation: str, *paths: object) -> None:
        """Raise the OSError that a rule has for this call."""
        for rule in self._rules:
            if rule.operation == operation and rule.strikes([str(path) for path in paths]):
                raise OSError(rule.number, os.strerror(rule.number), str(paths[0]))


class FailingDisk(Disk):
    """The real disk; each operation asks the rules first."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._ask = rules.ask

    def sync_directory(self, directory: Path) -> None:
        self._ask("sync_directory", directory)
        super().sync_directory(directory)

    def make_directories(self, root: Path, relative: Path) -> Path:
        self._ask("make_directories", root)
        return super().make_directories(root, relative)

    def create(self, target: Path, content: Content, spare: str) -> None:
        self._ask("create", target)
        super().create(target, content, spare)

    def move(self, source: Path, target: Path, spare: str) -> None:
        self._ask("move", target)
        super().move(source, target, spare)

    def link(self, source: Path, target: Path) -> None:
        self._ask("link", target)
        super().link(source, target)

    def replace(self, target: Path, content: bytes, spare: str, mode: int = 0o666) -> None:
        self._ask("replace", target)
        super().replace(target, content, spare, mode)

    def rename(self, source: Path, target: Path) -> None:
        self._ask("rename", target)
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._ask("remove", path)
        super().remove(path)

    def digest(self, path: Path) -> str:
        self._ask("digest", path)
        return super().digest(path)

    def _fill(self, file: IO[bytes], content: Content) -> None:
        path = Path(f"/proc/self/fd/{file.fileno()}").readlink()

        def torn() -> Iterable[bytes]:
            # In the middle: some bytes are written, and the rest is not.
            for chunk in [content.file.read()] if isinstance(content, Original) else content:
                yield chunk[: len(chunk) // 2]
                self._ask("fill", path)
                yield chunk[len(chunk) // 2 :]

        super()._fill(file, torn())

    def _give_name(self, descriptor: int, target: Path) -> None:
        self._ask("give_name", target)
        super()._give_name(descriptor, target)


class FailingFolders:
    """The real folders; a method that a rule names fails as if the file system had."""

    def __init__(self, real: Any, rules: Rules) -> None:
        self._real = real
        self._rules = rules

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._real, method)
        if not self._rules.about(f"folders.{method}"):
            return call

        def ask(arguments: tuple[Any, ...]) -> None:
            try:
                self._rules.ask(f"folders.{method}", *map(_path_of, arguments))
            except OSError as error:
                raise folder_away(_path_of(arguments[0]), error) from error

        async def checked(*arguments: Any, **options: Any) -> Any:
            ask(arguments)
            return await call(*arguments, **options)

        async def scanned(*arguments: Any, **options: Any) -> Any:
            ask(arguments)
            async for batch in call(*arguments, **options):
                yield batch

        return scanned if method == "scan" else checked


def _path_of(argument: object) -> Path:
    return argument.folder.inbox if isinstance(argument, Job) else Path(str(argument))


class TroubledWatcher:
    """The real watcher, on a short queue of the kernel's, or with a hint that raises."""

    def __init__(self, real: Watcher, *, queue: int = 0, raises: int = 0) -> None:
        self._real = real
        self._queue = queue
        self._raises = raises

    async def watch(self, inbox: Path, *, recursive: bool, hint: Callable[[Path], None]) -> None:
        def troubled(path: Path) -> None:
            hint(path)
            if self._raises and "raise" in path.name:
                self._raises -= 1
                raise RuntimeError("a hint that raises")

        usual = QUEUE.read_text()
        if self._queue:
            # For an instant: the kernel notes the length when it makes the queue.
            QUEUE.write_text(str(self._queue))
        try:
            await self._real.watch(inbox, recursive=recursive, hint=troubled)
        finally:
            if self._queue:
                QUEUE.write_text(usual)
                self._queue = 0

    async def unwatch(self, inbox: Path) -> None:
        await self._real.unwatch(inbox)

    async def alive(self, inbox: Path) -> bool:
        return await self._real.alive(inbox)


class Bombed:
    """The real API, but that some results are bombs."""

    def __init__(self, real: Any, bombs: int) -> None:
        self._real = real
        self._bombs = bombs

    def __getattr__(self, method: str) -> Any:
        return getattr(self._real, method)

    async def download(self, link: str, target: Path) -> Fetched:
        if not self._bombs:
            fetched: Fetched = await self._real.download(link, target)
            return fetched
        self._bombs -= 1
        bomb = png_claiming(60_000, 60_000)
        target.write_bytes(bomb)
        return Fetched(bytes=len(bomb), sha256=hashlib.sha256(bomb).hexdigest())


class FastClock:
    """A clock that runs `times` as fast as the machine's; the wall clock is the machine's."""

    def __init__(self, times: float) -> None:
        self._real = SystemClock()
        self._times = times

    def wall(self) -> float:
        return self._real.wall()

    def monotonic(self) -> float:
        return self._real.monotonic() * self._times

    def today(self) -> Today:
        return self._real.today()

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds / self._times)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        await self._real.wait(event, None if seconds is None else seconds / self._times)


def around(ports: Ports, rules: Rules, numbers: dict[str, int]) -> Ports:
    """`outside` with these troubles."""
    if "cap" in numbers:
        assert isinstance(ports.api, MagicExpand)
        ports.api.most_bytes = numbers["cap"]
    return replace(
        ports,
        api=Bombed(ports.api, numbers.get("bomb", 0)),
        clock=FastClock(numbers.get("clock", 1)),
        folders=FailingFolders(ports.folders, rules),
        watcher=TroubledWatcher(ports.watcher, queue=numbers.get("queue", 0), raises=numbers.get("raise", 0)),
    )


async def serve(settings: Settings, rules: Rules, numbers: dict[str, int]) -> None:
    """What `expandd run` does, with the seams in use."""
    log = set_up(sys.stderr, pretty=False, level=logging.DEBUG)
    stop = stopped_by_signals()
    troubles = partial(around, rules=rules, numbers=numbers)
    async with built(settings, os.environ, EventBus(EventLog(log)), disk=FailingDisk(rules), around=troubles) as engine:
        log.info("expandd.started")
        await run_until(engine, stop)
        log.info("expandd.stopped", left_for_next_time=len(engine.jobs))


def program(config: Path, *rules: str) -> list[str]:
    """The command line that runs this with `rules`."""
    return [*PYTHON, "tests.support.failing", str(config), *rules]


def main(config: str, *texts: str) -> int:
    plain = [text.split(":") for text in texts if text.count(":") == 1]
    rules = Rules([text for text in texts if text.count(":") > 1])
    asyncio.run(serve(load(Path(config)), rules, {name: int(number) for name, number in plain}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
