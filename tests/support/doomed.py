"""Processes that are killed at a named point: the real program, each of its effects announced before and after."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from expandd.adapters.config.load import load
from expandd.adapters.files.durable_io import Content, Disk
from expandd.domain.job import Job, JobState
from expandd.engine.ports import Ports
from expandd.service.observability.logs import to_stderr
from expandd.service.runtime.app import built
from expandd.service.runtime.entry import Build, batch
from tests.support.forked import PYTHON, completed_fork

Point = Callable[[str], None]

SECONDS = 60.0
"""Longer than any run takes."""


class Doom:
    """Counts the points as they are passed; a point is a name and which passing of it, as in `x:before#2`."""

    def __init__(self, *, kill_at: str = "", record: Path | None = None) -> None:
        self._kill_at = kill_at
        self._record = record
        self._passed: Counter[str] = Counter()

    def __call__(self, name: str) -> None:
        self._passed[name] += 1
        point = f"{name}#{self._passed[name]}"
        if self._record is not None:
            with self._record.open("a", encoding="utf-8") as file:
                file.write(point + "\n")
        if point == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedDisk(Disk):
    """The real disk, with a point before and after each of its effects."""

    def __init__(self, point: Point) -> None:
        super().__init__()
        self._point = point

    def sync_directory(self, directory: Path) -> None:
        self._around("disk.sync_directory", super().sync_directory, directory)

    def link(self, source: Path, target: Path) -> None:
        self._around("disk.link", super().link, source, target)

    def move(self, source: Path, target: Path, spare: str) -> None:
        self._around("disk.move", super().move, source, target, spare)

    def rename(self, source: Path, target: Path) -> None:
        self._around("disk.rename", super().rename, source, target)

    def replace(self, target: Path, content: bytes, spare: str, mode: int = 0o666) -> None:
        self._around("disk.replace", super().replace, target, content, spare, mode)

    def remove(self, path: Path) -> None:
        self._around("disk.remove", super().remove, path)

    def _fill(self, file: IO[bytes], content: Content) -> None:
        self._around("disk.fill", super()._fill, file, content)

    def _give_name(self, descriptor: int, target: Path) -> None:
        self._around("disk.give_name", super()._give_name, descriptor, target)

    def _around(self, name: str, effect: Callable[..., None], *arguments: Any) -> None:
        self._point(f"{name}:before")
        effect(*arguments)
        self._point(f"{name}:after")


class Doomed:
    """Any port, with a point before and after each call that `named` names."""

    def __init__(self, real: Any, named: Callable[[str, tuple[Any, ...]], str | None], point: Point) -> None:
        self._real = real
        self._named = named
        self._point = point

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._real, method)

        async def announced(*arguments: Any, **options: Any) -> Any:
            name = self._named(method, arguments)
            if name is None:
                return await call(*arguments, **options)
            self._point(f"{name}:before")
            outcome = await call(*arguments, **options)
            self._point(f"{name}:after")
            return outcome

        return call if method in {"scan", "incoming", "path", "finished", "warm_up"} else announced


def around(ports: Ports, point: Point) -> Ports:
    return replace(
        ports,
        api=Doomed(ports.api, lambda method, _: f"api.{method}", point),
        folders=Doomed(ports.folders, lambda method, _: f"folders.{method}" if method in _NEWER else None, point),
        store=Doomed(ports.store, _store_point, point),
        images=Doomed(ports.images, lambda method, _: f"images.{method}" if method in _WRITING else None, point),
        spool=Doomed(ports.spool, lambda method, _: f"spool.{method}", point),
    )


_WRITING = frozenset({"prepare", "finish"})
"""Calls that write an image."""

_NEWER = frozenset({"bring_back", "write_result_sidecar"})
"""Calls of the folders that are made of several effects of the disk."""


def _store_point(method: str, arguments: tuple[Any, ...]) -> str | None:
    if method in {"add", "set_hold", "lift_hold", "carried_out"}:
        return f"journal.{method}"
    if method != "save":
        return None
    job, expected = arguments
    assert isinstance(job, Job)
    assert isinstance(expected, JobState)
    kind = "close" if job.closed else "note" if job.state is expected else "move"
    return f"journal.{kind}.{expected.value}>{job.state.value}"


def run(config: Path, verb: str, what: str = "") -> subprocess.CompletedProcess[str]:
    """A run of `once` to its end.

    `record` writes the points it passes to the file `what`, one a line; `kill` sends SIGKILL to itself at the point
    `what`; `finish` lets nobody look on.
    """
    command = [*PYTHON, "tests.support.doomed", str(config), verb, what]
    return completed_fork(command, {**os.environ, "PIKTID_ACCESS_TOKEN": "simulator-access"}, None, SECONDS)


def main(config: str, verb: str, what: str) -> int:
    log = to_stderr(os.environ).lines
    return asyncio.run(batch(load(Path(config)), os.environ, log, 30.0, _build(verb, what)))


def _build(verb: str, what: str) -> Build:
    if verb == "finish":
        return built
    doom = Doom(kill_at=what) if verb == "kill" else Doom(record=Path(what))
    return partial(built, disk=DoomedDisk(doom), around=partial(around, point=doom))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
