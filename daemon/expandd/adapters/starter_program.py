"""The process that starts others. It is started before any file of a share is open, and opens none.

A message asks, one JSON object with the descriptors of the new process beside it; one answers, and one tells of each
end. The end of its input ends it.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import struct
from dataclasses import dataclass
from typing import NoReturn, TypedDict

PROGRAM = ("-m", "expandd.adapters.starter_program")
MOST_MESSAGE = 1 << 17
"""Bytes of one message; the longest has the environment of a hook."""

FILES = 3
"""What a new process reads, what it writes, and where its errors go."""


class Asked(TypedDict):
    """A program to start: `number` is what the answer says again."""

    number: int
    argv: list[str]
    env: dict[str, str]
    cwd: str


@dataclass(slots=True)
class _New:
    """A process that has not begun its program yet; `failing` tells why it could not, or ends."""

    number: int
    pid: int
    failing: int


class Starter:
    """Starts what it is asked to, also while a program that is on a hanging disk does not begin."""

    def __init__(self, requests: socket.socket, woken: int) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._selector.register(woken, selectors.EVENT_READ)
        self._woken = woken
        self._running: set[int] = set()

    def serve(self) -> None:
        """Until the input ends."""
        while True:
            for key, _ in self._selector.select():
                if isinstance(key.data, _New):
                    self._answer(key.data)
                elif key.fileobj is self._woken:
                    os.read(self._woken, MOST_MESSAGE)
                elif not self._start():
                    return
            self._tell_ends()

    def _start(self) -> bool:
        """Begin what is asked for; whether anything was."""
        message, ancillary, _, _ = self._requests.recvmsg(
            MOST_MESSAGE, socket.CMSG_LEN(FILES * struct.calcsize("i")), socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return False
        files = array.array("i", b"".join(data for _, _, data in ancillary))
        asked: Asked = json.loads(message)
        try:
            new = self._forked(asked, files)
        except OSError as error:
            self._tell({"number": asked["number"], "errno": error.errno})
        else:
            self._selector.register(new.failing, selectors.EVENT_READ, new)
        finally:
            for file in files:
                os.close(file)
        return True

    def _forked(self, asked: Asked, files: array.array[int]) -> _New:
        if len(files) < FILES:
            raise OSError(errno.EMFILE, "no descriptor is left for its files")
        failing, fail = os.pipe2(os.O_CLOEXEC)
        try:
            # A plain fork: it does not wait for the program to begin, which one on a hanging disk does not do.
            pid = os.fork()
            if not pid:
                _become(asked, files, fail)
        except OSError:
            os.close(failing)
            raise
        finally:
            os.close(fail)
        return _New(asked["number"], pid, failing)

    def _answer(self, new: _New) -> None:
        why = os.read(new.failing, MOST_MESSAGE)
        self._selector.unregister(new.failing)
        os.close(new.failing)
        if why:
            os.waitpid(new.pid, 0)
            self._tell({"number": new.number, "errno": int(why)})
        else:
            self._running.add(new.pid)
            self._tell({"number": new.number, "pid": new.pid})

    def _tell_ends(self) -> None:
        for pid in tuple(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._running.remove(pid)
                self._tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, told: dict[str, int | None]) -> None:
        self._requests.send(json.dumps(told).encode("ascii"))


def _become(asked: Asked, files: array.array[int], fail: int) -> NoReturn:
    """Be the program that is asked for. Never returns: what it cannot be is written to `fail`."""
    try:
        # Its own group: it is killed with all that it started, and Ctrl-C on a terminal goes to the daemon alone.
        os.setpgid(0, 0)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(asked["cwd"])
        os.execvpe(asked["argv"][0], asked["argv"], asked["env"])  # noqa: S606 - as the daemon asks
    except OSError as error:
        os.write(fail, str(error.errno).encode("ascii"))
    except ValueError:
        os.write(fail, str(errno.EINVAL).encode("ascii"))
    finally:
        os._exit(255)


def main() -> None:
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    # Handled, not ignored: what is ignored here would be ignored by each new process. A stop is the daemon's to tell.
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # Python ignores this one, and a new process must not.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    with contextlib.suppress(ConnectionResetError), socket.socket(fileno=0) as requests:
        Starter(requests, woken).serve()


if __name__ == "__main__":
    main()
