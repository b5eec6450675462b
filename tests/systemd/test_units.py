"""The units as files: what systemd-analyze says of them, and that they say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.observability.hooks import GRACE
from expandd.service.runtime.daemon import START

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ("expandd.service", "expandd@.service")
DROP_INS = ("addresses.conf", "encrypted-login.conf")

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def exposure(unit: Path) -> float:
    return float(run("systemd-analyze", "security", "--offline=true", str(unit)).split()[-3])


def keys(name: str) -> dict[str, str]:
    lines = [line for line in (UNITS / name).read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@analyze
@pytest.mark.parametrize("name", SERVICES)
def test_the_exposure_is_low(name: str) -> None:
    assert exposure(UNITS / name) <= 1.1


@analyze
def test_the_exposure_is_lower_when_addresses_are_listed(tmp_path: Path) -> None:
    shutil.copy(UNITS / "expandd.service", tmp_path)
    drop_ins = tmp_path / "expandd.service.d"
    drop_ins.mkdir()
    shutil.copy(UNITS / "drop-ins" / "addresses.conf", drop_ins)

    assert exposure(tmp_path / "expandd.service") <= 0.9


@analyze
@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("drop_in", [None, *DROP_INS])
def test_systemd_finds_nothing_to_complain_about(name: str, drop_in: str | None, tmp_path: Path) -> None:
    """The program is not installed where the unit looks for it: one that is takes its place."""
    text = (UNITS / name).read_text().replace("/opt/expandd/bin/expandd", "/bin/true")
    (tmp_path / name).write_text(text)
    if drop_in:
        drop_ins = tmp_path / f"{name}.d"
        drop_ins.mkdir()
        shutil.copy(UNITS / "drop-ins" / drop_in, drop_ins)

    assert run("systemd-analyze", "verify", str(tmp_path / name)) == ""


@analyze
def test_image_readers_may_give_up_what_they_do_not_need() -> None:
    lines = (UNITS / "expandd.service").read_text().splitlines()
    allowed = next(line for line in lines if line.startswith("SystemCallFilter=landlock")).split("=")[1].split()

    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"} <= set(allowed)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_each_alert_is_given_in_time_and_none_for_a_daemon_that_works() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", str(Path(__file__).parent / "alerts.yml"))


def test_the_image_is_built_of_files_that_there_are_and_compose_builds_it() -> None:
    container, root = UNITS / "container", UNITS.parent
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (container / "Containerfile").read_text(), re.MULTILINE)
    service = yaml.safe_load((container / "compose.yaml").read_text())["services"]["expandd"]
    build = service["build"]

    assert [name for line in copied for name in line.split() if not (root / name).exists()] == []
    assert (container / build["context"] / build["dockerfile"]).resolve() == container / "Containerfile"
    assert service["read_only"]
    assert float(service["stop_grace_period"].rstrip("s")) > Settings(state_dir=Path("/x")).stop_timeout + GRACE


@analyze
def test_systemd_knows_every_word_of_the_slice() -> None:
    assert run("systemd-analyze", "verify", str(UNITS / "drop-ins" / "expandd.slice")) == ""


def test_every_line_has_its_reason() -> None:
    """A comment stands above each line, or above the first of a few that belong together."""
    lines = (UNITS / "expandd.service").read_text().partition("# No new rights")
    bare = [line for line in ("# " + lines[2]).split("\n\n")[0].splitlines() if line and not line.startswith("#")]
    reasons = [line for line in lines[2].splitlines() if line.startswith("#")]

    assert len(reasons) * 2 >= len(bare)


def test_an_instance_differs_from_the_single_service_in_nothing_but_names() -> None:
    one, many = keys("expandd.service"), keys("expandd@.service")
    differing = {key for key in one.keys() | many.keys() if one.get(key) != many.get(key)}

    names = {"Description", "NoExecPaths", "StateDirectory", "RuntimeDirectory", "LoadCredential"}

    assert differing == names | {"ExecStart", "ExecReload"}


def test_everything_has_its_limit_and_nothing_is_run_from_where_people_write() -> None:
    found = keys("expandd.service")

    assert int(found["LimitNOFILE"]) >= 1024
    assert {"MemoryMax", "TasksMax"} <= found.keys()
    assert found["SocketBindDeny"] == "any"
    assert found["NoExecPaths"].split() == ["-/var/lib/expandd", "-/run/expandd", "-/tmp", "-/var/tmp", "-/dev/shm"]


def test_the_unit_waits_longer_for_a_stop_than_expandd_does() -> None:
    assert float(keys("expandd.service")["TimeoutStopSec"]) > Settings(state_dir=Path("/x")).stop_timeout + GRACE


def test_the_unit_allows_a_start_what_expandd_counts_on() -> None:
    assert float(keys("expandd.service")["TimeoutStartSec"]) == START


def test_what_does_not_mend_itself_is_not_tried_again() -> None:
    codes = keys("expandd.service")["RestartPreventExitStatus"].split()

    assert {str(int(ExitCode.CONFIGURATION)), str(int(ExitCode.RUNNING_ALREADY))} <= set(codes)
