"""One start of the installed service, with all that it may be given to do, and what its sandbox leaves and takes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.systemd.machine import Machine
from tests.systemd.service import HOT, LOGIN, Service

pytestmark = pytest.mark.timeout(300)
"""The first of them installs expandd, from a package index."""

METRICS = "/var/lib/node_exporter"
HOME = "/home/studio/My: 'hot' \\ 100% folder"
NAS = "/mnt/nas"
TELL = "/home/alice/tell me.sh"
DROP_INS = "/run/share/expandd/systemd/drop-ins"

MORE = f"""
page: {{listen: '127.0.0.1:8099'}}
hooks: {{on_done: {{command: ['{TELL}']}}}}
metrics_file: {METRICS}/expandd.prom
"""

FOLDERS = f"""
  - {{root: {json.dumps(HOME)}, offsets: {{top: 10}}}}
  - {{require_mount: {NAS}, root: {NAS}/hot, offsets: {{top: 10}}}}
"""

NEEDED = """
import asyncio, os, socket, ssl, subprocess, sys, threading
import httpx
from watchdog.observers import Observer
assert socket.getaddrinfo("localhost", 443)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"?", ("127.0.0.1", 53))
assert httpx.create_ssl_context().get_ca_certs()
assert httpx.get("http://127.0.0.1:8787/simulator/clock").status_code == 200
assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout == b"1\\n"
assert os.getuid() != 0 and not int(open("/proc/self/status").read().split("CapEff:")[1].split()[0], 16)
"""

LIMITED = f"""
import ctypes, errno, os, resource, shutil, subprocess
for directory in ("{HOT}/inbox", "{HOT}/outbox", "/var/lib/expandd", "/run/expandd", "/tmp", "/dev/shm"):
    tool = f"{{directory}}/tool"
    try:
        shutil.copy("/usr/bin/true", tool)
    except OSError:
        assert directory == "/dev/shm", directory
        continue
    try:
        subprocess.run([tool], check=True)
    except PermissionError:
        os.unlink(tool)
    else:
        raise SystemExit(f"{{tool}} was run")
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (4096, 4096)
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
libc = ctypes.CDLL(None, use_errno=True)
for number in (444, 317):  # landlock_create_ruleset, seccomp: both refuse nonsense, neither is refused itself
    assert libc.syscall(number, 99, 99, 0) == -1
    assert ctypes.get_errno() not in (errno.EPERM, errno.EACCES), number
"""

ADDRESSES = """
import socket
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for listed in ("192.0.2.10", "127.0.0.1"):
    wire.sendto(b"?", (listed, 9))
try:
    wire.sendto(b"?", ("198.51.100.7", 9))
except PermissionError:
    pass
else:
    raise SystemExit("an address that is not listed was reached")
