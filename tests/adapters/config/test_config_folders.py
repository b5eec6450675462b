# ruff: noqa: E501, ISC004 - whole sentences are compared
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from expandd.adapters.config.load import load, load_for_service
from expandd.domain.errors import ConfigurationError

SIDE_BY_SIDE = (
    "Give each a directory of its own, side by side. "
    "Otherwise results could be picked up as new images, and paid for again."
)


def configured(base: Path, folders: str, state: str = "state") -> Path:
    path = base / "config.yaml"
    path.write_text(f"state_dir: {state}\nfolders:\n{folders}")
    return path


def hot(*roots: str) -> str:
    return "".join(f"  - {{root: {root}, offsets: {{top: 1}}}}\n" for root in roots)


def made(base: Path, *roots: str) -> None:
    for root in roots:
        for name in ("inbox", "outbox", "done", "error"):
            (base / root / name).mkdir(parents=True)


def config_errors(path: Path) -> list[str]:
    try:
        load(path)
    except ConfigurationError as error:
        return [str(problem).replace(f"{path.parent}/", "") for problem in error.problems]
    return []


def by_itself(inbox: str = "in", outbox: str = "out", done: str = "done", error: str = "err") -> str:
    paths = f"inbox: {inbox}\n    outbox: {outbox}\n    done: {done}\n    error: {error}"
    return f"  - {paths}\n    offsets: {{top: 1}}\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("in", "out", "done", "err"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_root_that_lacks_directories_names_them_all_with_one_command(tmp_path: Path) -> None:
    made(tmp_path, "hot")
    (tmp_path / "hot/done").rmdir()
    (tmp_path / "hot/error").rmdir()
    assert config_errors(configured(tmp_path, hot("hot"))) == [
        "config.yaml:3: folders.0.root: expected a directory with done and error in it, found hot, which has no done or "
        "error. Make what is missing: mkdir -p hot/done hot/error",
    ]


def test_a_missing_directory_is_named_with_its_line(base: Path) -> None:
    assert config_errors(configured(base, by_itself(outbox="gone"))) == [
        "config.yaml:4: folders.0.outbox: expected a directory for the outbox that exists and can be read and written, "
        "found gone, which does not exist. Make it: mkdir -p gone (or mount the drive that it is on).",
    ]


def test_a_file_in_the_place_of_a_directory_is_refused(base: Path) -> None:
    (base / "file").touch()
    assert config_errors(configured(base, by_itself(done="file"))) == [
        "config.yaml:5: folders.0.done: expected a directory for the done folder that exists and can be read and "
        "written, found file, which is not a directory. Name a directory, or move what is in its place.",
    ]


def test_a_dangling_link_and_a_circle_of_links_are_refused(base: Path) -> None:
    (base / "dangling").symlink_to("gone")
    (base / "circle").symlink_to("circle")
    found = config_errors(configured(base, by_itself(done="dangling", error="circle")))
    assert [sentence.split(" expected")[0] for sentence in found] == [
        "config.yaml:5: folders.0.done:",
        "config.yaml:6: folders.0.error:",
    ]


@pytest.mark.parametrize(
    ("folder", "where", "words", "found"),
    [
        (by_itself(outbox="in"), "4: folders.0.outbox", "outbox", "in, which is the same directory as in (folders.0.inbox on line 3)"),
        (by_itself(outbox="in/out"), "4: folders.0.outbox", "outbox", "in/out, which lies inside in (folders.0.inbox on line 3)"),
        (by_itself(inbox="out/in"), "3: folders.0.inbox", "inbox", "out/in, which lies inside out (folders.0.outbox on line 4)"),
        (by_itself(error="link"), "6: folders.0.error", "error folder", "link, which is the same directory as in (folders.0.inbox on line 3)"),
        (by_itself(error="link/out"), "6: folders.0.error", "error folder", "link/out, which lies inside in (folders.0.inbox on line 3)"),
        (by_itself(error="in/../in"), "6: folders.0.error", "error folder", "in, which is the same directory as in (folders.0.inbox on line 3)"),
    ],
)  # fmt: skip
def test_directories_that_overlap_are_refused(base: Path, folder: str, where: str, words: str, found: str) -> None:
    (base / "in/out").mkdir()
    (base / "out/in").mkdir()
    (base / "link").symlink_to("in")
    assert config_errors(configured(base, folder)) == [
        f"config.yaml:{where}: expected a directory for the {words} that is not, and is not inside, "
        f"another folder of expandd, found {found}. {SIDE_BY_SIDE}",
    ]


