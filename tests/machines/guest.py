#!/usr/bin/python3
"""PID 1 of a machine for tests: makes its root writable, takes its place in the network, and runs what it is asked to.

The kernel runs in user mode and sees the files of the machine that runs the tests. The directory that it is given as
`MACHINE=` holds `machine.json`. What the machine writes goes to its own disk, which outlasts a loss of power.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

SHARE = "/srv/expand"
"""Where the share lies, on its server and on all that mount it."""

CONTROL_PORT = 7000

OWN_DISK, SHARED_DISK = "/dev/ubda", "/dev/ubdb"

LEASE = 10
"""Seconds for which a server waits for its clients after its start, the least that a kernel takes."""


MASKED = (Path(__file__).parents[1] / "systemd" / "masked.txt").read_text(encoding="utf-8").split()
"""Units that would need hardware."""


def main() -> None:
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    facts = json.loads(Path(os.environ["MACHINE"], "machine.json").read_text(encoding="utf-8"))
    for line in _root():
        _run(line)
    os.chdir("/")
    for line in _network(facts):
        _run(line)
    if facts["server"] == facts["address"]:
        for line in _server(facts["root"]):
            _run(line)
    elif not facts["systemd"]:
        _run(f"mkdir -p {SHARE} && mount -t nfs4 -o vers=4.1,hard {facts['server']}:/ {SHARE}")
    elif os.fork():
        _become_systemd()
    for port in facts["ports"]:
        threading.Thread(target=_reach_here, args=(port, facts["gateway"]), daemon=True).start()
    _serve(facts["control"])


def _root() -> Iterator[str]:
    yield "mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs tmpfs /mnt"
    yield "mkdir -p /mnt/kernel/lib /mnt/disk /mnt/root && ln -s /usr/lib/uml/modules /mnt/kernel/lib/modules"
    yield "modprobe --dirname /mnt/kernel --all overlay nfsd nfsv4"
    yield f"mount -t ext4 {OWN_DISK} /mnt/disk && mkdir -p /mnt/disk/upper /mnt/disk/work"
    yield "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/disk/upper,workdir=/mnt/disk/work /mnt/root"
    yield "mkdir -p /dev/shm /dev/pts && mount -t tmpfs tmpfs /dev/shm && mount -t devpts devpts /dev/pts"
    yield "for part in proc sys dev; do mount --rbind /$part /mnt/root/$part; done"
    yield "mount -t tmpfs -o mode=755 tmpfs /mnt/root/run"
    yield "cd /mnt/root && mkdir -p .old && pivot_root . .old && umount --lazy /.old && mount --make-rshared /"


def _become_systemd() -> None:
    """Leave being PID 1 to a real systemd; on the first boot, take away what the other machine has enabled."""
    units = Path("/etc/systemd/system")
    if not (units / MASKED[0]).is_symlink():
        _run("rm -rf /etc/systemd/system/*.wants /etc/fstab && touch /etc/fstab && : > /etc/machine-id")
        # /tmp may hold what the tests run from.
        _run("hostname > /etc/hostname && ln -sfn /dev/null /etc/tmpfiles.d/tmp.conf")
        for unit in MASKED:
            (units / unit).symlink_to("/dev/null")
    systemd = "/lib/systemd/systemd"
    os.execv(systemd, [systemd, "--system", "--unit=multi-user.target", "--show-status=0"])


def _network(facts: dict[str, Any]) -> Iterator[str]:
    yield f"hostname {facts['name']} && ip link set lo up"
    for device, address in (("vec0", facts["address"]), ("vec1", facts["control"])):
        yield f"ip addr add {address}/24 dev {device} && ip link set {device} up"


def _server(root: str) -> Iterator[str]:
    """The kernel's own NFS server, for version 4.1 and later, as on most appliances."""
    yield f"mkdir -p {SHARE} /var/lib/nfs/v4recovery && mount -t ext4 {SHARED_DISK} {SHARE}"
    yield "mount -t nfsd nfsd /proc/fs/nfsd"
    yield f"for name in lease grace; do echo {LEASE} > /proc/fs/nfsd/nfsv4${{name}}time; done"
    yield f"echo '{SHARE} *(rw,sync,no_subtree_check,fsid=0,{root})' > /etc/exports && exportfs -ra"
    yield "rpc.mountd --no-nfs-version 3 && rpc.nfsd --no-nfs-version 3 --no-nfs-version 4.0 4"


def _run(line: str) -> None:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{line}: {done.returncode}\n{done.stdout}{done.stderr}", file=sys.stderr, flush=True)


def _reach_here(port: int, gateway: str) -> None:
    """Let the API, which is called without TLS on loopback alone, be reached there."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        forward(listening, (gateway, port))


def forward(listening: socket.socket, target: tuple[str, int]) -> None:
    """Pass on what comes in to `target`, and back, until `listening` is closed."""
    while True:
        try:
            near = listening.accept()[0]
        except OSError:
            return
        try:
            far = socket.create_connection(target, timeout=10.0)
        except OSError:
            near.close()
            continue
        far.settimeout(None)
        for ends in ((near, far), (far, near)):
            threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with source, contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _serve(address: str) -> None:
    """Run each command that is asked for, over a connection of its own."""
    with socket.create_server((address, CONTROL_PORT)) as listening:
        while True:
            threading.Thread(target=_answer, args=(listening.accept()[0],), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, connection.makefile("rw", encoding="utf-8") as asked:
        if not (text := asked.readline()):
            return
        request = json.loads(text)
        environ = {**os.environ, **request["environ"]}
        match request["kind"]:
            case "run":
                done = subprocess.run(
                    request["line"], env=environ, input=request["input"], capture_output=True, text=True, check=False
                )
                _say(asked, [done.returncode, done.stdout, done.stderr])
            case "begin":
                # The first that comes back is the number of the process.
                line = ["sh", "-c", 'echo $$ >&2; exec "$@"', "sh", *request["line"]]
                null = subprocess.DEVNULL
                process = subprocess.Popen(line, env=environ, stdin=null, stdout=null, stderr=connection.fileno())
                _say(asked, {"ended": process.wait()})
            case "signal":
                os.kill(request["pid"], request["number"])


def _say(asked: IO[str], answer: Any) -> None:
    print(json.dumps(answer), file=asked, flush=True)


if __name__ == "__main__":
    main()
