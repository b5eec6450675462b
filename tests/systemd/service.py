"""What tests do to the installed service: configure it, drop files as people do, ask systemd and the journal."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.images import an_image
from tests.systemd.machine import ASK, PATIENCE, Machine

SOURCE = "/run/share/expandd"
HOT = "/srv/expand/stories"
PARTS = ("inbox", "outbox", "done", "error")
LOGIN = "PIKTID_EMAIL=simulator@example.com\nPIKTID_PASSWORD=simulator\n"

PROGRAM = "/opt/expandd"
EXPANDD = f"{PROGRAM}/bin/expandd"
TO_THE_SIMULATOR = "s#base_url: .*#base_url: http://127.0.0.1:8787/api#"

SIMULATOR = """[Service]
ExecStart=/opt/expandd/bin/expandd simulate --switch poll_limit=0.05 --switch pro=true --switch credits=1000
"""

OPEN = """
made="/var/tmp/$(sha256sum "$1" | tr -d -c '[:alnum:]')"
test -e "$made" || /opt/expandd/bin/expandd unit --config "$1" --instance "$3" --output "$made"
mkdir -p "$2"
cp "$made" "$2/folders.conf"
"""
"""What `expandd unit` makes of a configuration, made once for each that is the same."""

QUICK = "[Service]\nWatchdogSec=2\nRestartSec=100ms\nTimeoutStopSec=10\n"
"""The unit's own figures are for machines that run for months; the test is about what happens, not how soon."""


def install(machine: Machine, environ: Mapping[str, str], kept: Path) -> None:
    """As systemd/README.md says, from a checkout, as root; with the simulator in place of the API, and a person.

    `kept` is where the program is left for other machines: only the first of them asks the package index.
    """
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _put_down(machine, environ)
            copied(machine.path(PROGRAM), kept)
        else:
            copied(kept, machine.path(PROGRAM))
    machine.write("/etc/systemd/system/simulator.service", SIMULATOR)
    machine.run("systemctl", "start", "simulator.service")
    machine.write("/etc/expandd/piktid", LOGIN, 0o600)
    machine.run("sh", "-c", f"sed '{TO_THE_SIMULATOR}' {SOURCE}/config.example.yaml > /etc/expandd/config.yaml")
    machine.run(EXPANDD, "install")
    machine.run("useradd", "--create-home", "--groups", "expandd", "alice")


