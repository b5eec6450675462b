"""What people see of a daemon that works, one that waits, and one that is gone."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from expandd.simulator.server import Simulator
from tests.support.daemon import PATIENCE, House, command, names
from tests.support.images import an_image


def seen(house: House, verb: str, *words: str, until: Callable[[Any], bool]) -> Any:
    """What a verb tells, asked again until it is so: what the daemon tells of itself is up to a second old."""
    deadline = time.monotonic() + PATIENCE
    while True:
        outcome = house.call(verb, *words, "--json")
        values = json.loads(outcome.stdout)
        if until(values):
            return values
        assert time.monotonic() < deadline, outcome.stdout


def test_a_working_daemon_is_seen_by_status_why_ledger_and_metrics(house: House) -> None:
    metrics = house.root / "expandd.prom"
    house.build(top=f"metrics_file: {metrics}", defaults="settle: 200ms, settle_max: 2s, scan_interval: 500ms")
    hot = house.folder()
    with house.running() as daemon:
        (hot / "inbox" / "first.png").write_bytes(an_image("png"))
        daemon.finished()
        (hot / "inbox" / "PAUSE").touch()
        daemon.wait_for("pause.started")
        (hot / "inbox" / "second.png").write_bytes(an_image("png", seed=2))
        status = seen(house, "status", until=lambda values: bool(values["pauses"]))
        why = seen(house, "why", "second.png", until=lambda values: values["files"][0]["hindrance"] == "pause")
        (hot / "inbox" / "PAUSE").unlink()
        daemon.finished(times=2)
        seen(house, "status", until=lambda values: not values["pauses"])
        told = metrics.read_text()
    stopped = json.loads(house.call("status", "--json").stdout)

    assert status["running"].startswith("process ")
    assert status["pauses"][0]["reason"] == "paused"
    assert (status["folders"][0]["done"], status["folders"][0]["paid_today"]) == (1, 1)
    assert status["folders"][0]["watched"] is True
    assert why["files"][0]["waits_on"][0]["reason"] == "paused"
    assert stopped["running"] == ""
    assert stopped["folders"][0]["done"] == 2
    assert 'expandd_waiting_files{daemon="expandd",folder="hot"}' in told
    assert json.loads(house.call("ledger", "--json").stdout)["in_all"]["delivered"] == 2


def test_a_plan_pays_nothing_and_changes_nothing(house: House, server: Simulator) -> None:
    hot = house.folder()
    (hot / "inbox" / "a.png").write_bytes(an_image("png", 120, 80))
    plan = json.loads(house.call("plan", "--json").stdout)

    assert plan["files"][0]["result_size"] == {"width": 150, "height": 90}
    assert [path.name for path in (hot / "inbox").iterdir()] == ["a.png"]
    assert not house.state_dir.exists()
    assert server.counts().calls == {}


def test_a_state_disk_that_takes_no_snapshot_is_told_of_once_and_the_work_goes_on(house: House) -> None:
    (house.state_dir / ".snapshot.json").mkdir(parents=True)
    hot = house.folder()
    with house.running() as daemon:
        daemon.wait_for("snapshot.failed")
        for number in range(2):
            (hot / "inbox" / f"{number}.png").write_bytes(an_image("png", seed=number))
            daemon.finished(times=number + 1)
        assert daemon.stop() == 0

    assert sum(line.get("event") == "snapshot.failed" for line in daemon.lines) == 1
    assert json.loads(house.call("status", "--json").stdout)["folders"][0]["done"] == 2


def test_a_watched_status_is_a_json_object_a_line_until_it_is_interrupted(house: House) -> None:
    arguments = [*command(), "status", "--config", str(house.config), "--watch", "--json", "--every", "0.2"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()

        assert process.wait(timeout=PATIENCE) == 0
    assert datetime.fromisoformat(told[0]["at"]) < datetime.fromisoformat(told[1]["at"])
    assert told[0]["running"] == ""


DEEP = b"[" * 60_000


def test_no_file_under_a_reports_name_holds_up_a_job_or_makes_a_verb_stumble(house: House, server: Simulator) -> None:
    inbox, error = house.folder() / "inbox", house.folder() / "error"
    for name in ("pic.png.error.json", "x.error.json", "a~12345678.error.json"):
        (inbox / name).write_bytes(DEEP)
        (error / name).write_bytes(DEEP)
    (error / "bad.png").write_bytes(b"GIF89a no image of ours")
    (error / "bad.png.error.json").write_bytes(DEEP)
    (inbox / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.finished()
        there = (str(error / "bad.png"), str(error / "pic.png.error.json"))
        said = [house.call("why", path) for path in there]
        said += [house.call(*verb) for verb in (("status", "--json"), ("plan",), ("retry", "bad.png"))]

    assert "pic.png" in names(house.folder() / "outbox")
    assert server.counts().generates_accepted == 1
    for outcome in said:
        assert "Traceback" not in outcome.stderr
        assert outcome.returncode in {0, 2}
        assert "gives no answer" not in outcome.stdout


def test_reading_and_steering_verbs_work_with_config_errors(house: House, server: Simulator) -> None:
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.finished()
        house.config.write_text(house.config.read_text().replace("offsets:", "offfsets:") + "wurkers: 3\n")
        looked = [house.call(*verb) for verb in (("status",), ("why", "pic.png"), ("ledger",), ("pause",))]
        redone = house.call("redo", "pic.png", "--yes")
        house.config.write_text(house.config.read_text().replace("state_dir:", "state_dirr:") + "folders: [")
        looked.append(house.call("resume"))
        house.config.write_text("nothing: at all")
        blind = house.call("status")

    assert [outcome.returncode for outcome in (*looked, redone, blind)] == [0, 0, 0, 0, 0, 78, 78]
    assert "Everything goes on" in looked.pop().stdout
    for outcome in looked:
        assert "wurkers" in outcome.stderr
        assert "told by the one that was loaded last" in outcome.stderr
    assert "pic.png" in looked[1].stdout
    assert str(house.folder()) in looked[0].stdout


def test_a_missing_folder_is_told_beside_the_answer(house: House) -> None:
    (house.folder() / "outbox").rmdir()
    seen = house.call("status")

    assert seen.returncode == 0
    assert "mkdir -p" in seen.stderr
    assert "without what is missing on the disk" in seen.stderr


def test_status_table_fits_the_terminal(house: House) -> None:
    shown, terminal = pty.openpty()
    arguments = [*command(), "status", "--config", str(house.config)]
    environ = {**os.environ, "COLUMNS": "90", "TERM": "xterm-256color"}
    told = []
    for wish in ({}, {"NO_COLOR": "1"}):
        subprocess.run(arguments, stdout=terminal, env=environ | wish, check=True)
        told.append(os.read(shown, 1 << 16).decode())
    os.close(shown)
    os.close(terminal)

    assert "in progress" in told[1]
    assert "33m" in told[0]
    assert "33m" not in told[1]
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", told[1]).splitlines())) <= 90
