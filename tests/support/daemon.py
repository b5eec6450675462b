"""Runs the real program as a process: a configuration, hot folders, and its log as events to wait for."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tests.support.forked import PYTHON, begun, completed

PARTS = ("inbox", "outbox", "done", "error")
PATIENCE = 60.0
Line = dict[str, Any]


def simulator_login() -> dict[str, str]:
    return {"PIKTID_EMAIL": "simulator@example.com", "PIKTID_PASSWORD": "simulator"}


@dataclass(frozen=True, slots=True)
class House:
    """A state directory, hot folders and the configuration that names them, all below `root`."""

    root: Path
    api_url: str
    environ: Mapping[str, str] = field(default_factory=simulator_login)

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    def folder(self, name: str = "hot") -> Path:
        return self.root / name

    def build(
        self, *, top: str = "", api: str = "", defaults: str = "", folders: Mapping[str, str] | None = None
    ) -> None:
        """Make the folders and write the configuration; the texts are YAML, a flow mapping's inside each."""
        chosen = folders or {"hot": "offsets: {top: 10, left: 25%}"}
        for name in chosen:
            for part in PARTS:
                (self.root / name / part).mkdir(parents=True, exist_ok=True)
        listed = "\n".join(f"  - {{root: {self.root}/{name}, {keys}}}" for name, keys in chosen.items())
        defaults = defaults or "settle: 100ms, settle_max: 1s"
        self.config.write_text(
            f"state_dir: {self.state_dir}\n{top}\n"
            f'api: {{base_url: "{self.api_url}", poll_interval: 100ms, timeout: 5s{", " + api if api else ""}}}\n'
            f"defaults: {{{defaults}}}\nfolders:\n{listed}\n",
            encoding="utf-8",
        )

    def call(
        self, *arguments: str, seconds: float = 60.0, answer: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end. `answer` is what a person types."""
        words = 2 if arguments[0] == "cluster" else 1
        line = [*command(), *arguments[:words], "--config", str(self.config), *arguments[words:]]
        return completed(line, self._environ(), answer, seconds)

    @contextmanager
    def running(self, program: Sequence[str] = ()) -> Iterator[Daemon]:
        """`expandd run`, or a program in its place, once it works; killed at the end if it still lives."""
        with self.starting(program) as daemon:
            daemon.wait_for("expandd.started")
            yield daemon

    @contextmanager
    def starting(self, program: Sequence[str] = ()) -> Iterator[Daemon]:
        """The same, from its first instant on."""
        line = [*(program or [*command(), "run", "--verbose", "--config", str(self.config)])]
        daemon = Daemon(begun(line, self._environ()))
        try:
            yield daemon
        finally:
            daemon.end()

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIKTID_", "CREDENTIALS_"))}
        return {**kept, **self.environ}


class Lines(Protocol):
    """What a process says, line by line."""

    def __iter__(self) -> Iterator[str]: ...

    def close(self) -> object: ...


class Process(Protocol):
    """What subprocess.Popen says of a process, as far as tests ask."""

    @property
    def pid(self) -> int: ...

    @property
    def stderr(self) -> Lines | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...


class Daemon:
    """A running process; its log lines can be waited for."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[Line] = []
        self._new: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(
        self,
        event: str | tuple[str, ...],
        matching: Callable[[Line], bool] = lambda _: True,
        times: int = 1,
        *,
        patience: float = PATIENCE,
    ) -> Line:
        """The line that is the `times`-th of the events to match, old ones counted; AssertionError if none comes."""
        events = (event,) if isinstance(event, str) else event
        deadline = time.monotonic() + patience
        while True:
            found = [line for line in self.lines if line.get("event") in events and matching(line)]
            if len(found) >= times:
                return found[times - 1]
            try:
                line = self._new.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                tail = "\n".join(json.dumps(line) for line in self.lines[-15:])
                raise AssertionError(f"no {event} (seen {len(found)} of {times}); the log ends with:\n{tail}")
            self.lines.append(line)

    def finished(self, times: int = 1) -> Line:
        return self.wait_for("job.finished", times=times)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=PATIENCE)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)

    def end(self) -> None:
        """Have it ended, and all of its lines read."""
        if self.process.poll() is None:
            self.kill()
        self._reader.join(timeout=PATIENCE)
        while not self._new.empty():
            if line := self._new.get():
                self.lines.append(line)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            try:
                self._new.put(json.loads(text))
            except json.JSONDecodeError:
                self._new.put({"event": "not.json", "text": text})
        self._new.put(None)


def command() -> list[str]:
    """What runs the program; House forks it, anything else starts it."""
    return [*PYTHON, "expandd"]


def started(house: House) -> House:
    """The same, its processes started and not forked: what is asked of the kernel about decoders is theirs."""
    return replace(house, environ={**house.environ, "PYTHONHASHSEED": "0"})


def installed(house: House) -> list[str]:
    """`run` as people start it, for what is to be true of a start: its imports, its memory."""
    return [str(Path(sys.executable).with_name("expandd")), "run", "--verbose", "--config", str(house.config)]


def names(directory: Path) -> list[str]:
    """What lies in a directory, hidden names too, work folder and sidecars left out."""
    return sorted(name for name in os.listdir(directory) if name != ".expandd" and not name.endswith(".error.json"))
