"""Starts threads where the system may have none left: that is an OSError then, like any other want."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

SHARED = 6
"""Threads for small calls that are no disk's: the loop's own executor."""


@contextmanager
def starting_threads() -> Iterator[None]:
    """Turn what Python raises where the system has no thread left into an OSError (EAGAIN)."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise OSError(errno.EAGAIN, "the system lets expandd start no further thread") from error


def begun(call: Callable[..., object], *arguments: object, name: str | None = None) -> threading.Thread:
    """A thread that makes this call. Raises OSError.

    It is a daemon: one that the kernel holds does not hold up the end of the program.
    """
    thread = threading.Thread(target=call, args=arguments, name=name, daemon=True)
    with starting_threads():
        thread.start()
    return thread


def ask_each(calls: Iterable[Callable[[], object]], seconds: float) -> None:
    """Make each call in a thread of its own, and wait for all of them together for so long.

    Where the system has no thread left the rest is not made: whoever asks takes it for calls that do not return.
    """
    deadline, threads = time.monotonic() + seconds, []
    for call in calls:
        try:
            threads.append(begun(call))
        except OSError:
            break
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def shared_threads(number: int = SHARED) -> ThreadPoolExecutor:
    """So many threads, all started at once: later none can be missing. Raises OSError."""
    executor, all_there = ThreadPoolExecutor(number, thread_name_prefix="shared"), threading.Event()
    try:
        with starting_threads():
            for _ in range(number):
                executor.submit(all_there.wait)
    except OSError:
        executor.shutdown(wait=False)
        raise
    finally:
        all_there.set()
    return executor
