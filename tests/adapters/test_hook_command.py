"""The command of a hook, run for real: what it sees, what it must not see, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from expandd.adapters.hooks import MOST_LINES, run_command
from expandd.domain.events import Facts, HookFailed
from expandd.domain.settings import Hook

HOSTILE = "$(touch /tmp/never) `id`; rm -rf *\n'\"\udcff.png"


def python(code: str, *arguments: str, timeout: float = 20.0) -> Hook:
    return Hook(command=(sys.executable, "-S", "-c", code, *arguments), timeout=timeout)


def facts(**environ: str) -> Facts:
    return Facts(event="done", about="pic.png", json=b'{"event": "done"}', environ=tuple(environ.items()))


async def test_it_sees_the_facts_in_its_environment_and_on_its_input(tmp_path: Path) -> None:
    target = tmp_path / "seen"
    code = (
        "import os, sys; open(sys.argv[1], 'wb').write(os.environb[b'EXPANDD_FILE'] + b'\\0' + sys.stdin.buffer.read())"
    )
    await run_command(python(code, str(target)), facts(EXPANDD_FILE="pic.png"))

    name, _, text = target.read_bytes().partition(b"\0")
    assert name == b"pic.png"
    assert json.loads(text) == {"event": "done"}


async def test_no_shell_reads_a_hostile_name(tmp_path: Path) -> None:
    target = tmp_path / "seen"
    code = "import os, sys; open(sys.argv[1], 'wb').write(os.environb[b'EXPANDD_FILE'] + os.fsencode(sys.argv[2]))"
    await run_command(python(code, str(target), "$HOME; *"), facts(EXPANDD_FILE=HOSTILE))

    assert target.read_bytes() == os.fsencode(HOSTILE) + b"$HOME; *"


async def test_it_sees_nothing_else_of_our_environment() -> None:
    ours = {"PIKTID_PASSWORD": "s3cret", "NOTIFY_SOCKET": "/run/systemd/notify", "TZ": "Europe/Rome"}
    said = await run_command(python("import os; print(sorted(os.environ))"), facts(EXPANDD_FILE="x"), ours)

    assert "PIKTID" not in said[0]
    assert "NOTIFY" not in said[0]
    assert "'EXPANDD_FILE'" in said[0]
    assert "'TZ'" in said[0]


async def test_of_what_it_says_the_first_lines_are_kept() -> None:
    said = await run_command(
        python("import sys; print('one\\x1b[31m', file=sys.stderr); print('x\\n' * 500_000)"), facts()
    )

    assert said[0] == "one\\x1b[31m"
    assert len(said) == MOST_LINES


async def test_a_command_that_reads_nothing_is_no_failure() -> None:
    big = Facts(event="done", about="pic.png", json=b"x" * 1_000_000, environ=())

    assert await run_command(Hook(command=("/bin/true",)), big) == ()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; print('no room'); sys.exit(3)", r"ended with exit code 3\.$"),
        ("import os; print('no room', flush=True); os.kill(os.getpid(), 9)", r"was ended by signal 9\.$"),
    ],
)
async def test_another_exit_code_is_a_failure_with_what_it_said(code: str, why: str) -> None:
    with pytest.raises(HookFailed, match=why) as failed:
        await run_command(python(code), facts())

    assert failed.value.output == ("no room",)
    assert not failed.value.again


async def test_a_program_that_is_not_there_is_a_failure() -> None:
    with pytest.raises(HookFailed, match=r"^such cannot be started: No such file or directory\.$"):
        await run_command(Hook(command=("/no/such",)), facts())


FAMILY = """
import subprocess, sys, time
child = "import sys, time; pipe = open(sys.argv[1], 'wb', 0); pipe.write(b'up'); time.sleep(60)"
subprocess.Popen([sys.executable, "-S", "-c", child, sys.argv[1]])
"""
"""Starts a child that keeps a pipe open as long as it lives."""

WAITING = FAMILY + "time.sleep(60)"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


async def test_one_that_takes_too_long_is_killed_with_all_that_it_started(pipe: Path) -> None:
    living = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
    with pytest.raises(HookFailed, match="had not ended after 1 s"):
        await run_command(python(WAITING, str(pipe), timeout=1.0), facts())

    assert await living == b"up"


async def test_one_that_is_running_when_we_stop_is_killed_with_all_that_it_started(pipe: Path) -> None:
    running = asyncio.create_task(run_command(python(WAITING, str(pipe)), facts()))
    with await asyncio.to_thread(pipe.open, "rb") as reader:
        assert await asyncio.to_thread(reader.read, 2) == b"up"
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert await asyncio.to_thread(reader.read) == b""


async def test_what_it_leaves_in_the_background_is_neither_waited_for_nor_ended(pipe: Path) -> None:
    code = FAMILY.replace("subprocess.Popen(", "child = subprocess.Popen(")
    living = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
    said = await run_command(python(f"{code}print(child.pid)", str(pipe)), facts())

    assert not living.done()
    os.kill(int(said[0]), 9)
    assert await living == b"up"
