"""What `expandd unit` prints is what systemd reads back: asked of systemd itself where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from expandd.domain.errors import ConfigurationError
from expandd.domain.settings import ClusterSettings, Hook, Hooks, HotFolder, PageSettings, Settings
from expandd.service.runtime.unit import drop_in, mount_unit
from tests.support.daemon import House
from tests.support.workshop import WIDE

STATE = Path("/var/lib/expandd")
AWKWARD = (
    "/srv/a b",
    "/srv/100%h",
    "/srv/Bücher 日本",
    "/srv/it's",
    '/srv/say "so"',
    "/srv/back\\slash",
    "/srv/$HOME;x",
)


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path, "http://127.0.0.1:9/api")
    house.build()
    return house


def hot(root: str, *, mount: str = "", **places: str) -> HotFolder:
    inbox, outbox, done, error = (
        Path(places.get(part, f"{root}/{part}")) for part in ("inbox", "outbox", "done", "error")
    )
    return HotFolder(
        inbox=inbox,
        outbox=outbox,
        done=done,
        error=error,
        preset=WIDE,
        preset_name="wide",
        require_mount=Path(mount) if mount else None,
    )


def lines(*folders: HotFolder, state: Path = STATE, instance: str = "") -> list[str]:
    return list(drop_in(Settings(state_dir=state, folders=folders), instance))


def values(printed: list[str], key: str) -> list[str]:
    return [line.partition("=")[2] for line in printed if line.startswith(f"{key}=")]


def test_parent_directory_of_a_hot_folder_is_writable_in_the_unit() -> None:
    assert values(lines(hot("/srv/expand/stories")), "ReadWritePaths") == ["-/srv/expand/stories"]


def test_of_a_directory_that_is_shared_with_others_only_the_parts_are_opened() -> None:
    assert values(lines(hot("/srv")), "ReadWritePaths") == ["-/srv/done", "-/srv/error", "-/srv/inbox", "-/srv/outbox"]


def test_a_directory_inside_another_is_named_once() -> None:
    printed = lines(hot("/srv/expand/a", outbox="/srv/expand/a/inbox/out"), hot("/srv/expand/a/deep"))

    assert "-/srv/expand/a/deep" in values(printed, "ReadWritePaths")
    assert "-/srv/expand/a/inbox/out" not in values(printed, "ReadWritePaths")


@pytest.mark.parametrize(
    ("state", "instance", "opened"),
    [
        ("/var/lib/expandd", "", []),
        ("/var/lib/expandd/shop", "shop", []),
        ("/data/state", "", ["-/data/state"]),
        ("/data/state", "shop", ["-/data/state"]),
    ],
)
def test_a_state_directory_that_systemd_makes_is_not_opened_again(state: str, instance: str, opened: list[str]) -> None:
    printed = lines(hot("/srv/expand/a"), state=Path(state), instance=instance)

    assert [path for path in values(printed, "ReadWritePaths") if "expand/a" not in path] == opened
    assert state in values(printed, "RequiresMountsFor")


def test_a_folder_that_waits_for_its_disk_does_not_keep_the_others_from_starting() -> None:
    printed = lines(hot("/mnt/nas one/print", mount="/mnt/nas one"), hot("/srv/expand/a"))

    assert not any("nas" in path for path in values(printed, "RequiresMountsFor"))
    assert values(printed, "Wants") == values(printed, "After") == ["mnt-nas\\x20one.mount"]


def test_of_the_home_directories_only_the_folder_is_seen() -> None:
    printed = lines(hot("/home/ann/My: 'pics'"))

    assert values(printed, "ProtectHome") == ["tmpfs"]
    assert values(printed, "BindPaths") == ["\"-/home/ann/My: 'pics'\""]
    assert values(printed, "ReadWritePaths") == []


def test_what_is_told_is_opened_too() -> None:
    settings = Settings(
        state_dir=STATE,
        folders=(hot("/srv/expand/a"),),
        hooks=Hooks(
            on_done=Hook(command=("/home/ann/tell me", "/home/ann/argument")),
            on_error=Hook(url="https://example.com/", secret_file=Path("/home/ann/secret")),
            on_paused=Hook(command=("/usr/local/bin/tell",)),
        ),
        page=PageSettings(listen="unix:/run/page/page.sock", password_file=Path("/etc/expandd/password")),
        metrics_file=Path("/var/lib/node_exporter/expandd.prom"),
        cluster=ClusterSettings(database_file=Path("/home/ann/database")),
    )
    printed = list(drop_in(settings))

    assert values(printed, "ReadWritePaths") == ["-/run/page", "-/srv/expand/a", "-/var/lib/node_exporter"]
    assert values(printed, "ProtectHome") == ["tmpfs"]
    assert values(printed, "BindReadOnlyPaths") == [
        '"-/home/ann/database"',
        '"-/home/ann/secret"',
        '"-/home/ann/tell me"',
    ]


def test_a_spool_that_hosts_share_is_opened_and_waited_for() -> None:
    cluster = ClusterSettings(database_file=Path("/etc/expandd/database"), spool=Path("/srv/share/spool"))
    printed = list(drop_in(Settings(state_dir=STATE, cluster=cluster, folders=(hot("/srv/share/hot"),))))
    assert values(printed, "RequiresMountsFor") == [
        "/srv/share/hot/done",
        "/srv/share/hot/error",
        "/srv/share/hot/inbox",
        "/srv/share/hot/outbox",
        "/srv/share/spool",
        "/var/lib/expandd",
    ]
    assert "/srv/share/spool" in " ".join(values(printed, "ReadWritePaths"))


@pytest.mark.parametrize(
    ("listen", "allowed"),
    [
        ("127.0.0.1:8080", ["tcp:8080"]),
        ("[::1]:443", ["tcp:443"]),
        ("localhost:0", ["tcp"]),
        ("unix:/run/expandd/page.sock", []),
        (None, []),
    ],
)
def test_a_page_on_a_port_opens_that_port_and_no_directory(listen: str | None, allowed: list[str]) -> None:
    page = PageSettings(listen=listen, password_file=Path("/etc/expandd/password")) if listen else None
    settings = Settings(state_dir=STATE, folders=(hot("/srv/a/b"),), page=page)
    printed = list(drop_in(settings))

    assert values(printed, "SocketBindAllow") == allowed
    assert [path for path in values(printed, "ReadWritePaths") if not path.startswith("-/run/")] == ["-/srv/a/b"]


def test_what_can_be_written_is_not_run_but_for_hooks_that_lie_there() -> None:
    hooks = Hooks(on_done=Hook(command=("/usr/local/bin/tell",)), on_error=Hook(command=("/srv/a/our tools/tell", "x")))
    printed = list(drop_in(Settings(state_dir=STATE, folders=(hot("/srv/a"), hot("/home/ann/b c")), hooks=hooks)))

    assert values(printed, "NoExecPaths") == ["-'/home/ann/b c'", *values(printed, "ReadWritePaths")]
    assert values(printed, "ExecPaths") == values(printed, "ReadOnlyPaths") == ["-'/srv/a/our tools/tell'"]


def test_a_drop_in_is_written_whole_or_the_old_one_stays(house: House) -> None:
    target = house.root / "expandd.service.d" / "folders.conf"
    written = house.call("unit", "--output", str(target))

    assert written.stdout == "Written. Next: systemctl daemon-reload && systemctl restart expandd.service\n"
    assert target.read_text() == house.call("unit").stdout
    house.config.write_text(house.config.read_text() + "wurkers: 3\n")
    assert house.call("unit", "--output", str(target)).returncode == 78
    assert "ReadWritePaths" in target.read_text()
    assert os.listdir(target.parent) == ["folders.conf"]


@pytest.mark.parametrize("name", ["/srv/two\nlines", "/srv/\udcff", "/srv/bell\a"])
def test_a_path_that_no_unit_can_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        lines(hot(name))


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="systemd-escape is not installed")
@pytest.mark.parametrize("path", [*AWKWARD, "/", "/.hidden/x", "/mnt/a-b_c.d:e"])
def test_a_mount_unit_is_named_as_systemd_names_it(path: str) -> None:
    asked = ["systemd-escape", "--path", "--suffix=mount", "--", path]

    assert mount_unit(Path(path)) == subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    printed = lines(*(hot(path) for path in AWKWARD), hot("/home/a b/x: y"), hot("/mnt/n/x", mount="/mnt/n"))
    unit = tmp_path / "folders.service"
    unit.write_text("\n".join([*printed, "ExecStart=/bin/true"]) + "\n")

    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)

    assert verified.stdout + verified.stderr == ""
