"""Boots machines for tests: kernels of their own in user mode, on one network, that mount one share by NFS."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.machines.guest import CONTROL_PORT, forward

GUEST = Path(__file__).with_name("guest.py")
KERNEL = "linux.uml"
PATIENCE = 60.0

NETWORK, CONTROL = "10.223.7", "10.223.8"
"""The first three numbers of the addresses: what a test may cut, and what it gives its orders by."""

BRIDGE, CONTROL_BRIDGE = "expandd-net", "expandd-control"

WRITE = """
import base64, os, sys
path, mode = sys.argv[1], int(sys.argv[2])
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "wb") as file:
    os.fchmod(file.fileno(), mode)
    file.write(base64.b64decode(sys.stdin.read()))
    file.flush()
    os.fsync(file.fileno())
os.sync()
"""

LOST_POWER = -int(signal.SIGKILL)


def impossible_because() -> str:
    """Why no such machine can be booted here, in words; "" when one can."""
    if os.geteuid() != 0:
        return "machines with a network of their own need root"
    missing = [name for name in (KERNEL, "rpc.nfsd", "mount.nfs4", "modprobe", "mkfs.ext4") if not shutil.which(name)]
    if missing:
        return f"not here: {', '.join(missing)}; apt-get install user-mode-linux nfs-kernel-server nfs-common kmod"
    return "" if Path("/dev/net/tun").exists() else "there is no /dev/net/tun here"


ON_MACHINES = [
    pytest.mark.storm,
    pytest.mark.xdist_group("machines"),
    pytest.mark.skipif(os.environ.get("EXPANDD_STORM") != "1", reason="some minutes; set EXPANDD_STORM=1"),
    pytest.mark.skipif(bool(impossible_because()), reason=impossible_because() or "they can be booted"),
]


class Remote:
    """A process on a machine, as tests know processes of their own."""

    def __init__(self, machine: Machine, connection: socket.socket) -> None:
        self._machine = machine
        self._connection = connection
        self._read = connection.makefile("r", encoding="utf-8", errors="replace")
        self._ended = threading.Event()
        self._code: int | None = None
        self.pid = int(self._read.readline())
        self.stderr: Generator[str, None, None] = self._lines()

    def _lines(self) -> Generator[str, None, None]:
        with self._connection, self._read, contextlib.suppress(OSError):
            for line in self._read:
                if line.startswith('{"ended": '):
                    self._code = json.loads(line)["ended"]
                    break
                yield line
        self._ended.set()

    def poll(self) -> int | None:
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once all of its lines are read. Raises subprocess.TimeoutExpired."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return LOST_POWER if self._code is None else self._code

    def send_signal(self, number: int) -> None:
        self._machine.ask("signal", pid=self.pid, number=int(number), answers=False)

    def let_go(self) -> None:
        """Have whoever reads its lines see their end: its machine is no more."""
        self._code = LOST_POWER if self._code is None else self._code
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True)
class Machine:
    """A machine with a disk of its own, which outlasts each loss of power."""

    directory: Path
    name: str
    number: int
    kernel: subprocess.Popen[bytes] | None = None
    processes: list[Remote] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    @property
    def device(self) -> str:
        return f"expandd-{self.number}"

    @property
    def control_device(self) -> str:
        return f"expandd-c{self.number}"

    @property
    def _control(self) -> tuple[str, int]:
        return f"{CONTROL}.{self.number}", CONTROL_PORT

    # --- its power and its cable ---

    def power_on(self) -> None:
        """Boot it, until it does what it is asked to. Raises AssertionError with what its console says."""
        self.begin_to_boot()
        self.await_boot()

    def begin_to_boot(self) -> None:
        disks = [f"ubd{number}={path}" for number, path in enumerate(self._disks())]
        cards = [
            # Its neighbours remember the address of its card over a start.
            f"vec{number}:transport=tap,ifname={device},depth=64,gro=1,mac=02:00:00:00:{number:02x}:{self.number:02x}"
            for number, device in enumerate((self.device, self.control_device))
        ]
        root = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
        console = ["con=null", "con0=null,fd:1", "quiet"]
        # A machine that loses its power leaves none of its processes behind.
        alone = ["setpriv", "--pdeathsig=KILL", "unshare", "--pid", "--fork", "--kill-child=KILL"]
        start = [f"init={GUEST}", f"MACHINE={self.directory}"]
        with (self.directory / "console").open("ab") as said:
            self.kernel = subprocess.Popen(
                [*alone, KERNEL, "mem=768M", *disks, *cards, *root, *console, *start],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def await_boot(self) -> None:
        assert self.kernel is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                # Often: what is lost while it boots is sent again late.
                socket.create_connection(self._control, timeout=1.0).close()
                return
            said = (self.directory / "console").read_text(errors="replace")
            assert self.kernel.poll() is None, f"the machine {self.name} ended:\n{said}"
            assert time.monotonic() < deadline, f"the machine {self.name} does not come up:\n{said}"
            time.sleep(0.1)

    def _disks(self) -> Iterator[Path]:
        for name in ("disk", "shared-disk"):
            if (path := self.directory / name).exists():
                yield path

    def lose_power(self) -> None:
        """End it at once; what its kernel had not written to its disk is lost."""
        assert self.kernel is not None
        self._signal(signal.SIGKILL)
        self.kernel.wait(PATIENCE)
        self.kernel = None
        for process in self.processes:
            process.let_go()
        self.processes.clear()

    def freeze(self) -> None:
        """Stop its kernel, as a hypervisor does that moves it or is short of time."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self.kernel is not None
        os.killpg(self.kernel.pid, number)

    def unplug(self) -> None:
        """Take it off the network: neither share nor database nor API is reached, and nobody is told."""
        _ip("link", "set", self.device, "nomaster")

    def plug_in(self) -> None:
        _ip("link", "set", self.device, "master", BRIDGE)

    # --- what runs on it ---

    def run(self, *line: str, environ: Mapping[str, str] = {}, text: str = "", check: bool = True) -> str:
        """What a command prints there, run as root. Raises OSError while the machine is not up."""
        code, output, error = self.ask("run", line=line, environ=dict(environ), input=text)
        assert code == 0 or not check, f"{line} on {self.name} ended with {code}:\n{output}\n{error}"
        return str(output)

    def begin(self, line: Sequence[str], environ: Mapping[str, str]) -> Remote:
        """A process that goes on there; its standard error comes back line by line."""
        connection = self._connected()
        self._request(connection, "begin", line=list(line), environ=dict(environ))
        process = Remote(self, connection)
        self.processes.append(process)
        return process

    def ask(self, kind: str, answers: bool = True, **facts: Any) -> Any:
        with self._connected() as connection:
            self._request(connection, kind, **{"environ": {}, **facts})
            with connection.makefile("r", encoding="utf-8") as answer:
                text = answer.readline()
            if not text and answers:
                raise ConnectionResetError(f"the machine {self.name} has gone")
            return json.loads(text) if answers else None

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(self._control, timeout=PATIENCE)
        connection.settimeout(None)
        return connection

    def _request(self, connection: socket.socket, kind: str, **facts: Any) -> None:
        connection.sendall(json.dumps({"kind": kind, **facts}).encode() + b"\n")

    # --- its files ---

    def names(self, directory: str) -> list[str]:
        """What lies in a directory, the work folder and sidecars left out."""
        found = self.run("ls", "-A", directory).splitlines()
        return sorted(name for name in found if name != ".expandd" and not name.endswith(".error.json"))

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """A file there, written in place and synced: no loss of power makes it empty."""
        encoded = base64.b64encode(content).decode()
        self.run("/usr/bin/python3", "-c", WRITE, path, str(mode), text=encoded)