"""


@pytest.fixture(scope="module")
def at_work(machine: Machine) -> Iterator[Service]:
    """The service with all of the above; tests look at it and give it work, and the last of them changes its files."""
    service = Service(machine)
    service.reset()
    machine.run("install", "-d", "-o", "expandd", METRICS)
    machine.run("mkdir", "-p", NAS)
    service.make_folder(HOME)
    machine.run("touch", "/home/studio/private")
    machine.run("chmod", "755", "/home/studio")
    machine.run("chmod", "711", "/home/alice")
    machine.write(TELL, "#!/bin/sh\ncat; id -un; ls /home/alice; env | grep -c -e PIKTID -e CREDENTIALS\n:", 0o755)
    service.configure(HOT, opened=False, more=MORE)
    machine.write(service.config, machine.run("cat", service.config).stdout + FOLDERS)
    service.open()
    for address in ("192.0.2.10", "198.51.100.7"):
        machine.run("ip", "address", "add", f"{address}/32", "dev", "lo", check=False)
    machine.run("install", "-m", "644", f"{DROP_INS}/expandd.slice", "/etc/systemd/system/")
    machine.run("install", "-m", "644", f"{DROP_INS}/addresses.conf", f"/etc/systemd/system/{service.unit}.d/")
    service.before_start(needed=NEEDED, limited=LIMITED, addresses=ADDRESSES)
    service.start()
    service.drop("first.png")
    service.result("first.png")
    yield service
    service.end()
    machine.run("umount", NAS, check=False)


def test_the_sandbox_leaves_what_the_work_needs(at_work: Service) -> None:
    """Name lookups, TLS, sockets, threads, processes and file events, as the service itself would ask for them.

    And what the configuration names besides hot folders: a node exporter reads what is written for it.
    """
    assert "needed: as it must be" in at_work.log()
    at_work.appears("expandd.prom", METRICS)
    reading = ("runuser", "-u", "alice", "--", "cat", f"{METRICS}/expandd.prom")
    assert "expandd_" in at_work.machine.run(*reading).stdout


def test_what_people_drop_cannot_be_run_and_limits_hold(at_work: Service) -> None:
    assert "limited: as it must be" in at_work.log()


def test_addresses_that_are_not_listed_cannot_be_reached(at_work: Service) -> None:
    assert "addresses: as it must be" in at_work.log()


def test_a_page_on_a_port_answers_within_the_sandbox(at_work: Service) -> None:
    at_work.wait_for("page.open")
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8099/').status)"

    assert at_work.machine.run("/usr/bin/python3", "-c", script).stdout.strip() == "200"


def test_a_hook_runs_in_the_sandbox_with_the_facts_and_without_the_login(at_work: Service) -> None:
    said = json.loads(at_work.wait_for("hook.told")["EXPANDD_OUTPUT"])

    assert json.loads(said[0])["file"] == "first.png"
    assert said[1:] == ["expandd", "tell me.sh", "0"]


def test_the_login_is_read_by_the_service_alone(at_work: Service) -> None:
    direct = at_work.machine.run("runuser", "-u", "expandd", "--", "cat", "/etc/expandd/piktid", check=False)

    assert direct.returncode != 0
    assert LOGIN not in direct.stdout


def test_a_folder_in_a_home_is_worked_on_and_the_rest_of_it_unseen(at_work: Service) -> None:
    pid = at_work.property("MainPID")
    at_work.until("watched", StatusText="~3 folders")
    seen = at_work.machine.run("nsenter", "-t", pid, "-m", "--", "ls", "/home/studio").stdout.splitlines()

    assert seen == ["My: 'hot' \\ 100% folder"]


def test_an_image_that_cannot_be_read_says_so_and_goes_on_once_it_can(at_work: Service) -> None:
    at_work.drop("closed.png", umask="077", seed=1)
    told = at_work.wait_for("job.failed")["MESSAGE"]
    again = f"chmod 640 {HOT}/error/closed.png && mv {HOT}/error/closed.png {HOT}/inbox/"
    at_work.machine.run("runuser", "-u", "alice", "--", "sh", "-c", again)
    at_work.result("closed.png")

    assert "its mode is 0600" in told


def test_a_second_service_on_the_same_folders_fails_once(at_work: Service) -> None:
    other = Service(at_work.machine, "second")
    at_work.machine.write("/etc/expandd/second.piktid", LOGIN, 0o600)
    try:
        other.configure(HOT)
        at_work.machine.run("systemctl", "start", other.unit, check=False)
        other.until("failed", ActiveState="failed", ExecMainStatus="75", NRestarts="0")
        assert at_work.property("ActiveState") == "active"
    finally:
        other.end()


def test_a_disk_that_is_mounted_while_it_runs_is_worked_on(at_work: Service) -> None:
    at_work.until("waits", StatusText=f"~{NAS}/hot/inbox: the folder is away since")
    at_work.machine.run("mount", "-t", "tmpfs", "nas", NAS)
    at_work.make_folder(f"{NAS}/hot")
    at_work.drop("mounted.png", root=f"{NAS}/hot", seed=2)
    at_work.result("mounted.png", root=f"{NAS}/hot")


def test_a_folder_that_is_made_anew_is_worked_on(at_work: Service) -> None:
    at_work.machine.run("rm", "-rf", f"{HOT}/inbox")
    at_work.machine.run("install", "-d", "-m", "2770", "-o", "expandd", "-g", "expandd", f"{HOT}/inbox")
    at_work.drop("anew.png", seed=3)
    at_work.result("anew.png")


def test_nothing_but_its_folders_and_its_state_can_be_written(at_work: Service) -> None:
    """The last one: it leaves a configuration that is refused."""
    at_work.make_folder("/srv/outside")
    pid = at_work.property("MainPID")
    inside = ("nsenter", "-t", pid, "-m", "--", "runuser", "-u", "expandd", "--", "touch")

    for path in (f"{HOT}/outbox/x", "/var/lib/expandd/x"):
        at_work.machine.run(*inside, path)
    for path in ("/srv/outside/inbox/x", "/etc/expandd/x", "/var/lib/x", "/opt/expandd/x"):
        assert "Read-only file system" in at_work.machine.run(*inside, path, check=False).stderr
    at_work.configure(HOT, "/srv/outside", opened=False)
    assert at_work.machine.run("systemctl", "reload", at_work.unit, check=False).returncode != 0
    told = at_work.wait_for("reload.error")["MESSAGE"]
    assert "expandd unit" in told
