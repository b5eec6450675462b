"""Runs blocking calls in threads of their own for each mount, so that a disk that hangs holds up no other.

A mount is found by name in the kernel's table, without touching the file system. A call that gets nowhere for a while
is abandoned: its thread counts as stuck until it comes back, and nothing else is begun meanwhile on the paths that it
is about, so that no step of a job is ever done twice at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from expandd.adapters.files.mount_guard import mount_points
from expandd.domain.job import Job

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

    Where the system has no thread left the rest is not made: the caller takes it for calls that do not return.
    """
    deadline, threads = time.monotonic() + seconds, []
    for call in calls:
        try:
            threads.append(begun(call))
        except OSError:
            break
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def shared_threads() -> ThreadPoolExecutor:
    """So many threads, all started at once: later none can be missing. Raises OSError."""
    executor, all_there = ThreadPoolExecutor(SHARED, thread_name_prefix="shared"), threading.Event()
    try:
        with starting_threads():
            for _ in range(SHARED):
                executor.submit(all_there.wait)
    except OSError:
        executor.shutdown(wait=False)
        raise
    finally:
        all_there.set()
    return executor


T = TypeVar("T")
Key = frozenset[str]

THREADS = 4
"""Threads for each mount, and for each pair of mounts between which something is moved."""

PATIENCE = 5.0
"""Seconds without any progress after which a call is abandoned."""

LONGEST = 900.0
"""Seconds after which a call is abandoned though it gets on: it copies something huge, or goes round in circles."""

IDLE = 10.0
"""Seconds after which a thread without work ends."""

FRESH = 2.0
"""Seconds for which the table of mounts is believed."""

GATHER = 0.02
"""Seconds for which calls that may be made together are gathered."""

STATE = "state_dir"
"""The name under which the state directory has threads of its own."""


class Run(Protocol):
    """Runs a blocking call in a thread for the disk that the path is on."""

    def __call__(self, path: Path, call: Callable[..., T], *arguments: object) -> Awaitable[T]: ...


class _Call:
    """One call: where it runs, and what it is about."""

    def __init__(self, work: Callable[[], Any], subjects: frozenset[Path]) -> None:
        self.work = work
        self.subjects = subjects
        self.thread: int | None = None
        self.stuck = False
        self.came_back = False
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = self._loop.create_future()

    def run(self) -> None:
        result, failure = None, None
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 - it is the asker's; the thread has others to serve
            failure = error
        try:
            self._loop.call_soon_threadsafe(self._tell, result, failure)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _tell(self, result: object, failure: BaseException | None) -> None:
        self.came_back = True
        if self.outcome.done():
            return
        if failure is None:
            self.outcome.set_result(result)
        else:
            self.outcome.set_exception(failure)
            self.outcome.exception()  # where it was abandoned nobody asks for it

    def progress(self) -> str:
        """How often the kernel has switched to the call's thread: it changes while the thread makes progress."""
        try:
            status = Path(f"/proc/self/task/{self.thread}/status").read_text(encoding="ascii")
        except OSError:
            return ""
        return status[status.find("voluntary_ctxt_switches") :]