@dataclass(frozen=True, slots=True)
class Site:
    """A server of the share and hosts that mount it, on one network with the machine that runs the tests."""

    server: Machine
    hosts: Mapping[str, Machine]
    gateway: str = f"{NETWORK}.1"
    """The address of the machine that runs the tests."""


@contextmanager
def site(directory: Path, names: str, ports: Sequence[int], *, systemd: bool = False) -> Iterator[Site]:
    """All machines, up: hosts that have mounted the share, or with `systemd` ones that are as after their first boot.

    The server lets root do all on the share; to hosts with a systemd it grants root nothing, as servers do.

    What listens on these `ports` of 127.0.0.1 here is reached on each of them by the same address.
    """
    with _bridge(), ExitStack() as stack:
        for port in ports:
            stack.enter_context(_passed_on(port))
        made = {
            name: _made(directory / name, name, number, ports, systemd=systemd)
            for number, name in enumerate(("nfs", *names), 2)
        }
        server = made.pop("nfs")
        found = Site(server, made)
        machines = (server, *made.values())
        for machine in machines:
            stack.enter_context(_cards(machine))
            stack.enter_context(_booting(machine))
        for machine in machines:
            machine.await_boot()
        yield found


def _made(directory: Path, name: str, number: int, ports: Sequence[int], *, systemd: bool) -> Machine:
    directory.mkdir(parents=True)
    facts = {
        "name": name,
        "address": f"{NETWORK}.{number}",
        "control": f"{CONTROL}.{number}",
        "gateway": f"{NETWORK}.1",
        "server": f"{NETWORK}.2",
        "ports": list(ports),
        "systemd": systemd and name != "nfs",
        "root": "root_squash" if systemd else "no_root_squash",
    }
    (directory / "machine.json").write_text(json.dumps(facts), encoding="utf-8")
    for disk in ("disk", "shared-disk") if name == "nfs" else ("disk",):
        with (directory / disk).open("wb") as file:
            file.truncate(2 << 30)
        subprocess.run(["mkfs.ext4", "-q", str(directory / disk)], check=True)
    return Machine(directory, name, number)


@contextmanager
def _booting(machine: Machine) -> Iterator[None]:
    machine.begin_to_boot()
    try:
        yield
    finally:
        if machine.kernel is not None:
            machine.lose_power()


@contextmanager
def _bridge() -> Iterator[None]:
    for link in Path("/sys/class/net").glob("expandd-*"):
        # A run that was killed has left it.
        _ip("link", "del", link.name)
    for name, address in ((BRIDGE, NETWORK), (CONTROL_BRIDGE, CONTROL)):
        _ip("link", "add", name, "type", "bridge")
        _ip("addr", "add", f"{address}.1/24", "dev", name)
        _ip("link", "set", name, "up")
    try:
        yield
    finally:
        for name in (BRIDGE, CONTROL_BRIDGE):
            _ip("link", "del", name)


@contextmanager
def _cards(machine: Machine) -> Iterator[None]:
    for device, bridge in ((machine.device, BRIDGE), (machine.control_device, CONTROL_BRIDGE)):
        _ip("tuntap", "add", device, "mode", "tap")
        _ip("link", "set", device, "master", bridge, "up")
    try:
        yield
    finally:
        for device in (machine.device, machine.control_device):
            _ip("link", "del", device)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def _passed_on(port: int) -> Iterator[None]:
    with socket.create_server((f"{NETWORK}.1", port)) as listening:
        threading.Thread(target=forward, args=(listening, ("127.0.0.1", port)), daemon=True).start()
        yield
