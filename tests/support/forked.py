"""Processes of the real program that cost their work and not a start: forked from one that has loaded all of it.

Each is a process of its own with its own arguments, environment, directory, standard streams, signals and end, as if
it had been started; only the interpreter and the modules are there already. Their decoders, and what starts these, are
forked too, from a process that has loaded what decodes: what the daemon starts is a script that stands for the other
process, ends as that ends, and has it killed when it is killed itself. Run as a program this is what they are forked
from.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PYTHON = (sys.executable, "-W", "error", "-m")
"""How a command begins that can be forked: a module and its arguments follow."""

MOST = 1 << 18
"""Bytes of one order or answer."""

READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC")
"""Beginnings of variables that an interpreter reads when it starts."""


STAND_IN = """#!{python} -IS
import _socket, posix, sys
stood_for = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
stood_for.connect({address!r})
streams = b"".join(number.to_bytes(4, {order!r}) for number in range(3))
stood_for.sendmsg([sys.argv[-1].encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
for number in range(3):
    posix.close(number)
code = int(stood_for.recv(16) or b"1")
if code < 0:
    posix.kill(posix.getpid(), -code)
posix._exit(code)
"""
"""What a forked daemon starts in place of Python: it hands over its module and its streams, and waits for the end."""

LOADED_LATER = ("httpcore", "anyio._backends._asyncio", "tests.support.images")
"""What the program, or a test in its place, loads while it works."""


class Forked:
    """A process, as subprocess.Popen shows one."""

    def __init__(self, source: Source, pid: int, stderr: IO[str] | None = None) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._source = source
        self._over = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("expandd", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._over, select.POLLIN)
            if ready.poll(None if seconds is None else seconds * 1000):
                self.returncode = self._source.code_of(self.pid)
                os.close(self._over)
        return self.returncode


class Source:
    """The process that has loaded the program, from which others are forked."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one_at_a_time = threading.Lock()
        self._numbers = itertools.count()
        self._heeded = _heeded(os.environ)
        self._directory = tempfile.TemporaryDirectory(prefix="decoders-")
        stand_in = Path(self._directory.name, "python")
        address = f"{self._directory.name}/asked"
        stand_in.write_text(STAND_IN.format(python=sys.executable, address=address, order=sys.byteorder))
        stand_in.chmod(0o700)
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
            asked.bind(address)
            asked.listen()
            self._decoders = subprocess.Popen(
                [*PYTHON, "tests.support.forked", "decoders", str(asked.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[asked.fileno()],
                start_new_session=True,
            )
            self._process = subprocess.Popen(
                [*PYTHON, "tests.support.forked", "programs", str(stand_in)],
                stdin=theirs.fileno(),
                start_new_session=True,
            )

    def fits(self, environ: Mapping[str, str]) -> bool:
        """Whether an interpreter would start in this environment as this one has."""
        return _heeded(environ) == self._heeded

    def fork(self, module: Sequence[str], environ: Mapping[str, str], streams: Sequence[int]) -> int:
        """Run a module with its arguments; `streams` are its standard input, output and error. Its process id."""
        umask = os.umask(0)
        os.umask(umask)
        order = {"module": [*module], "environ": dict(environ), "directory": str(Path.cwd()), "umask": umask}
        return self._ask(order, streams)

    def code_of(self, pid: int) -> int:
        """The exit code of a process that has ended, or minus the signal that ended it."""
        return self._ask({"ended": pid})

    def close(self) -> None:
        self._orders.close()
        self._process.wait()
        self._decoders.communicate()
        self._directory.cleanup()

    def _ask(self, order: Mapping[str, object], streams: Sequence[int] = ()) -> int:
        with self._one_at_a_time:
            number = next(self._numbers)
            socket.send_fds(self._orders, [json.dumps({**order, "number": number}).encode()], [*streams])
            while True:
                text = self._orders.recv(MOST)
                assert text, "the process that all are forked from has ended"
                about, answer = map(int, text.split())
                # A test that ran out of time may have asked and not waited.
                if about == number:
                    return answer


def _heeded(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(READ_AT_START)}


@functools.cache
def source() -> Source:
    """One for each process that runs tests, from its first use on."""
    started = Source()
    atexit.register(started.close)
    return started


def can_fork(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether a fork is the same as a start of this command. With EXPANDD_STORM=1 everything is started."""
    if tuple(command[: len(PYTHON)]) != PYTHON or os.environ.get("EXPANDD_STORM") == "1":
        return False
    return source().fits(environ)


def begun(command: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[str] | Forked:
    """A process whose standard error can be read."""
    if not can_fork(command, environ):
        return subprocess.Popen(command, env=dict(environ), stderr=subprocess.PIPE, text=True)
    readable, writable = os.pipe()
    try:
        pid = source().fork(command[len(PYTHON) :], environ, (0, 1, writable))
    finally:
        os.close(writable)
    return Forked(source(), pid, os.fdopen(readable, encoding="utf-8"))


def completed(
    command: Sequence[str], environ: Mapping[str, str], answer: str | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    """A process that has run to its end. `answer` is what a person types."""
    if not can_fork(command, environ):
        return subprocess.run(
            command, env=environ, input=answer, capture_output=True, text=True, timeout=seconds, check=False
        )
    return completed_fork(command, environ, answer, seconds)


def completed_fork(
    command: Sequence[str], environ: Mapping[str, str], answer: str | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    """The same, always forked."""
    with _text() as typed, _text() as out, _text() as err:
        typed.write(answer or "")
        typed.seek(0)
        streams = (0 if answer is None else typed.fileno(), out.fileno(), err.fileno())
        process = Forked(source(), source().fork(command[len(PYTHON) :], environ, streams))
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        for written in (out, err):
            written.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def _text() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8")


def programs(stand_in: str) -> None:
    code: list[int] = []
    # Registered before all others, it is called after them.
    atexit.register(_leave, code)
    # What the daemon starts its decoders with: read when its modules are loaded.
    sys.executable = stand_in
    import expandd  # noqa: PLC0415 - the process that runs tests need not load what it does not test

    for module in pkgutil.walk_packages(expandd.__path__, "expandd."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LOADED_LATER:
        importlib.import_module(name)
    importlib.import_module("expandd.adapters.config.model").schema()
    importlib.import_module("expandd.adapters.api.http").trusted()
    # What is there now is there for good: no child need look through it, and copy its pages for that.
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as orders:
        module_to_be = _forked(orders)
    if module_to_be:
        try:
            runpy.run_module(module_to_be, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code.append(end.code if isinstance(end.code, int) else int(end.code is not None))
            raise
        code.append(0)


def _leave(code: Sequence[int]) -> None:
    """End here where there is a code: to take all modules apart takes longer than most of these processes work."""
    if code:
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code[0])


def _forked(orders: socket.socket) -> str:
    """Carry out orders until there are no more of them; returns, in each child, the module that it is to run."""
    while True:
        text, streams, _, _ = socket.recv_fds(orders, MOST, 3)
        if not text:
            return ""
        order = json.loads(text)
        if pid := order.get("ended"):
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                return _become(order, streams)
            for descriptor in streams:
                os.close(descriptor)
        orders.send(f"{order['number']} {answer}".encode())


def _become(order: Mapping[str, Any], streams: Sequence[int]) -> str:
    _take(streams)
    os.environ.clear()
    os.environ.update(order["environ"])
    time.tzset()
    os.chdir(order["directory"])
    os.umask(order["umask"])
    sys.argv = [*order["module"]]
    return sys.argv[0]


def _take(streams: Sequence[int]) -> None:
    for standard, descriptor in enumerate(streams):
        os.dup2(descriptor, standard)
    for descriptor in streams:
        os.close(descriptor)


def decoders(asked: str) -> None:
    """Fork a decoder, or what starts decoders, for each connection, until standard input ends."""
    importlib.import_module("expandd.adapters.images.decoder_program").load()
    importlib.import_module("expandd.adapters.starter_program")
    gc.freeze()
    with socket.socket(fileno=int(asked)) as listener:
        while 0 not in select.select([0, listener.fileno()], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    _stood_for(connection)
                    os._exit(0)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _stood_for(connection: socket.socket) -> None:
    module, streams, _, _ = socket.recv_fds(connection, MOST, 3)
    process = os.fork()
    if process == 0:
        connection.close()
        _take(streams)
        os.setpgid(0, 0)
        sys.modules[module.decode()].main()
        return
    for descriptor in streams:
        os.close(descriptor)
    over = os.pidfd_open(process)
    if over not in select.select([connection.fileno(), over], [], [])[0]:
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(ConnectionError):
        connection.send(str(code).encode())


if __name__ == "__main__":
    {"programs": programs, "decoders": decoders}[sys.argv[1]](sys.argv[2])
