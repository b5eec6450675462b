"""SIGHUP gives a running daemon its new configuration, and leaves the work in progress alone."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import Daemon, House, names
from tests.support.images import an_image

ONE = "offsets: {top: 10, left: 25%}"


def reload(daemon: Daemon, event: str = "reload.done", times: int = 1) -> dict[str, object]:
    daemon.process.send_signal(signal.SIGHUP)
    return daemon.wait_for(event, times=times)


def drop(house: House, folder: str, name: str = "pic.png", seed: int = 0) -> None:
    (house.folder(folder) / "inbox" / name).write_bytes(an_image("png", seed=seed))


def test_a_folder_that_is_added_is_worked_on_and_one_that_is_removed_is_not(house: House) -> None:
    with house.running() as daemon:
        house.build(folders={"new": ONE})
        line = reload(daemon)
        drop(house, "hot")
        drop(house, "new")
        daemon.finished()

        assert line["added"] == [str(house.folder("new") / "inbox")]
        assert line["removed"] == [str(house.folder("hot") / "inbox")]
        assert names(house.folder("new") / "outbox") == ["pic.png"]
        assert names(house.folder("hot") / "inbox") == ["pic.png"]
        assert daemon.stop() == 0


def test_jobs_in_progress_keep_what_they_started_with(house: House, server: Simulator) -> None:
    server.switch(generate_min=1.5, generate_max=1.5)
    drop(house, "hot", "old.png")
    with house.running() as daemon:
        daemon.wait_for("job.accepted")
        house.build(folders={"hot": 'offsets: {top: 77}, name: "new-{stem}{ext}"'})
        reload(daemon)
        drop(house, "hot", "pic.png", seed=1)
        daemon.finished(times=2)

    by_name = {line["file"]: line["offsets"] for line in daemon.lines if line.get("event") == "job.finished"}
    assert names(house.folder() / "outbox") == ["new-pic.png", "old.png"]
    assert by_name["old.png"]["top"] == 10
    assert by_name["pic.png"]["top"] == 77
    assert_good_client(server, images=2)


def test_jobs_of_a_removed_folder_run_to_their_end(house: House, server: Simulator) -> None:
    server.switch(generate_min=1.5, generate_max=1.5)
    drop(house, "hot")
    with house.running() as daemon:
        daemon.wait_for("job.accepted")
        house.build(folders={"new": ONE})
        reload(daemon)
        daemon.finished()

        assert names(house.folder() / "outbox") == ["pic.png"]
        assert daemon.process.poll() is None


def test_a_config_error_leaves_everything_as_it_was_and_all_of_them_are_told(house: House) -> None:
    with house.running() as daemon:
        good = house.config.read_text()
        house.config.write_text(
            good.replace("settle: 100ms, settle_max: 1s", "setle: 100ms").replace("top: 10", "top: ten")
        )
        refused = reload(daemon, "reload.refused")
        told = [line["message"] for line in daemon.lines if line.get("event") == "reload.error"]
        drop(house, "hot")
        daemon.finished()

        assert refused["errors"] == len(told) == 2
        assert any("Did you mean 'settle'" in text for text in told)

        house.config.write_text(good)
        assert reload(daemon)["changed"] == []


def test_a_reload_waits_for_the_verdict_and_status_shows_what_is_not_in_force(house: House) -> None:
    with house.running() as daemon:
        good = house.config.read_text()
        house.config.write_text(good.replace("timeout: 5s", "timeout: 6s").replace("top: 10", "top: 77"))
        in_part, then = house.call("reload"), house.call("status")
        drop(house, "hot")
        offsets = daemon.finished()["offsets"]
        house.config.write_text(good.replace("timeout:", "timeot:"))
        refused, now = house.call("reload"), json.loads(house.call("status", "--json").stdout)
        house.config.write_text(good)
        taken, at_last = house.call("reload"), house.call("status")

    assert (in_part.returncode, refused.returncode, taken.returncode) == (78, 78, 0)
    assert "All is taken but api.timeout." in in_part.stderr
    assert "Not in force: the new api.timeout." in then.stdout
    assert offsets["top"] == 77
    assert "Did you mean 'timeout'" in refused.stderr
    assert "Did you mean 'timeout'" in now["configuration"]["errors"][0]
    assert "The configuration is taken." in taken.stdout
    assert "onfiguration" not in at_last.stdout + at_last.stderr


def test_another_state_directory_changes_nothing_else_either(house: House) -> None:
    with house.running() as daemon:
        house.build(top="workers: 9", folders={"new": ONE})
        house.config.write_text(house.config.read_text().replace(str(house.state_dir), str(house.root / "other")))
        reload(daemon, "reload.refused")
        told = daemon.wait_for("reload.error")["message"]
        nobody = house.call("reload")
        drop(house, "hot")
        daemon.finished()

    assert "state_dir" in told
    assert "systemctl restart expandd" in told
    assert nobody.returncode == 2
    assert f"no daemon runs with the state directory {house.root}/other" in nobody.stderr


def test_a_folder_that_another_instance_works_on_is_refused(house: House, server: Simulator) -> None:
    other = House(house.root / "second", server.api_url)
    other.root.mkdir()
    other.build(folders={"theirs": ONE})
    with house.running() as daemon, other.running() as holder:
        _serve_also(house, other.folder("theirs"))
        reload(daemon, "reload.refused")
        told = daemon.wait_for("reload.error")["message"]

        assert str(holder.process.pid) in told
        assert holder.stop() == 0
        reload(daemon)
        assert daemon.stop() == 0


def test_a_folder_that_is_left_can_be_taken_by_another_instance(house: House, server: Simulator) -> None:
    other = House(house.root / "second", server.api_url)
    other.root.mkdir()
    other.build(folders={"theirs": ONE})
    with house.running() as daemon:
        house.build(folders={"new": ONE, "hot": ONE})
        reload(daemon)
        house.build(folders={"new": ONE})
        reload(daemon, times=2)
        daemon.wait_for("folder.left")
        _serve_also(other, house.folder("hot"))
        with other.running() as second:
            assert second.stop() == 0


def test_more_workers_are_at_work_at_once(house: House, server: Simulator) -> None:
    house.build(top="workers: 1")
    server.switch(generate_min=1.0, generate_max=1.0)
    with house.running() as daemon:
        house.build(top="workers: 3")
        reload(daemon)
        for number in range(3):
            drop(house, "hot", f"pic{number}.png", seed=number)
        daemon.wait_for("job.accepted", times=3)

        assert not [line for line in daemon.lines if line.get("event") == "job.finished"]


def _serve_also(house: House, folder: Path) -> None:
    house.config.write_text(f"{house.config.read_text()}  - {{root: {folder}, {ONE}}}\n")


def test_what_cannot_be_asked_about_is_refused_like_any_other_config_error(house: House) -> None:
    long = house.root / ("x" * 300) / "hot"
    loop = house.root / "loop"
    loop.symlink_to(loop)
    with house.running() as daemon:
        good = house.config.read_text()
        house.config.write_text(
            good.replace("poll_interval: 100ms", f"poll_interval: {'10' * 200}, unknown_wait: .inf")
            + f"  - {{root: {long}, {ONE}}}\n  - {{root: {loop}, {ONE}}}\n"
        )
        refused = reload(daemon, "reload.refused")
        started = house.call("once")
        house.config.write_text("[" * 60_000)
        reload(daemon, "reload.refused", times=2)
        house.config.write_text(good)
        drop(house, "hot")
        daemon.finished()

    assert refused["errors"] == 4
    assert started.returncode == 78
    assert "Traceback" not in started.stderr
    assert started.stderr.count(f"{house.config}:") == 4
    assert names(house.folder() / "outbox") == ["pic.png"]
