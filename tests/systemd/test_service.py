"""The installed service under a real systemd: what an administrator does to it, and what must then be so."""

from __future__ import annotations

import time

import pytest

from tests.systemd.service import HOT, LOGIN, SOURCE, TO_THE_SIMULATOR, Service

pytestmark = pytest.mark.timeout(300)
"""The first of them installs expandd, from a package index."""


def test_it_starts_and_tells_how_it_goes_and_the_journal_is_the_log(service: Service) -> None:
    checked = service.machine.run(
        *(
            "systemd-run",
            "--pipe",
            "--wait",
            "--quiet",
            "--uid=expandd",
            "-p",
            "LoadCredential=piktid:/etc/expandd/piktid",
        ),
        *("/opt/expandd/bin/expandd", "check", "--config", service.config),
    )
    assert "Login: accepted" in checked.stdout
    service.configure(HOT, more="page: {listen: 'unix:/run/expandd/page.sock'}\n")
    service.start()

    found = service.until("started", StatusText="1 folder, 0 waiting, 0 in progress, 0 in error", ActiveState="active")
    assert found
    service.drop("pic.png")
    finished = service.wait_for("job.finished")
    assert_alice_may_take("pic.png", service)
    assert_the_page_is_behind_a_socket_for_the_group_alone(service)
    entries = service.journal(f"JOB={finished['JOB']}")

    assert {entry["EXPANDD_EVENT"] for entry in entries} >= {"job.claimed", "job.finished"}
    assert finished["FOLDER"] == f"{HOT}/inbox"
    assert finished["IMAGE_ID"]
    assert finished["SYSLOG_IDENTIFIER"] == "expandd"
    assert finished["PRIORITY"] == "6"
    assert finished["MESSAGE"].startswith("pic.png: expanded")
    assert "simulator-access" not in str(service.journal())
    assert "PASSWORD" not in str(service.journal())


def assert_the_page_is_behind_a_socket_for_the_group_alone(service: Service) -> None:
    machine = service.machine
    script = """
import socket
wire = socket.socket(socket.AF_UNIX)
wire.connect("/run/expandd/page.sock")
wire.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
print(wire.recv(15).decode())
"""
    asked = {
        person: machine.run("runuser", "-u", person, "--", "/usr/bin/python3", "-c", script, check=False)
        for person in ("alice", "nobody")
    }
    mode = machine.run("stat", "--format=%U %G %a", "/run/expandd/page.sock").stdout.split()

    assert asked["alice"].stdout == "HTTP/1.1 200 OK\n", asked["alice"].stderr
    assert "Permission denied" in asked["nobody"].stderr
    assert mode == ["expandd", "expandd", "660"]


def assert_alice_may_take(name: str, service: Service) -> None:
    """A result belongs to the group of the folder, whose people read and delete it."""
    service.result(name)
    owner = service.machine.run("stat", "--format=%U %G %a", f"{HOT}/outbox/{name}").stdout.split()
    assert owner == ["expandd", "expandd", "660"]
    service.machine.run("runuser", "-u", "alice", "--", "cp", f"{HOT}/outbox/{name}", "/tmp/mine.png")
    service.machine.run("runuser", "-u", "alice", "--", "rm", f"{HOT}/outbox/{name}")


PROVING = """
import asyncio
from expandd.adapters.images.decoders import PillowImages

async def main():
    async with PillowImages() as images:
        print(*(wall.value for wall in (await images.prove()).walls))

asyncio.run(main())
"""


def test_what_decodes_stands_behind_both_walls_under_the_filter_of_the_unit(service: Service) -> None:
    unit = service.machine.run("cat", f"{SOURCE}/systemd/expandd.service").stdout.splitlines()
    kinds = ("SystemCall", "MemoryDeny", "Restrict", "NoNewPriv", "Protect", "Proc", "Lock")
    limits = [f"--property={line}" for line in unit if line.startswith(kinds)]
    started = ("systemd-run", "--pipe", "--wait", "--quiet", "--uid=expandd", *limits)
    proven = service.machine.run(*started, "/opt/expandd/bin/python", "-c", PROVING)

    assert "SystemCallFilter" in str(limits)
    assert proven.stdout.split() == ["landlock", "seccomp"]


def test_the_example_is_at_work_once_it_is_installed_as_the_readme_says(service: Service) -> None:
    service.machine.run("install", "-m", "644", f"{SOURCE}/config.example.yaml", service.config)
    service.machine.run("sed", "-i", TO_THE_SIMULATOR, service.config)
    service.open()
    service.start()

    service.until("started", StatusText="2 folders, 0 waiting, 0 in progress, 0 in error", ActiveState="active")


