"""The real program, while somebody puts what is theirs in the place of its work folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from expandd.domain.errors import ExpanddError
from expandd.service.cli.verbs import act_as_owner
from tests.e2e.conftest import house, server
from tests.support.daemon import House
from tests.support.images import an_image
from tests.trust.conftest import DROPPER, dropper

__all__ = ["house", "server"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what is another user's"),
]


def swapped(inbox: Path, state_dir: Path, job_id: str) -> None:
    """The dropper's own directory in the place of the work folder, and in it a link to the state directory."""
    (inbox / ".expandd").rename(inbox / ".aside")
    (inbox / ".expandd").mkdir()
    (inbox / ".expandd" / job_id).symlink_to(state_dir)
    os.chown(inbox / ".expandd", DROPPER, DROPPER)
    os.lchown(inbox / ".expandd" / job_id, DROPPER, DROPPER)


@pytest.mark.parametrize("state", ["uploaded", "accepted", "downloaded"])
def test_a_work_folder_swapped_under_a_job_costs_nobody_anything(house: House, state: str) -> None:
    house.build(folders={"hot": "offsets: {top: 10}", "good": "offsets: {top: 10}"})
    inbox = house.folder() / "inbox"
    with house.running() as daemon:
        (inbox / "lock.png").write_bytes(an_image("png", 64, 64))
        job_id = daemon.wait_for(f"job.{state}")["job"]
        swapped(inbox, house.state_dir, job_id)
        before = {path: path.stat().st_ino for path in house.state_dir.iterdir() if path.is_file()}
        (house.folder("good") / "inbox" / "good.png").write_bytes(an_image("png", 80, 64))
        daemon.wait_for("job.finished", lambda line: "good.png" in str(line))
        kept = all(path.exists() for path in before if path.name in {"lock", "journal.sqlite", "tokens.json"})
        (inbox / ".expandd").rename(inbox / ".lure")
        (inbox / ".aside").rename(inbox / ".expandd")
        daemon.wait_for("job.finished", lambda line: "lock.png" in str(line))

    assert kept
    assert (house.state_dir / "lock").stat().st_ino == before[house.state_dir / "lock"]
    assert os.listdir(house.folder() / "done") == ["lock.png"]
    assert len(os.listdir(house.folder() / "outbox")) == 1


def test_a_user_who_may_not_look_into_the_state_is_told_whose_it_is() -> None:
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        (Path(base) / "state").mkdir(0o700)
        (Path(base) / "config.yaml").write_text("state_dir: state\n")

        act_as_owner(Path(base) / "config.yaml")
        with dropper(), pytest.raises(ExpanddError, match=r"belongs to the user root.* Run this as root"):
            act_as_owner(Path(base) / "config.yaml")