def test_two_hot_folders_share_nothing(base: Path) -> None:
    made(base, "hot")
    folders = hot("hot") + by_itself(done="hot/done")
    assert config_errors(configured(base, folders)) == [
        "config.yaml:6: folders.1.done: expected a directory for the done folder that is not, and is not inside, another "
        "folder of expandd, found hot/done, which is the same directory as hot/done (the done folder of folders.0.root "
        "on line 3). Give each a directory of its own, side by side.",
    ]


def test_the_state_directory_lies_in_no_hot_folder_also_before_it_is_made(base: Path) -> None:
    [sentence] = config_errors(configured(base, by_itself(), state="in/state"))
    assert "found in/state, which lies inside in (folders.0.inbox on line 3)" in sentence


def test_a_hot_folder_inside_the_state_directory_is_refused(base: Path) -> None:
    made(base, "state/hot")
    assert len(config_errors(configured(base, hot("state/hot")))) == 4


def test_many_folders_side_by_side_are_fine(tmp_path: Path) -> None:
    roots = [f"hot{number}" for number in range(50)]
    made(tmp_path, *roots)
    assert len(load(configured(tmp_path, hot(*roots))).folders) == 50


def test_linked_work_folder_pauses_its_folder_alone(base: Path) -> None:
    (base / "in/.expandd").symlink_to("/proc")
    assert config_errors(configured(base, by_itself())) == []


def test_a_work_folder_of_the_inbox_itself_is_fine(base: Path) -> None:
    (base / "in/.expandd").mkdir()
    assert config_errors(configured(base, by_itself())) == []


@pytest.mark.parametrize(
    ("spool", "said"),
    [
        (
            "in/spool",
            "which lies inside in (folders.0.inbox on line 3). Give each a directory of its own, side by side. Otherwise results could be picked up",
        ),
        (
            "nowhere",
            "expected a directory for the spool that exists and can be read and written, found nowhere, which does not exist",
        ),
        ("spool", ""),
    ],
)
def test_a_spool_that_hosts_share_is_a_directory_of_its_own(base: Path, spool: str, said: str) -> None:
    (base / "in/spool").mkdir()
    (base / "spool").mkdir()
    path = configured(base, f"{by_itself()}cluster: {{database_file: database, spool: {spool}}}\n")
    (base / "database").write_text("postgresql://u@h/jobs")
    (base / "database").chmod(0o600)
    found = " ".join(config_errors(path))
    assert said in found if said else not found


