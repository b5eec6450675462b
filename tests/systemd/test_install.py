"""`expandd install` and `uninstall` on a real systemd, as root runs them."""

from __future__ import annotations

import pytest

from tests.systemd.service import EXPANDD, HOT, LOGIN, TO_THE_SIMULATOR, Service

pytestmark = pytest.mark.timeout(300)
"""The first of them installs expandd, from a package index."""

MADE = ("/etc/systemd/system/expandd.service", "/etc/sysusers.d/expandd.conf", "/usr/local/bin/expandd", "/opt/expandd")


def there(service: Service) -> list[str]:
    return [path for path in MADE if service.machine.run("test", "-e", path, check=False).returncode == 0]


def test_it_comes_and_goes_and_comes_again_and_data_stays(service: Service) -> None:
    machine = service.machine
    # Instances of other tests have ended; they would keep the program.
    machine.run("sh", "-c", "rm -rf /etc/systemd/system/expandd@?*.service.d")
    service.start()
    service.drop("pic.png")
    service.result("pic.png")
    machine.run("cp", "-a", "/opt/expandd", "/opt/kept")
    shown = machine.run(EXPANDD, "uninstall", "--dry-run").stdout
    assert there(service) == list(MADE)

    gone = machine.run(EXPANDD, "uninstall").stdout
    left = there(service)
    machine.run("mv", "/opt/kept", "/opt/expandd")
    assert left == []
    assert service.property("LoadState") == "not-found"
    assert set(shown.splitlines()) == set(gone.splitlines())
    assert "rm -r /opt/expandd" in shown
    for path in ("/var/lib/expandd", "/etc/expandd/piktid", f"{HOT}/outbox"):
        assert f"  {path}  " in gone
    assert machine.names(f"{HOT}/outbox") == ["pic.png"]

    first = machine.run(EXPANDD, "install").stdout
    pid = service.property("MainPID")
    second = machine.run(EXPANDD, "install").stdout
    assert "systemctl restart expandd.service" in first
    assert [line for line in second.splitlines() if line.startswith(("install ", "systemctl ", "ln "))] == []
    assert "expandd.service runs: 1 folder" in second
    assert (service.property("MainPID"), service.property("UnitFileState")) == (pid, "enabled")

    service.configure("/srv/expand/new", opened=False)
    third = machine.run(EXPANDD, "install").stdout
    service.drop("more.png", root="/srv/expand/new", seed=1)
    service.result("more.png", root="/srv/expand/new")
    assert "| `burst` |" in machine.run("/usr/local/bin/expandd", "help", "troubleshooting").stdout
    assert "install -d -m 3770 -o expandd -g expandd /srv/expand/new/inbox" in third
    assert service.property("MainPID") != pid


def test_an_instance_begins_once_it_has_a_login_and_goes_alone(service: Service) -> None:
    machine, bakery = service.machine, Service(service.machine, "bakery")
    service.start()
    without = machine.run(EXPANDD, "install", "--instance", "bakery", check=False)
    assert without.returncode == 78
    assert "/etc/expandd/bakery.piktid" in without.stdout
    assert machine.run("stat", "-c", "%a", "/etc/expandd/bakery.piktid").stdout == "600\n"
    machine.write("/etc/expandd/bakery.piktid", LOGIN, 0o600)
    machine.run("sed", "-i", f"{TO_THE_SIMULATOR}; s/poll_interval: .*/poll_interval: 100ms/", bakery.config)

    machine.run(EXPANDD, "install", "--instance", "bakery")
    bakery.drop("pic.png", root="/srv/expand/bakery/stories")
    bakery.result("pic.png", root="/srv/expand/bakery/stories")
    refused = machine.run(EXPANDD, "uninstall", check=False)
    gone = machine.run(EXPANDD, "uninstall", "--instance", "bakery").stdout

    assert "expandd@bakery.service" in refused.stderr
    assert "  /var/lib/expandd/bakery  " in gone
    assert bakery.property("ActiveState") == "inactive"
    assert service.property("ActiveState") == "active"
    assert there(service) == list(MADE)
