"""The ground a contender works on: its folders, its files in and out, and the processes that work there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.meter import family

PARTS = ("inbox", "outbox", "done", "error", "staging")


class Yard:
    """A directory of its own with an inbox, an outbox and what else a contender keeps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"
        for part in PARTS:
            (root / part).mkdir(parents=True, exist_ok=True)

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    def drop(self, paths: Sequence[Path]) -> None:
        """Move files into the inbox, each in one instant, as fast as that goes."""
        for path in paths:
            path.rename(self.inbox / path.name)

    def results(self) -> set[str]:
        """The stems of what lies in the outbox, unfinished copies left out."""
        names = (entry.name for entry in os.scandir(self.outbox) if not entry.name.startswith("."))
        return {name.partition(".")[0] for name in names if not name.endswith(".part")}

    def wait_for(self, number: int, seconds: float) -> bool:
        """Whether so many results came within so many seconds."""
        return until(lambda: len(self.results()) >= number, seconds)

    def quiet(self, seconds: float, longest: float) -> None:
        """Until the outbox has not changed for a while."""
        deadline, since, before = time.monotonic() + longest, time.monotonic(), self.results()
        while time.monotonic() < min(deadline, since + seconds):
            time.sleep(0.1)
            now = self.results()
            if now != before:
                since, before = time.monotonic(), now


@contextmanager
def yard(where: Path | None = None) -> Iterator[Yard]:
    root = Path(tempfile.mkdtemp(prefix="expandd-bench-", dir=where))
    try:
        yield Yard(root)
    finally:
        shutil.rmtree(root)


class Crew:
    """The processes of one contender, ended together."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._all: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._all)

    def start(self, command: Sequence[str], environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        with self._log.open("ab") as log:
            self._all.append(
                subprocess.Popen(
                    list(command),
                    env={**os.environ, **(environ or {})},
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def said(self, text: str, seconds: float = 60.0) -> None:
        """Wait until `text` stands in the log. Raises RuntimeError when it never comes."""
        if not until(lambda: text.encode() in self._log.read_bytes(), seconds):
            raise RuntimeError(f"{text!r} never came; the log ends with: {self._log.read_bytes()[-2000:]!r}")

    def kill(self) -> None:
        """SIGKILL to all of them and their descendants at once."""
        for process in self._all:
            for pid in family(process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        for process in self._all:
            process.wait()
        self._all.clear()


def until(condition: Callable[[], bool], seconds: float, nap: float = 0.02) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(nap)
    return True
