"""A machine for tests: a real systemd as PID 1 of new namespaces, on an overlay of this host's root."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
SYSTEMD = Path("/lib/systemd/systemd")
PYTHON = Path("/usr/bin/python3")
PATIENCE = 30.0
ASK = 0.2
"""Seconds between two questions: each is a process of its own, and there are other tests beside this one."""

TARGET = "[Unit]\nDescription=Test machine\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
CLEAN = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=")

NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net", "--fork")

Result = subprocess.CompletedProcess[str]


def impossible_because() -> str:
    """Why no machine can be booted here, in words; "" when one can."""
    if os.geteuid() != 0:
        return "booting a systemd in namespaces needs root"
    if not SYSTEMD.exists():
        return f"there is no systemd here ({SYSTEMD})"
    if not PYTHON.exists() or not _fits():
        return f"{PYTHON} is not a Python 3.11 or newer with venv, which a service could run"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        return f"namespaces or mounts are not allowed here: {tried.stderr.strip()}"
    return "" if _cgroups() else "there is no cgroup v2 here that can be written"


def _fits() -> bool:
    asked = [str(PYTHON), "-c", "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _cgroups() -> Path | None:
    for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (path / "cgroup.procs").exists() and os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_RDONLY:
            return path
    return None


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted machine. `etc` in its directory is laid over /etc, `share` is /run/share inside."""

    directory: Path
    pid: int
    cgroup: Path
    outer: subprocess.Popen[bytes]

    def run(self, *command: str, check: bool = True, **options: Any) -> Result:
        """Run a command inside, as root."""
        return self._in("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", command=command, check=check, **options)

    def with_network(self, *command: str, **options: Any) -> Result:
        """Run a command on the machine's file system, with the host's network."""
        return self._in("-m", "-r", "-w", command=command, check=True, **options)

    def _in(self, *namespaces: str, command: Sequence[str], check: bool, **options: Any) -> Result:
        environ = [f"{name}={value}" for name, value in (options.pop("environ", None) or {}).items()]
        line = ["nsenter", "-t", str(self.pid), *namespaces, "--", *CLEAN, *environ, *command]
        result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=240, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"{command} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}")
        return result

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """A file inside, root's."""
        raw = content.encode() if isinstance(content, str) else content
        inside = self.path(path)
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes(raw)
        inside.chmod(mode)

    def names(self, directory: str) -> list[str]:
        return sorted(name for name in os.listdir(self.path(directory)) if not name.startswith("."))

    def path(self, inside: str) -> Path:
        """Where this host finds what is in the machine."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        printed = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)

    def until(self, unit: str, what: str, good: Callable[[dict[str, str]], bool], *names: str) -> dict[str, str]:
        """Until the properties are so. systemd has no event to wait for from outside: it is asked again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.show(unit, *names)
            if good(found):
                return found
            if time.monotonic() > deadline:
                log = self.run("journalctl", "--no-pager", "-n", "40", "-u", unit, check=False).stdout
                raise AssertionError(f"{unit}: {what} did not come about; it is {found}\n{log}")
            time.sleep(ASK)

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        self.run("journalctl", "--sync")
        printed = self.run("journalctl", "--no-pager", "-o", "json", *matches).stdout
        return [json.loads(line) for line in printed.splitlines()]

    def stop(self) -> None:
        """Its PID 1 is killed, and everything in it dies."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.outer.wait(timeout=PATIENCE)
        for _ in range(100):
            for path in sorted(self.cgroup.rglob("*"), reverse=True):
                if path.is_dir():
                    with contextlib.suppress(OSError):
                        path.rmdir()
            with contextlib.suppress(OSError):
                self.cgroup.rmdir()
            if not self.cgroup.exists():
                return
            time.sleep(0.05)


def boot(directory: Path) -> Machine:
    """A machine that is up."""
    for name in ("root", "share", "etc/systemd/system"):
        (directory / name).mkdir(parents=True)
    (directory / "etc/systemd/system/test.target").write_text(TARGET)
    groups = _cgroups()
    assert groups is not None
    cgroup = groups / f"expandd-test-{os.getpid()}"
    cgroup.mkdir()
    with (directory / "console").open("wb") as console:
        outer = _unshared(directory, cgroup, console)
    machine = Machine(directory, _inner(outer), cgroup, outer)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = machine.run("systemctl", "is-system-running", check=False).stdout.strip()
        if state in {"running", "degraded"}:
            return machine
        time.sleep(ASK)
    machine.stop()
    raise AssertionError(f"systemd did not come up:\n{(directory / 'console').read_text(errors='replace')}")


def _unshared(directory: Path, cgroup: Path, console: IO[bytes]) -> subprocess.Popen[bytes]:
    # The shell, and with it all that follows, enters its own cgroup: that is the root of the machine's.
    enter = ["sh", "-c", 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"', "sh", str(cgroup)]
    unshare = ["unshare", *NAMESPACES, "--kill-child=KILL", "--propagation", "private"]
    return subprocess.Popen(
        [*enter, *unshare, "sh", str(HERE / "boot.sh"), str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _inner(outer: subprocess.Popen[bytes]) -> int:
    """PID 1 of the machine, as the host numbers it."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert outer.poll() is None, "the machine ended before it was up"
        found = children.read_text().split()
        if found and Path(f"/proc/{found[0]}/comm").read_text().strip() == "systemd":
            return int(found[0])
        time.sleep(0.02)
    raise AssertionError("the machine did not begin")


def copy_source(root: Path, target: Path) -> None:
    """What an administrator has in a checkout: enough to install from."""
    target.mkdir()
    for name in (
        "pyproject.toml",
        "requirements.txt",
        "requirements-cluster.txt",
        "README.md",
        "LICENSE",
        "config.example.yaml",
    ):
        shutil.copy(root / name, target / name)
    leave_out = shutil.ignore_patterns("__pycache__", ".mypy_cache")
    for name in ("daemon", "systemd"):
        shutil.copytree(root / name, target / name, ignore=leave_out)
