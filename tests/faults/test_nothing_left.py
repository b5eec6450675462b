"""What the system has no more of: inotify instances, descriptors. Work goes on by scans, with no trace in the log."""

from __future__ import annotations

import pytest

from expandd.simulator.server import Simulator
from tests.support.daemon import House, command
from tests.support.images import an_image


@pytest.mark.usefixtures("own_namespace")
@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_without_inotify_the_inboxes_are_scanned_and_it_is_said_once(
    house: House, server: Simulator, limit: str
) -> None:
    house.build(folders={"a": "offsets: {top: 10}", "b": "offsets: {top: 10}"})
    none_left = ["unshare", "-Ur", "sh", "-c", f'echo 0 > /proc/sys/user/{limit}; exec "$@"']
    with house.running([*none_left, "sh", *command(), "run", "--config", str(house.config)]) as daemon:
        for folder in ("a", "b"):
            (house.folder(folder) / "inbox" / "pic.png").write_bytes(an_image("png", 200, 160))
        daemon.finished(times=2)
        assert daemon.stop() == 0

    told = [line for line in daemon.lines if line["event"] == "watch.renewed"]
    assert len(told) == 2
    assert all("scanned instead" in line["why"] for line in told)
    assert not [line for line in daemon.lines if line["event"] in {"bug.found", "not.json"}]
    assert server.counts().calls["generate"] == {"200": 2}