@contextmanager
def as_nobody(*owned: Path) -> Iterator[None]:
    """Root may write everywhere: these tests need another effective user."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    for path in owned:
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_the_daemon_may_not_write_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        made(base, "hot")
        path = configured(base, hot("hot"), state="/tmp")
        with as_nobody(*(base / "hot" / role for role in ("inbox", "outbox", "error"))):
            found = [sentence for sentence in config_errors(path) if "state_dir" not in sentence]
    expected = (
        "config.yaml:3: folders.0.root: expected a directory for the done folder that exists and can be read and "
        "written, found hot/done, which the user nobody may not read and write. Give it to that user: chown nobody "
    )
    assert any(sentence.startswith(expected) for sentence in found), found


def test_only_the_user_of_the_service_is_asked_whether_it_may_write_there() -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        made(base, "hot")
        (base / "state").mkdir()
        path = configured(base, hot("hot"))
        with as_nobody(base / "state"):
            assert [folder.inbox for folder in load_for_service(path).folders] == [base / "hot/inbox"]
            assert "may not read and write" in config_errors(path)[0]


def test_what_is_missing_is_named_to_whoever_sets_up_a_service(tmp_path: Path) -> None:
    path = configured(tmp_path, hot("hot"))
    with pytest.raises(ConfigurationError, match="which has no"):
        load_for_service(path)


def test_whoever_is_not_the_service_is_told_whose_state_it_is() -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        made(base, "hot")
        (base / "state").mkdir(mode=0o700)
        path = configured(base, hot("hot"))
        with as_nobody():
            os.seteuid(0)
            os.chown(base / "state", 1, 1)
            os.seteuid(65534)
            found = [sentence for sentence in config_errors(path) if "state_dir" in sentence]
    assert len(found) == 1
    assert found[0].endswith("may not read and write. It belongs to daemon: do this as root, or as that user.")


def test_nobody_is_told_to_give_away_the_parent_of_a_state_directory() -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        made(base, "hot")
        path = configured(base, hot("hot"))
        with as_nobody(*(base / "hot" / role for role in ("inbox", "outbox", "done", "error"))):
            found = [sentence for sentence in config_errors(path) if "state_dir" in sentence]
    assert len(found) == 1
    assert found[0].endswith(
        "whose parent is one which the user nobody may not read and write. Make it for that user, as root: "
        "install -d -m 700 -o nobody state. Or name a directory of your own."
    ), found


SCRIPT = """
import subprocess, sys
from pathlib import Path
from expandd.adapters.config.load import load, load_for_service
from expandd.domain.errors import ConfigurationError
base = Path(sys.argv[1])
for command in sys.argv[2:]:
    subprocess.run(["mount", *command.split()], cwd=base, check=True)
try:
    load(base / "config.yaml")
except ConfigurationError as error:
    print(str(error).replace(f"{base}/", ""))
"""

Mounted = Callable[..., list[str]]


@pytest.fixture
def mounted(base: Path) -> Mounted:
    """Load base/config.yaml after some mounts, in a mount namespace that ends with the process."""

    def run(*mounts: str) -> list[str]:
        command = ["unshare", "--mount", sys.executable, "-c", SCRIPT, str(base), *mounts]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    try:
        subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", base / "in"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine allows no mounts")
    return run


def test_a_bind_mount_of_the_inbox_is_the_inbox(base: Path, mounted: Mounted) -> None:
    configured(base, by_itself())
    [sentence] = mounted("--bind in out")
    assert "found out, which is the same directory as in (folders.0.inbox on line 3)" in sentence


@pytest.mark.parametrize("mount", ["--bind in/deep out", "--bind in/deep/deeper out"])
def test_a_bind_mount_of_what_lies_in_the_inbox_lies_in_the_inbox(base: Path, mounted: Mounted, mount: str) -> None:
    (base / "in/deep/deeper").mkdir(parents=True)
    configured(base, by_itself())
    [sentence] = mounted(mount)
    assert "found out, which lies inside in (folders.0.inbox on line 3)" in sentence


def test_what_lies_in_a_bind_mount_of_the_inbox_lies_in_the_inbox(base: Path, mounted: Mounted) -> None:
    (base / "in/deep").mkdir()
    configured(base, by_itself(outbox="out/deep"))
    [sentence] = mounted("--bind in out")
    assert "found out/deep, which lies inside in (folders.0.inbox on line 3)" in sentence


def test_a_work_folder_on_another_mount_is_refused(base: Path, mounted: Mounted) -> None:
    (base / "in/.expandd").mkdir()
    configured(base, by_itself())
    for mount in ("-t tmpfs none in/.expandd", "--bind in/.expandd in/.expandd"):
        [sentence] = mounted(mount)
        assert "found in/.expandd elsewhere" in sentence


def test_a_read_only_drive_is_refused(base: Path, mounted: Mounted) -> None:
    configured(base, by_itself())
    [sentence] = mounted("-t tmpfs -o ro none out")
    assert "found out, which is on a read-only drive. Mount the drive so that it can be written." in sentence
