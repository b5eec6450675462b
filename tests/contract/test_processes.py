"""How a program is started, directly or by a process that holds no file of a share: what it is given is the same."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from expandd.adapters.processes import Command, Process, ProcessStarter, Start, open_pipe, start_here
from tests.support.hanging_share import FlushingPassThrough, hanging_share, needs_fuse
from tests.support.mounting import needs_mounts

ENV = {"PATH": os.defpath, "GREETING": "hail \udcff"}
ENDS = [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(0, 15)", -15)]
LONG = 20.0
"""Seconds after which a share that hangs is well again, so that a test that would wait for it fails."""


@pytest.fixture
async def starter() -> AsyncIterator[ProcessStarter]:
    async with ProcessStarter() as starter:
        await starter.begin()
        yield starter


@pytest.fixture(params=["here", "by a starter"])
def start(request: pytest.FixtureRequest) -> Start:
    return start_here if request.param == "here" else request.getfixturevalue("starter").start


@contextmanager
def command(*argv: str, cwd: str = "/", stdout: int | None = None) -> Iterator[Command]:
    """Started with nothing to read; what it writes is dropped, or goes to `stdout`."""
    with Path(os.devnull).open("r+b") as nothing:
        end = nothing.fileno() if stdout is None else stdout
        yield Command(argv=argv, env=ENV, stdin=nothing.fileno(), stdout=end, stderr=end, cwd=cwd)


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-S", "-c", code


async def said(start: Start, *argv: str, cwd: str = "/") -> tuple[int, bytes]:
    """Its exit code, and what it wrote on its output and its error output."""
    answers, reading, stdout = await open_pipe()
    with stdout, command(*argv, cwd=cwd, stdout=stdout.fileno()) as asked:
        process = await start(asked)
    try:
        return await process.wait(), await answers.read()
    finally:
        reading.close()


async def quiet(start: Start, code: str) -> Process:
    with command(*python(code)) as asked:
        return await start(asked)


async def test_it_has_its_environment_its_directory_and_a_group_of_its_own(start: Start, tmp_path: Path) -> None:
    code = (
        "import os, sys; print(os.environb[b'GREETING'], 'HOME' in os.environ, os.getcwd(),"
        " os.getpgid(0) == os.getpid(), sys.stdin.read() == '', sorted(map(int, os.listdir('/proc/self/fd'))))"
    )
    ended, text = await said(start, *python(code), cwd=str(tmp_path))

    assert ended == 0
    # The fourth descriptor is the listing's own: nothing of ours is handed down.
    assert text.decode() == f"b'hail \\xff' False {tmp_path} True True [0, 1, 2, 3]\n"


async def test_its_errors_go_where_they_are_sent(start: Start) -> None:
    assert await said(start, *python("import os; os.write(2, b'trouble')")) == (0, b"trouble")


async def test_signals_do_to_it_what_they_do_to_any_program(start: Start) -> None:
    _, text = await said(start, "/bin/cat", "/proc/self/status")

    masks = dict(line.split(":\t") for line in text.decode().splitlines() if line.startswith("Sig"))
    assert [int(masks[name], 16) for name in ("SigIgn", "SigBlk", "SigCgt")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("code", "ends"), [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(0, 15)", -15)]
)
async def test_its_exit_code_is_told(start: Start, code: str, ends: int) -> None:
    process = await quiet(start, code)

    assert await process.wait() == ends
    assert process.returncode == ends


async def test_it_can_be_killed(start: Start) -> None:
    process = await quiet(start, "import time; time.sleep(60)")
    assert process.returncode is None

    process.kill()

    assert await process.wait() == -signal.SIGKILL
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("program", "why"),
    [("/nowhere/at-all", errno.ENOENT), ("/etc", errno.EACCES), ("not-in-any-path", errno.ENOENT)],
)
async def test_what_cannot_be_started_is_an_oserror_that_says_why(start: Start, program: str, why: int) -> None:
    with command(program) as asked, pytest.raises(OSError, match=os.strerror(why)):
        await start(asked)


async def test_a_directory_that_is_away_is_an_oserror(start: Start, tmp_path: Path) -> None:
    with command("/bin/true", cwd=str(tmp_path / "away")) as asked, pytest.raises(FileNotFoundError):
        await start(asked)


async def test_many_at_once(start: Start) -> None:
    processes = await asyncio.gather(*(quiet(start, f"raise SystemExit({number})") for number in range(20)))

    assert await asyncio.gather(*(process.wait() for process in processes)) == [*range(20)]


async def test_nothing_is_left_open(start: Start) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await said(start, *python("pass"))
    await asyncio.sleep(0)

    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_starter_that_dies_takes_what_it_has_started_along_and_is_replaced(starter: ProcessStarter) -> None:
    process = await quiet(starter.start, "import time; time.sleep(60)")
    first = starter.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)

    assert await process.wait() == -signal.SIGKILL
    assert (await said(starter.start, *python("print('again')"))) == (0, b"again\n")
    assert starter.pid not in {None, first}


async def test_where_there_is_no_starter_each_start_tries_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ProcessStarter() as starter:
        with monkeypatch.context() as without:
            without.setattr(sys, "executable", "/nowhere/python")
            await starter.begin()
            with pytest.raises(FileNotFoundError):
                await quiet(starter.start, "pass")

        assert await said(starter.start, *python("pass")) == (0, b"")


async def test_what_nobody_waits_for_any_more_is_killed(starter: ProcessStarter) -> None:
    assert starter.pid is not None
    answers, reading, stdout = await open_pipe()
    os.kill(starter.pid, signal.SIGSTOP)
    with stdout, command(*python("import time; time.sleep(60)"), stdout=stdout.fileno()) as asked:
        starting = asyncio.ensure_future(starter.start(asked))
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait({starting})
        os.kill(starter.pid, signal.SIGCONT)

        assert await said(starter.start, *python("pass")) == (0, b"")
    # It ends when the one that holds its other end has.
    assert await answers.read() == b""
    reading.close()


async def test_a_starter_that_gives_no_answer_is_not_waited_for_in_vain() -> None:
    async with ProcessStarter(patience=0.2) as starter:
        await starter.begin()
        assert starter.pid is not None
        os.kill(starter.pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError, match=r"it had not begun after 0\.2 s"):
            await quiet(starter.start, "pass")
        os.kill(starter.pid, signal.SIGCONT)


async def test_a_stop_is_not_for_the_starter(starter: ProcessStarter) -> None:
    # It heeds them once it serves.
    await said(starter.start, *python("pass"))
    first = starter.pid
    assert first is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(first, number)

    assert await said(starter.start, *python("pass")) == (0, b"")
    assert starter.pid == first


async def test_the_starter_ends_with_the_one_it_works_for() -> None:
    async with ProcessStarter() as starter:
        await starter.begin()
        process = await quiet(starter.start, "import time; time.sleep(60)")
        pid = starter.pid

    assert process.returncode == -signal.SIGKILL
    assert not Path(f"/proc/{pid}").exists()


@needs_mounts
@needs_fuse
async def test_a_file_that_is_open_on_a_share_that_hangs_holds_up_no_start(
    starter: ProcessStarter, tmp_path: Path
) -> None:
    """A new process lets go of each file it was given, which waits for the share, and its parent waits for that."""
    at, behind = tmp_path / "share", tmp_path / "behind"
    at.mkdir()
    behind.mkdir()
    with hanging_share(at, behind, kind=FlushingPassThrough) as share, (at / "pic.png").open("wb"):
        share.hang()
        healed = threading.Event()

        def heal() -> None:
            healed.set()
            share.answer()

        timer = threading.Timer(LONG, heal)
        timer.start()
        process = await quiet(starter.start, "pass")
        code = await process.wait()
        is_healed = healed.is_set()
        timer.cancel()
        share.answer()

    assert (code, is_healed) == (0, False)


@needs_mounts
@needs_fuse
async def test_a_program_on_a_share_that_hangs_holds_up_no_other(starter: ProcessStarter, tmp_path: Path) -> None:
    at, behind = tmp_path / "share", tmp_path / "behind"
    at.mkdir()
    behind.mkdir()
    (behind / "hook").write_text("#!/bin/sh\nexit 7\n")
    (behind / "hook").chmod(0o755)
    with hanging_share(at, behind) as share, command(f"{at}/hook") as asked:
        share.hang()
        hangs = asyncio.ensure_future(starter.start(asked))
        other = await quiet(starter.start, "raise SystemExit(5)")
        assert await other.wait() == 5
        assert not hangs.done()
        share.answer()
        assert await (await hangs).wait() == 7
