"""A real Postgres for tests: one server for each process that asks, one database for each test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from expandd.adapters.store.postgres.connection import PostgresConnection
from expandd.adapters.store.postgres.schema import migrate
from expandd.adapters.store.postgres.tasks import make_tables
from tests.support.mounting import mounted

USER = "postgres"
TEMPLATE = "expandd_template"


def programs() -> Path | None:
    """Where Postgres is installed; None where it is not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).resolve().parent if named else None


@dataclass(slots=True)
class Server:
    """A running Postgres, reached by a socket in its directory. Nothing it writes is synced."""

    directory: Path
    process: subprocess.Popen[bytes]
    numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@/{database}?host={self.directory}"

    @property
    def socket(self) -> Path:
        return self.directory / ".s.PGSQL.5432"

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def asked(self, database: str, question: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return connection.execute(question.encode()).fetchall()

    def reached(self, url: str, first: Server) -> str:
        """The address of a database for whom it may be on this server, or on another that is tried `first`."""
        return url.replace(f"host={self.directory}", f"host={first.directory},{self.directory}")

    def _until(self, question: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            while connection.execute(question.encode()).fetchone() is None:
                time.sleep(0.05)

    def database(self, template: str = TEMPLATE) -> str:
        """The address of a new database that has all tables."""
        name = f"test_{next(self.numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def follow_synchronously(self) -> None:
        """Commit nothing from now on that its standby does not have."""
        self.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.run("SELECT pg_reload_conf()")
        self._until("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")

    def follow_no_more(self) -> None:
        """Lack, as a standby that lags behind, what its primary commits from now on."""
        self.run("ALTER SYSTEM SET primary_conninfo = ''")
        self.run("SELECT pg_reload_conf()")
        self._until("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver)")

    def exhaust(self) -> None:
        """Write for as long as there is room. Raises psycopg.Error."""
        while True:
            self.run("SELECT pg_logical_emit_message(false, '', repeat('x', 1000000))")

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("SELECT pg_promote()")

    def stop(self) -> None:
        """At once, as a machine does that loses its power."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20.0)

    def start(self) -> None:
        self.process = _started(self.directory)
        _wait(self.url(), self.process)


@contextmanager
def running(size: str = "") -> Iterator[Server]:
    """A server of its own, on a disk of that size where one is given. Skips the test where there can be none."""
    if programs() is None and "EXPANDD_CI" not in os.environ:
        pytest.skip("Postgres is not installed: apt-get install postgresql")
    with _directory_of_its_own() as directory, mounted(directory, size=size) if size else nullcontext():
        subprocess.run([*_user(), *_initdb(directory / "data")], check=True, stdout=subprocess.DEVNULL, timeout=60.0)
        server = Server(directory, _started(directory))
        try:
            _wait(server.url(), server.process)
            server.run(f"CREATE DATABASE {TEMPLATE}")
            with closing(PostgresConnection(server.url(TEMPLATE))) as connection:
                migrate(connection)
            make_tables(server.url(TEMPLATE))
            yield server
        finally:
            server.stop()


@contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """A server that follows another, and can be promoted."""
    with _directory_of_its_own() as directory:
        copying = [str(_directory() / "pg_basebackup"), f"--dbname={primary.url()}", f"--pgdata={directory / 'data'}"]
        choices = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        subprocess.run([*_user(), *copying, *choices], check=True, timeout=60.0)
        server = Server(directory, _started(directory))
        try:
            _wait(server.url(), server.process)
            yield server
        finally:
            server.stop()


@contextmanager
def _directory_of_its_own() -> Iterator[Path]:
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="pg-", dir=shared_memory if shared_memory.is_dir() else None) as name:
        directory = Path(name)
        if os.geteuid() == 0:
            # Postgres does not run as root, nor on what is root's.
            shutil.chown(directory, USER, USER)
        yield directory


def _user() -> list[str]:
    return [] if os.geteuid() else ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def _initdb(data: Path) -> list[str]:
    choices = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    return [str(_directory() / "initdb"), f"--pgdata={data}", f"--username={USER}", *choices]


def _started(directory: Path) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": directory,
        "fsync": "off",
        "shared_buffers": "16MB",
        "max_connections": "50",
        "autovacuum": "off",
        "log_min_messages": "fatal",
    }
    chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # It ends with the test process, however that ends.
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig=QUIT",
                *_user()[1:],
                str(_directory() / "postgres"),
                "-D",
                str(directory / "data"),
                *chosen,
            ],
            stdout=log,
            stderr=log,
        )


def _directory() -> Path:
    found = programs()
    assert found is not None
    return found


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "Postgres has ended"
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("Postgres does not start")


@dataclass(slots=True)
class Wire:
    """What lies between a program and a Postgres. Once it is `cut` nothing comes through, and nobody is told."""

    url: str
    cut: threading.Event = field(default_factory=threading.Event)


@contextmanager
def wire(server: Server, url: str, address: str = "127.0.0.1") -> Iterator[Wire]:
    """A way to the server by TCP that can be cut."""
    with socket.create_server((address, 0)) as listening:
        name = urlsplit(url).path.removeprefix("/")
        found = Wire(f"postgresql://{USER}@{address}:{listening.getsockname()[1]}/{name}")
        threading.Thread(target=_accept, args=(listening, server, found.cut), daemon=True).start()
        yield found


@contextmanager
def door(server: Server, directory: Path) -> Iterator[str]:
    """A socket in `directory` that leads to the server, for those who do not see its own; where it is, for a URL."""
    directory.mkdir()
    path = directory / server.socket.name
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o777)
        listening.listen()
        threading.Thread(target=_accept, args=(listening, server, threading.Event()), daemon=True).start()
        yield f"host={directory}"


def _accept(listening: socket.socket, server: Server, cut: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, far = listening.accept()[0], socket.socket(socket.AF_UNIX)
            try:
                far.connect(str(server.socket))
            except OSError:
                # The server is down: who asks is told so.
                near.close()
                far.close()
                continue
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_forward, args=(*ends, cut), daemon=True).start()


def _forward(begins: socket.socket, ends: socket.socket, cut: threading.Event) -> None:
    with begins, contextlib.suppress(OSError):
        while piece := begins.recv(65536):
            # It is swallowed, and neither side hears of it.
            if not cut.is_set():
                ends.sendall(piece)
        ends.shutdown(socket.SHUT_WR)
