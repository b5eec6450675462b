from __future__ import annotations

from pathlib import Path

import pytest

from expandd.domain.selection import ignored_because, path_ignored_because

NEVER = (
    ".hidden.png",  # hidden
    ".expandd",  # our own work folder
    "._picture.jpg",  # the resource fork a Mac leaves on a share
    ".DS_Store",  # a Mac's view of the folder
    ".~lock.image.png#",  # LibreOffice
    ".image.png.Xa3f9Z",  # rsync while it writes
    ".syncthing.image.png.tmp",  # Syncthing while it writes
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
    "image.png.crdownload",  # Chrome
    "Unconfirmed 12345.crdownload",  # Chrome, before it knows the name
    "Unconfirmed 12345",
    ".com.google.Chrome.Xa3f9Z",  # Chrome on Linux
    "image.png.com.google.Chrome.x",
    "image.png.download",  # Safari
    "image.png.part",  # Firefox
    "image.png.PART",
    "image.png.partial",  # Internet Explorer, curl's habit
    "image.png.opdownload",  # Opera
    "image.png.!ut",  # uTorrent
    "image.png.aria2",  # aria2
    "image.png.filepart",  # WinSCP
    "image.png.tmp",  # anybody
    "image.temp",
    "image.png.writing",
    "image.png.uploading",  # FTP servers
    "image.png.upload",
    "image.png.lock",
    "image.png.swp",  # vim
    "image.png.swx",
    "image.png.bak~",
    "image.png~",  # many editors' old version
    "~$cture.docx",  # Office
    "~image.tmp",
    "~syncthing~image.png.tmp",  # Syncthing on Windows
    "psA1B2.tmp",  # Photoshop
    "image.png.smbdelete0001",  # Samba
    "image.png.fuse_hidden0001",
    "image.png.nfs00000000abcd",
    "image.png.!sync",  # Resilio
    "image.png.bts",
    "image.png.syncthing.tmp",
    "image.png.gdownload",  # Google Drive
    "image.png.error.json",  # our own, moved back together with its image
    "new\nline.part",  # names may hold anything
    "image.jpg.ffs_tmp",  # FreeFileSync
    "sync.ffs_db",
    "image.jpg.sb-1a2b3c4d-XyZ123",  # a Mac's safe save
    "image.jpg_original",  # exiftool
    "image.jpg_exiftool_tmp",
    "image.jpg.tacitpart",
    "image.jpg.duckpart",  # Cyberduck
    "image.jpg.crswap",  # Chrome, writing for a web page
    "image.jpg.megatmp",  # MEGA
    "image.jpg.bak",
    "Icon\r",  # a Mac's own icon of the folder
    "Picasa.ini",
    "~layout-a1b2.idlk",  # InDesign
    "4913",  # vim, trying whether it may write
)


def test_droppings_and_unfinished_files_are_never_picked_up() -> None:
    assert [name for name in NEVER if not ignored_because(name)] == []


CANDIDATES = (
    "image.png",
    "image",  # without an ending: its content decides
    "PICTURE.JPG",
    "image.tmp.png",  # has its final name
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
)


def test_everything_else_is_a_candidate() -> None:
    assert [name for name in CANDIDATES if ignored_because(name) is not None] == []


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("album/image.png", False),
        ("album/.git/image.png", True),  # below a hidden directory
        ("@eaDir/image.png", True),  # below a server's own directory
        ("album/image.png.part", True),
        ("album.part/image.png", True),  # a folder that is still on its way
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


@pytest.mark.parametrize("name", ["original.jpg", "image_original.jpg", "image.sb-1.jpg", "49134", "bak.png", "icon"])
def test_names_that_only_look_like_those_of_programs_are_candidates(name: str) -> None:
    assert ignored_because(name) is None
