"""What the kernel's table of mounts tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from expandd.adapters.files.mount_guard import Mounts, mount_id


@pytest.mark.parametrize(
    ("kind", "options", "soft"),
    [
        ("nfs4 server:/srv", "rw,vers=4.1,soft,proto=tcp", True),
        ("nfs server:/srv", "rw,softerr", True),
        ("nfs4 server:/srv", "rw,vers=4.1,hard,softreval", False),
        ("ext4 /dev/soft", "rw,soft", False),
        ("nfs4", "", False),
    ],
)
def test_a_share_that_gives_up_is_told_from_one_that_waits(tmp_path: Path, kind: str, options: str, soft: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"{mount_id(tmp_path)} 27 0:21 / {tmp_path} rw,relatime shared:1 - {kind} {options}\n")
    assert Mounts.read(table).is_soft(tmp_path) is soft
