from __future__ import annotations

from pathlib import Path

import pytest

from expandd.domain.selection import ignored_because, path_ignored_because


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.png",  # hidden
        ".expandd",  # our own work folder
        "._picture.jpg",  # the resource fork a Mac leaves on a share
        ".DS_Store",  # a Mac's view of the folder
        ".~lock.picture.png#",  # LibreOffice
        ".picture.png.Xa3f9Z",  # rsync while it writes
        ".syncthing.picture.png.tmp",  # Syncthing while it writes
        ".nfs000000000001",  # NFS: deleted and still open
        "Thumbs.db",  # Windows
        "THUMBS.DB",  # the same, shouted
        "ehthumbs.db",  # Windows Media Center
        "desktop.ini",  # Windows
        "@eaDir",  # Synology
        "#recycle",  # Synology's bin
        "@Recycle",  # QNAP's bin
        "$RECYCLE.BIN",  # the bin of Windows
        "System Volume Information",  # Windows
        "lost+found",  # ext4
        "__MACOSX",  # a zip made on a Mac
        "Network Trash Folder",  # AppleShare
        "Temporary Items",  # AppleShare
        "picture.png.crdownload",  # Chrome
        "Unconfirmed 12345.crdownload",  # Chrome, before it knows the name
        "Unconfirmed 12345",
        ".com.google.Chrome.Xa3f9Z",  # Chrome on Linux
        "picture.png.com.google.Chrome.x",
        "picture.png.download",  # Safari
        "picture.png.part",  # Firefox
        "picture.png.PART",
        "picture.png.partial",  # Internet Explorer, curl's habit
        "picture.png.opdownload",  # Opera
        "picture.png.!ut",  # uTorrent
        "picture.png.aria2",  # aria2
        "picture.png.filepart",  # WinSCP
        "picture.png.tmp",  # anybody
        "picture.temp",
        "picture.png.writing",
        "picture.png.uploading",  # FTP servers
        "picture.png.upload",
        "picture.png.lock",
        "picture.png.swp",  # vim
        "picture.png.swx",
        "picture.png.bak~",
        "picture.png~",  # many editors' old version
        "~$cture.docx",  # Office
        "~picture.tmp",
        "~syncthing~picture.png.tmp",  # Syncthing on Windows
        "psA1B2.tmp",  # Photoshop
        "picture.png.smbdelete0001",  # Samba
        "picture.png.fuse_hidden0001",
        "picture.png.nfs00000000abcd",
        "picture.png.!sync",  # Resilio
        "picture.png.bts",
        "picture.png.syncthing.tmp",
        "picture.png.gdownload",  # Google Drive
        "picture.png.error.json",  # our own, moved back together with its picture
        "new\nline.part",  # names may hold anything
    ],
)
def test_droppings_and_unfinished_files_are_never_picked_up(name: str) -> None:
    assert ignored_because(name)


@pytest.mark.parametrize(
    "name",
    [
        "picture.png",
        "picture",  # without an ending: its content decides
        "PICTURE.JPG",
        "picture.tmp.png",  # has its final name
        "download.png",
        "partial.jpg",
        "my.part.1.webp",
        "thumbs.db.png",
        "desktop.png",
        "a~b.png",
        "#1.png",
        "@home.png",
        "$100.png",
        "notes.txt",  # clearly something else: the error folder says so
        "-rf.png",
        " .png",  # begins with a space
        "ünïcode.png",
        "b\udce4d.png",  # no UTF-8
        "new\nline.png",
        "tmpfile.png",
        "unconfirmed.png",
        "x" * 255,
    ],
)
def test_everything_else_is_a_candidate(name: str) -> None:
    assert ignored_because(name) is None


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("album/picture.png", False),
        ("album/.git/picture.png", True),  # below a hidden directory
        ("@eaDir/picture.png", True),  # below a server's own directory
        ("album/picture.png.part", True),
        ("album.part/picture.png", True),  # a folder that is still on its way
    ],
)
def test_every_part_of_a_path_must_be_one_that_is_picked_up(path: str, ignored: bool) -> None:
    assert (path_ignored_because(Path(path)) is not None) is ignored


def test_the_reason_is_a_sentence_for_people() -> None:
    assert (
        ignored_because("a.part") == "its name marks a browser's download: it is picked up once it has its final name"
    )
    assert ignored_because("Thumbs.db") == "it belongs to the operating system or the file server"
    assert ignored_because(".x") == "its name begins with a dot: hidden and temporary files are left alone"
