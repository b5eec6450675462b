"""Paths below people's hands are walked: no link on them is followed, and a work folder is this user's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from expandd.adapters.files.roots import NotOurs, Roots

SECRET = b"not yours"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "pic.png").write_bytes(SECRET)
    return directory


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return inbox


def read(roots: Roots, path: Path) -> bytes:
    descriptor = roots.open_file(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_a_file_below_a_root_is_read(inbox: Path) -> None:
    (inbox / "a" / "b").mkdir(parents=True)
    (inbox / "a" / "b" / "pic.png").write_bytes(b"mine")

    assert read(Roots([inbox]), inbox / "a" / "b" / "pic.png") == b"mine"


@pytest.mark.parametrize(
    "plant",
    [
        lambda inbox, secret: (inbox / "sub").symlink_to(secret),
        lambda inbox, secret: (inbox / "sub").symlink_to("../state"),
        lambda inbox, secret: ((inbox / "sub").mkdir(), (inbox / "sub" / "pic.png").symlink_to(secret / "pic.png")),
        lambda inbox, _: ((inbox / "sub").mkdir(), (inbox / "sub" / "pic.png").symlink_to("nothing")),
        lambda inbox, _: (inbox / "sub" / "pic.png").mkdir(parents=True),
    ],
    ids=["link", "relative link", "last part", "dangling link", "directory"],
)
def test_what_is_no_file_on_a_way_without_links_is_not_opened(
    inbox: Path, secret: Path, plant: Callable[[Path, Path], object]
) -> None:
    plant(inbox, secret)
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        Roots([inbox]).open_file(inbox / "sub" / "pic.png")


def test_a_way_does_not_go_up(inbox: Path, secret: Path) -> None:
    with pytest.raises(NotADirectoryError):
        Roots([inbox]).open_file(inbox / ".." / secret.name / "pic.png")


def test_a_root_may_be_a_link_of_the_administrator(inbox: Path, tmp_path: Path) -> None:
    (inbox / "pic.png").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("inbox")

    assert read(Roots([tmp_path / "link"]), tmp_path / "link" / "pic.png") == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what is another user's")
@pytest.mark.parametrize("where", ["inbox", "done"])
def test_a_root_that_somebody_made_a_link_is_not_entered(tmp_path: Path, secret: Path, where: str) -> None:
    root = tmp_path / where
    root.symlink_to(secret)
    os.lchown(root, 23001, 23001)
    with pytest.raises(NotOurs, match="user 23001 has made"):
        Roots([root]).open_file(root / "pic.png")


def test_a_root_within_a_root_is_reached_from_the_outer_one(inbox: Path, secret: Path) -> None:
    (inbox / "sub").symlink_to(secret)
    with pytest.raises(NotADirectoryError):
        Roots([inbox, inbox / "sub"]).open_file(inbox / "sub" / "pic.png")


def test_a_work_folder_that_is_a_link_is_not_entered(inbox: Path, secret: Path) -> None:
    (inbox / ".expandd").symlink_to(secret)
    for roots in (Roots([inbox]), Roots()):
        with pytest.raises(NotOurs, match="symbolic link"):
            roots.open_file(inbox / ".expandd" / "pic.png")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what is another user's")
@pytest.mark.parametrize("whose", [".expandd", ".expandd/job-1"])
def test_a_work_folder_of_somebody_else_is_not_entered(inbox: Path, whose: str) -> None:
    (inbox / ".expandd" / "job-1").mkdir(parents=True)
    (inbox / ".expandd" / "job-1" / "pic.png").write_bytes(b"theirs")
    os.chown(inbox / whose, 23001, 23001)
    with pytest.raises(NotOurs, match="belongs to user 23001"):
        Roots([inbox]).open_file(inbox / ".expandd" / "job-1" / "pic.png")


def test_a_work_folder_that_others_may_write_to_is_closed_to_them(inbox: Path) -> None:
    (inbox / ".expandd").mkdir()
    (inbox / ".expandd").chmod(0o2777)
    Roots([inbox]).make_directories(inbox, Path(".expandd", "job-1"))

    assert (inbox / ".expandd").stat().st_mode & 0o777 == 0o700
    assert (inbox / ".expandd" / "job-1").stat().st_mode & 0o777 == 0o700


def test_no_descriptor_is_left_over(inbox: Path, secret: Path) -> None:
    roots = Roots([inbox])
    (inbox / "sub").symlink_to(secret)
    before = len(os.listdir("/proc/self/fd"))
    for path in (inbox / "sub" / "pic.png", inbox / "nothing", inbox / "no" / "where", Path("/no/where/at/all")):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            roots.open_file(path)

    assert len(os.listdir("/proc/self/fd")) == before