class _Compartment:
    """The threads of one mount. They are daemons: one that the kernel holds does not hold up the end of the process."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._most = threads
        self._waiting: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self.stuck = 0
        """Threads whose call has not returned."""
        self._about: Counter[Path] = Counter()

    @property
    def is_stuck(self) -> bool:
        """Whether each of its threads is stuck."""
        return self.stuck >= self._most

    def is_stuck_on(self, subjects: Iterable[Path]) -> bool:
        return any(self._about[subject] for subject in subjects)

    def begin(self, call: _Call) -> None:
        """Raises OSError when no thread can be started."""
        with self._changed:
            self._waiting.append(call)
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads < self._most:
                self._start(call)

    def _start(self, call: _Call) -> None:
        try:
            begun(self._serve, name=f"disk {self._name}")
        except OSError:
            if self._threads > self.stuck:
                return  # others of them will come to it
            self._waiting.remove(call)
            raise
        self._threads += 1

    def abandon(self, call: _Call) -> None:
        """Stop waiting for a call. One that has not begun never will."""
        with self._changed:
            if call in self._waiting:
                self._waiting.remove(call)
            elif call.thread is not None and not call.stuck:
                call.stuck = True
                self.stuck += 1
                self._about.update(call.subjects)

    def _serve(self) -> None:
        while (call := self._next()) is not None:
            call.run()
            with self._changed:
                call.thread = None
                if call.stuck:
                    self.stuck -= 1
                    self._about -= Counter(call.subjects)

    def _next(self) -> _Call | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting, IDLE)
            self._idle -= 1
            if not self._waiting:
                self._threads -= 1
                return None
            call = self._waiting.popleft()
            call.thread = threading.get_native_id()
            return call


class _Watch:
    """Abandons a call without progress. It uses a timer, not a task, as most calls are over at once."""

    def __init__(self, path: Path, call: _Call, compartment: _Compartment, seconds: float) -> None:
        self._path = path
        self._call = call
        self._compartment = compartment
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._before, self._deadline = "", time.monotonic() + LONGEST
        self._timer = self._loop.call_later(seconds, self._look)

    def end(self) -> None:
        """End the timer: the call is over or abandoned."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._gets_on():
            self._timer = self._loop.call_later(self._seconds, self._look)
        elif not self._call.outcome.done():
            self._call.outcome.set_exception(_silent(self._path))

    def _gets_on(self) -> bool:
        if self._call.thread is None:
            return not self._compartment.is_stuck and time.monotonic() < self._deadline
        before, self._before = self._before, self._call.progress()
        return self._before != before and time.monotonic() < self._deadline


class Bulkheads:
    """All compartments; each is made when it is needed."""

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        threads: int = THREADS,
        patience: float = PATIENCE,
        points: Callable[[], Sequence[str]] = mount_points,
        fresh: float = FRESH,
    ) -> None:
        self._state_dir = None if state_dir is None else os.fspath(state_dir)
        self._threads = threads
        self._patience = patience
        self._read_points = points
        self._fresh = fresh
        self._points: frozenset[str] = frozenset()
        self._read_at = float("-inf")
        self._real: dict[str, str] = {}
        self._found: dict[str, str] = {}
        """The mounts of the paths that were asked for lately."""
        self._compartments: dict[Key, _Compartment] = {}

    def know(self, roots: Iterable[Path]) -> None:
        """Find out where these directories lie if they are links, or below some; those that give no answer are named.

        Blocks for a moment at most.
        """
        found: dict[str, str] = {}

        def resolve(root: Path) -> None:
            found[os.fspath(root)] = os.path.realpath(root)

        ask_each((partial(resolve, root) for root in set(roots)), self._patience / 2)
        self._real = {**self._real, **found}
        self._found.clear()

    def mount_of(self, path: Path) -> str:
        """The mount that a path is on, by name alone, and by text alone: each call into a thread asks for it."""
        text = os.fspath(path)
        if self._state_dir is not None and (text == self._state_dir or text.startswith(f"{self._state_dir}/")):
            return STATE
        if time.monotonic() > self._read_at + self._fresh:
            # Where no descriptor is left to read the table with, the mounts are those they were.
            with contextlib.suppress(OSError):
                self._points, self._read_at = frozenset(self._read_points()), time.monotonic()
            self._found.clear()
        found = self._found.get(text)
        if found is None:
            found = self._found[text] = self._mount_of(text)
        return found

    def _mount_of(self, text: str) -> str:
        root = next((one for one in _upwards(text) if one in self._real), None)
        real = text if root is None else self._real[root] + text[len(root) :]
        return next((one for one in _upwards(real) if one in self._points), "/")

    async def run(self, path: Path, call: Callable[..., T], *arguments: object) -> T:
        """The outcome of a blocking call about `path`, and about what is named in its arguments.

        Raises OSError (ETIMEDOUT) when its disk does not answer, or did not answer an earlier call about the same.
        """
        subjects = frozenset(_subjects(arguments))
        key = frozenset(map(self.mount_of, (path, *subjects)))
        stuck = [(part, one) for part, one in self._compartments.items() if one.stuck]
        if any(one.is_stuck for part, one in stuck if part <= key):
            raise _silent(path)
        if any(one.is_stuck_on((path, *subjects)) for _, one in stuck):
            raise _silent(path)
        compartment = self._compartments.get(key)
        if compartment is None:
            compartment = self._compartments[key] = _Compartment("+".join(sorted(key)), self._threads)
        asked = _Call(lambda: call(*arguments), subjects)
        compartment.begin(asked)
        watch = _Watch(path, asked, compartment, self._patience / 2)
        try:
            outcome: T = await asked.outcome
        finally:
            watch.end()
            if not asked.came_back:
                compartment.abandon(asked)
        return outcome