def test_what_root_did_by_hand_the_service_can_go_on_with(service: Service) -> None:
    checked = service.expandd("check")
    assert f"Credentials: from /etc/expandd/piktid, which systemd hands to {service.unit}." in checked
    assert "Login: accepted" in checked
    service.start()
    service.end()
    service.machine.write(f"{service.state_dir}/journal.sqlite", b"no journal " * 1000)
    assert "A new job database is begun" in service.expandd("rebuild")
    owners = service.machine.run("find", service.state_dir, "-printf", "%u %P\n").stdout.splitlines()
    service.start()
    service.drop("pic.png")
    service.result("pic.png")

    assert {line.split()[0] for line in owners} == {"expandd"}
    assert {"expandd journal.sqlite", "expandd tokens.json", "expandd spool"} <= set(owners)


def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one_whole(service: Service) -> None:
    service.make_folder("/srv/expand/second one")
    service.configure(HOT, "/srv/expand/second one")
    service.configure(HOT, opened=False)
    service.start()
    pid = service.property("MainPID")

    service.configure(HOT, "/srv/expand/second one", opened=False)
    service.systemctl("reload")
    service.until("reloaded", StatusText="~2 folders", ActiveState="active")
    service.drop("pic.png", root="/srv/expand/second one")
    service.result("pic.png", root="/srv/expand/second one")

    service.configure("/srv/expand/nowhere", more="wurkers: 3\n", opened=False)
    assert service.machine.run("systemctl", "reload", service.unit, check=False).returncode != 0
    service.until("refused", StatusText="~2 errors, see the log", ActiveState="active")
    assert "Configuration refused at" in service.expandd("status")
    service.drop("more.png", root="/srv/expand/second one", seed=1)
    service.result("more.png", root="/srv/expand/second one")
    told = [entry["MESSAGE"] for entry in service.journal("EXPANDD_EVENT=reload.error", "PRIORITY=3")]

    assert any("workers" in text for text in told)
    assert any("/srv/expand/nowhere" in text for text in told)
    assert service.property("MainPID") == pid


def test_a_process_that_is_stopped_is_started_anew_by_the_watchdog(service: Service) -> None:
    service.start()
    service.kill("SIGSTOP")

    service.until("restarted", NRestarts="1", ActiveState="active", SubState="running")
    assert "Current thread" in service.log()
    service.drop("pic.png")
    service.result("pic.png")


def test_a_killed_process_goes_on_and_pays_nothing_twice(service: Service) -> None:
    before = service.paid()
    service.switch(generate_min=1.5, generate_max=1.5)
    service.start()
    service.drop("pic.png")
    service.until("paid", StatusText="~1 in progress")
    service.wait_for_paid(before + 1)
    service.kill("SIGKILL")

    service.until("restarted", NRestarts="1", ActiveState="active")
    service.result("pic.png")
    assert service.paid() == before + 1


def test_a_stop_is_over_in_time_and_loses_nothing(service: Service) -> None:
    before = service.paid()
    service.switch(generate_min=60.0, generate_max=60.0)
    service.start()
    service.drop("pic.png")
    service.wait_for_paid(before + 1)
    began = time.monotonic()
    service.systemctl("stop")
    seconds = time.monotonic() - began

    assert 0.9 < seconds < 6.0
    assert service.machine.show(service.unit, "Result", "ActiveState") == {
        "Result": "success",
        "ActiveState": "inactive",
    }
    service.simulator("clock", {"advance": 60})
    service.start()
    service.result("pic.png")
    assert service.paid() == before + 1


def test_an_encrypted_login_is_all_that_lies_on_the_disk(service: Service) -> None:
    plain, sealed = "/etc/expandd/piktid", "/etc/expandd/piktid.cred"
    try:
        service.machine.run("systemd-creds", "encrypt", "--name=piktid", plain, sealed)
        service.machine.run("rm", plain)
        drop_in = f"{SOURCE}/systemd/drop-ins/encrypted-login.conf"
        service.machine.run("install", "-m", "644", drop_in, f"/etc/systemd/system/{service.unit}.d/")
        service.machine.run("systemctl", "daemon-reload")
        service.start()
        service.drop("pic.png")
        service.result("pic.png")
    finally:
        service.machine.write(plain, LOGIN, 0o600)