def index() -> dict[str, str]:
    """Where pip finds packages, as the environment of the tests says."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def _put_down(machine: Machine, environ: Mapping[str, str]) -> None:
    machine.with_network("/usr/bin/python3", "-m", "venv", PROGRAM, environ=environ)
    pip = (f"{PROGRAM}/bin/pip", "install", "--quiet")
    machine.with_network(*pip, "--require-hashes", "-r", f"{SOURCE}/requirements.txt", environ=environ)
    machine.with_network(*pip, "--no-deps", SOURCE, environ=environ)


def copied(source: Path, target: Path) -> None:
    """A directory with all that is in it, its times too: byte code is good for a source of one time alone."""
    part = target.with_name(f"{target.name}.part")
    shutil.copytree(source, part, symlinks=True)
    part.rename(target)


@dataclass(frozen=True, slots=True)
class Service:
    """One instance: expandd.service, or expandd@NAME.service."""

    machine: Machine
    instance: str = ""

    @property
    def unit(self) -> str:
        return f"expandd@{self.instance}.service" if self.instance else "expandd.service"

    @property
    def config(self) -> str:
        return f"/etc/expandd/{self.instance or 'config'}.yaml"

    @property
    def state_dir(self) -> str:
        return f"/var/lib/expandd/{self.instance}".rstrip("/")

    # --- how it is set up ---

    def reset(self) -> None:
        """As on the first day."""
        self.end()
        self.switch(generate_min=0.05, generate_max=0.1)
        self.machine.run("sh", "-c", f"rm -rf /var/lib/expandd/* {HOT}/*/* {HOT}/*/.expandd")
        self.machine.run("rm", "-rf", f"/etc/systemd/system/{self.unit}.d")
        self.configure(HOT)

    def end(self) -> None:
        self.machine.run("systemctl", "stop", self.unit, check=False)
        self.machine.run("systemctl", "reset-failed", self.unit, check=False)

    def configure(
        self, *roots: str, opened: bool = True, offsets: str = "{top: 10, left: 25%}", more: str = ""
    ) -> None:
        """Write the configuration and, unless told otherwise, the drop-in that `expandd unit` makes of it."""
        folders = "".join(f"  - {{root: '{root}', offsets: {offsets}}}\n" for root in roots)
        self.machine.write(
            self.config,
            f"state_dir: {self.state_dir}\nstop_timeout: 1s\n{more}"
            "api: {base_url: 'http://127.0.0.1:8787/api', poll_interval: 100ms, timeout: 5s}\n"
            f"defaults: {{settle: 100ms, settle_max: 20s}}\nfolders:\n{folders}",
        )
        if opened:
            self.open()

    def open(self) -> None:
        directory = f"/etc/systemd/system/{self.unit}.d"
        self.machine.run("sh", "-ec", OPEN, "sh", self.config, directory, self.instance)
        self.machine.write(f"/etc/systemd/system/{self.unit}.d/quick.conf", QUICK)
        self.machine.run("systemctl", "daemon-reload")

    def expandd(self, verb: str, *arguments: str, **environ: str) -> str:
        """A verb as root calls it by hand; what it prints."""
        line = ("/opt/expandd/bin/expandd", verb, "--config", self.config, *arguments)
        return self.machine.run(*line, environ=environ).stdout

    def before_start(self, **scripts: str) -> None:
        """Run each script within the service's own sandbox before each start; the log says of each that ended well."""
        probe = "[Service]\n"
        for name, script in scripts.items():
            self.machine.write(f"/opt/{name}.py", f"{script}\nprint('{name}: as it must be')\n")
            probe += f"ExecStartPre=-/opt/expandd/bin/python /opt/{name}.py\n"
        self.machine.write(f"/etc/systemd/system/{self.unit}.d/probe.conf", probe)
        self.machine.run("systemctl", "daemon-reload")

    def make_folder(self, root: str, mode: str = "2770", owner: str = "expandd") -> None:
        parts = [f"{root}/{part}" for part in PARTS]
        self.machine.run("install", "-d", "-m", mode, "-o", owner, "-g", owner, root, *parts)

    # --- what is done to it ---

    def start(self) -> None:
        started = self.machine.run("systemctl", "start", self.unit, check=False)
        assert started.returncode == 0, self.log()

    def log(self) -> str:
        return self.machine.run("journalctl", "--no-pager", "-n", "150", "-u", self.unit).stdout

    def systemctl(self, verb: str) -> None:
        self.machine.run("systemctl", verb, self.unit)

    def kill(self, signal: str) -> None:
        assert int(self.property("MainPID")) > 1
        self.machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={signal}", self.unit)

    def drop(self, name: str, root: str = HOT, seed: int = 0, umask: str = "022") -> None:
        """As alice does, by copying."""
        self.machine.write(f"/run/share/{name}", an_image("png", seed=seed))
        copy = f"umask {umask}; cat /run/share/{name} > '{root}/inbox/{name}'"
        self.machine.run("runuser", "-u", "alice", "--", "sh", "-c", copy)

    def switch(self, **changes: Any) -> None:
        self.simulator("switches", changes)

    def simulator(self, door: str, value: object = None) -> Any:
        """The simulator's control door."""
        script = (
            "import sys, urllib.request as u;"
            "a = sys.argv; d = a[2].encode() if len(a) > 2 else None;"
            "print(u.urlopen(u.Request('http://127.0.0.1:8787/simulator/' + a[1], d)).read().decode())"
        )
        more = [json.dumps(value)] if value is not None else []
        deadline = time.monotonic() + PATIENCE
        while True:
            asked = self.machine.run("/usr/bin/python3", "-c", script, door, *more, check=False)
            if asked.returncode == 0:
                return json.loads(asked.stdout)
            # The server has just been started.
            assert time.monotonic() < deadline, asked.stderr
            time.sleep(0.1)

    def wait_for_paid(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.paid() < number:
            assert time.monotonic() < deadline, f"{self.paid()} of {number} paid"
            time.sleep(ASK)

    def paid(self) -> int:
        return sum(self.simulator("counts")["generates_by_image"].values())

    # --- what it says ---

    def property(self, name: str) -> str:
        return self.machine.show(self.unit, name)[name]

    def until(self, what: str, **wanted: str) -> dict[str, str]:
        """Until the unit's properties are these; a value that begins with ~ need only be part of it."""

        def good(found: dict[str, str]) -> bool:
            return all(
                value[1:] in found[name] if value.startswith("~") else found[name] == value
                for name, value in wanted.items()
            )

        return self.machine.until(self.unit, what, good, *wanted)

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The entries since it was last started."""
        invocation = self.property("InvocationID")
        return self.machine.journal(f"_SYSTEMD_INVOCATION_ID={invocation}", *matches)

    def wait_for(self, event: str, times: int = 1) -> dict[str, Any]:
        """The entry of an event; the journal is asked again until it is there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.machine.journal(f"_SYSTEMD_UNIT={self.unit}", f"EXPANDD_EVENT={event}", "--since", "-60s")
            invocation = self.property("InvocationID") if found else ""
            found = [entry for entry in found if entry["_SYSTEMD_INVOCATION_ID"] == invocation]
            if len(found) >= times:
                return found[times - 1]
            if time.monotonic() > deadline:
                raise AssertionError(f"no {event} came:\n{self.log()}")
            time.sleep(ASK)

    def result(self, name: str, root: str = HOT) -> None:
        """Until a result lies in the outbox."""
        self.appears(name, f"{root}/outbox")

    def appears(self, name: str, directory: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while name not in self.machine.names(directory):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {name} in {directory}:\n{self.log()}")
            time.sleep(0.05)