class Together:
    """Makes calls about many paths that are asked for at about the same time in one thread for each mount.

    Where such a thread gets nowhere, the call that it hangs at gives no answer, and each other one is made by itself;
    so are those that failed then, until they succeed.
    """

    def __init__(self, run: Run, mount_of: Callable[[Path], str]) -> None:
        self._run = run
        self._mount_of = mount_of
        self._asked: dict[str, list[_Asked]] = {}
        self._apart: dict[Path, _Asked] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, path: Path, call: Callable[..., T], *arguments: object) -> T:
        """The outcome of the call. Raises OSError as Run does."""
        if path not in self._apart:
            asked = _Asked(path, partial(call, *arguments))
            self._ask(self._mount_of(path), asked)
            if await asked.is_answered:
                outcome: T = asked.answer()
                return outcome
            self._apart[path] = asked
        if self._apart[path].under_way:
            raise _silent(path)
        outcome = await self._run(path, call, *arguments)
        self._apart.pop(path, None)
        return outcome

    def _ask(self, mount: str, asked: _Asked) -> None:
        if mount in self._asked:
            self._asked[mount].append(asked)
            return
        self._asked[mount] = [asked]
        task = asyncio.get_running_loop().create_task(self._answer(mount))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, mount: str) -> None:
        await asyncio.sleep(GATHER)
        all_, answered = self._asked.pop(mount), False
        try:
            await self._run(all_[0].path, _make_all, all_)
            answered = True
        except OSError:
            pass  # each finds out by itself
        finally:
            for asked in all_:
                asked.is_over = True
                if not asked.is_answered.done():
                    asked.is_answered.set_result(answered)


class _Asked:
    """One call that is made together with others."""

    def __init__(self, path: Path, call: Callable[[], Any]) -> None:
        self.path = path
        self.is_answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.is_over = False
        """Whether nobody waits for it any more."""
        self.under_way = False
        self._call = call
        self._outcome: Any = None
        self._failure: Exception | None = None

    def make(self) -> None:
        self.under_way = True
        try:
            self._outcome = self._call()
        except Exception as error:  # noqa: BLE001 - it is the asker's; the others have answers of their own
            self._failure = error
        finally:
            self.under_way = False

    def answer(self) -> Any:
        if self._failure is not None:
            raise self._failure
        return self._outcome


def _make_all(all_: Iterable[_Asked]) -> None:
    for asked in all_:
        if not asked.is_over:
            asked.make()


def _upwards(path: str) -> Iterator[str]:
    """A path and all that it lies below, without the root."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def one_mount(path: Path) -> str:
    """The name of the only mount, for work on one disk alone."""
    del path
    return "/"


async def in_thread(path: Path, call: Callable[..., T], *arguments: object) -> T:
    """The same without bulkheads, for work on one disk alone."""
    del path
    return await asyncio.to_thread(call, *arguments)


def _subjects(arguments: Iterable[object]) -> Iterable[Path]:
    for argument in arguments:
        if isinstance(argument, Path) and argument.is_absolute():
            yield argument
        elif isinstance(argument, Job):
            yield argument.work_dir
            if argument.archived_to is not None:
                yield argument.archived_to


def _silent(path: Path) -> OSError:
    return OSError(errno.ETIMEDOUT, "its disk does not answer", os.fspath(path))