def test_a_config_error_in_the_configuration_fails_once(service: Service) -> None:
    service.configure(HOT, more="wurkers: 4\n", opened=False)
    assert service.machine.run("systemctl", "start", service.unit, check=False).returncode != 0

    service.until("failed", ActiveState="failed", ExecMainStatus="78", NRestarts="0")
    told = [entry for entry in service.journal("PRIORITY=3") if "config.yaml:" in entry["MESSAGE"]]
    assert told


def test_a_missing_login_fails_once(service: Service) -> None:
    service.machine.run("mv", "/etc/expandd/piktid", "/etc/expandd/away")
    try:
        service.machine.run("systemctl", "start", service.unit, check=False)
        service.until("failed", ActiveState="failed", ExecMainStatus="243", NRestarts="0")
    finally:
        service.machine.run("mv", "/etc/expandd/away", "/etc/expandd/piktid")


def test_folders_of_somebody_else_are_refused_with_what_to_do(service: Service) -> None:
    service.make_folder("/srv/expand/theirs", mode="755", owner="root")
    service.configure("/srv/expand/theirs")
    service.machine.run("systemctl", "start", service.unit, check=False)

    service.until("failed", ActiveState="failed", ExecMainStatus="78")
    told = " ".join(entry["MESSAGE"] for entry in service.journal("PRIORITY=3"))
    assert "which the user expandd may not read and write" in told


LOOSE = "/srv/expand/loose"

SWAPS = {
    "the job's directory, to the state": "mkdir .lure; ln -s /var/lib/expandd .lure/{job}",
    "the work folder, to the parent of the state": "ln -s /var/lib .lure",
}

EXCHANGE = (
    '/usr/bin/python3 -c \'import ctypes; exit(ctypes.CDLL(None).renameat2(-100, b".lure", -100, b".expandd", 2))\''
)
"""In one instant: the service makes a work folder where there is none."""


def test_who_moves_the_work_folder_reaches_nothing_and_stops_nobody_else(service: Service) -> None:
    """Within the unit's own mounts, in an inbox that is not sticky: its people put links in the place of the folder."""

    def alice(script: str) -> None:
        service.machine.run("runuser", "-u", "alice", "--", "sh", "-ec", f"umask 007; cd {LOOSE}/inbox; {script}")

    service.make_folder(LOOSE)
    service.configure(HOT, LOOSE)
    service.switch(generate_min=1.0, generate_max=1.0)
    before = service.paid()
    service.start()
    inode = service.machine.run("stat", "-c", "%i", f"{service.state_dir}/journal.sqlite").stdout
    for number, swap in enumerate(SWAPS.values()):
        service.drop(f"tokens-{number}.png", LOOSE, seed=number)
        job = service.wait_for("job.claimed", times=2 * number + 1)["JOB"]
        alice(f"{swap.format(job=job)}; {EXCHANGE}")
        if swap.endswith("/var/lib .lure"):
            service.kill("SIGKILL")
            service.until("restarted", ActiveState="active", SubState="running", NRestarts="1")
        service.drop(f"good-{number}.png", seed=50 + number)
        service.result(f"good-{number}.png")
        alice(f"{EXCHANGE}; mv .lure .lure-{number}")
        service.appears(f"tokens-{number}.png", f"{LOOSE}/done")

    listed = service.machine.run("find", service.state_dir, "/var/lib/expandd", "-not", "-user", "expandd").stdout
    assert listed == ""
    assert service.machine.run("stat", "-c", "%i", f"{service.state_dir}/journal.sqlite").stdout == inode
    assert service.machine.names(f"{LOOSE}/done") == [f"tokens-{number}.png" for number in range(len(SWAPS))]
    assert service.machine.names(f"{HOT}/outbox") == [f"good-{number}.png" for number in range(len(SWAPS))]
    assert service.paid() == before + 2 * len(SWAPS)


def test_instances_share_nothing_but_the_program(service: Service) -> None:
    both = [Service(service.machine, name) for name in ("shop", "press")]
    try:
        for one in both:
            root = f"/srv/expand/{one.instance}"
            one.make_folder(root)
            one.machine.write(f"/etc/expandd/{one.instance}.piktid", LOGIN, 0o600)
            one.configure(root)
            one.drop(f"{one.instance}.png", root=root, seed=7)
        service.machine.run("systemctl", "start", *(one.unit for one in both))
        for one in both:
            one.result(f"{one.instance}.png", root=f"/srv/expand/{one.instance}")
            one.until("works", ActiveState="active", StatusText="~1 folder")
        service.start()
        for one in (both[0], service):
            one.systemctl("stop")
        assert both[1].property("ActiveState") == "active"
        assert "crashes" in service.machine.names("/run/expandd-press")
    finally:
        for one in both:
            one.end()
