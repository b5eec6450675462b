"""The metrics, from events and a real overview, as Prometheus reads them."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from expandd.adapters.files.scan import FolderCounter
from expandd.domain.errors import AccountAway, Later, OutcomeUnknown
from expandd.domain.events import BugFound, Event, FileSettled, JobClosed, JobMoved, PauseStarted
from expandd.domain.job import FolderSnapshot, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import PageSettings, Settings
from expandd.engine.ports import Api
from expandd.service.observability.logs import set_up
from expandd.service.observability.metering import InstrumentedApi, Metering, Publisher
from expandd.service.observability.metrics import Metrics
from expandd.service.reports.overview import build_overview, labels_of
from tests.support.configurations import directories, loaded
from tests.support.jobs import OFFSETS, a_job_in, a_snapshot
from tests.support.shown import a_folder

S = JobState
SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    directories(tmp_path / "cold")
    folders = "[{root: hot, offsets: {top: 1}, budget: {day: 5}}, {root: cold, offsets: {top: 1}}]"
    settings = loaded(tmp_path, f"state_dir: state\nfolders: {folders}\n")
    settings.state_dir.mkdir()
    return settings


def samples(metrics: Metrics) -> dict[str, float]:
    """By name and labels, as `name{label="value"}` without the quotes."""
    families = text_string_to_metric_families(metrics.text()[0].decode())
    return {
        f"{one.name}{{{','.join(f'{key}={value}' for key, value in sorted(one.labels.items()))}}}": one.value
        for family in families
        for one in family.samples
    }


def run_of(folder: FolderSnapshot, *states: JobState) -> list[JobMoved]:
    """The events of a job on its way through these states."""
    jobs = [a_job_in(state, folder=folder) for state in states]
    befores: list[JobState | None] = [None, *states[:-1]]
    return [JobMoved(job, before) for job, before in zip(jobs, befores, strict=True)]


def test_a_paid_image_counts_once_however_it_went(settings: Settings) -> None:
    metrics, folder = Metrics(settings), FolderSnapshot.of(settings.folders[0])
    lost = a_job_in(S.UNKNOWN, folder=folder)
    events: list[Event] = [
        *run_of(folder, S.CLAIMED, S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.RENDERED, S.DOWNLOADED, S.DELIVERED, S.DONE),
        JobClosed(a_job_in(S.DONE, folder=folder)),
        JobMoved(lost, S.SUBMITTING),
        JobMoved(
            lost.with_(
                state=S.RENDERED, state_changes=(*lost.state_changes, replace(lost.state_changes[-1], state=S.RENDERED))
            ),
            S.UNKNOWN,
        ),
        JobClosed(a_job_in(S.FAILED, folder=a_snapshot())),
    ]
    for event in events:
        metrics(event)
    found = samples(metrics)

    assert found["expandd_paid_total{folder=hot}"] == 2
    assert found["expandd_paid_total{folder=cold}"] == 0
    assert found["expandd_jobs_finished_total{folder=hot,outcome=done}"] == 1
    assert found["expandd_jobs_finished_total{folder=other,outcome=failed}"] == 1
    assert found["expandd_unknown_outcomes_total{folder=hot}"] == 1
    assert found["expandd_job_seconds_sum{state=accepted}"] == 1
    assert found["expandd_image_seconds_count{folder=hot}"] == 1


def test_what_is_true_now_leaves_no_line_behind_once_it_is_over(settings: Settings) -> None:
    metrics = Metrics(settings)
    inbox = settings.folders[1].inbox
    (settings.folders[0].inbox / "a.png").touch()
    inbox.rmdir()
    metrics.see(build_overview(settings, FolderCounter()), settings)
    away = samples(metrics)
    inbox.mkdir()
    metrics.see(build_overview(settings, FolderCounter()), settings)
    back = samples(metrics)

    assert away["expandd_waiting_files{folder=hot}"] == 1
    assert away["expandd_budget_left{folder=hot,period=day}"] == 5
    assert away["expandd_paused{pause=cold,reason=inbox_unavailable}"] == 1
    assert away["expandd_folder_up{folder=cold}"] == 0
    assert not [name for name in back if name.startswith("expandd_paused")]
    assert back["expandd_folder_up{folder=cold}"] == 1


def test_labels_are_short_and_never_two_folders_in_one() -> None:
    hot, cold, odd, other = (
        a_folder(Path(path)) for path in ("/srv/hot/inbox", "/srv/cold/inbox", "/srv/print/in", "/elsewhere/hot/inbox")
    )
    named = replace(other, label="stories")

    assert list(labels_of([hot, cold, named]).values()) == ["hot", "cold", "stories"]
    assert list(labels_of([hot, odd, other]).values()) == [str(hot.inbox), "print", str(other.inbox)]


def test_what_could_not_be_told_is_read_where_it_is_counted(settings: Settings) -> None:
    metrics, lines = Metrics(settings), ["a"]
    metrics.loses("log_lines", lambda: len(lines))
    before = samples(metrics)
    lines.append("b")
    after = samples(metrics)

    assert before["expandd_lost_total{what=log_lines}"] == 1
    assert after["expandd_lost_total{what=log_lines}"] == 2


@pytest.mark.parametrize("named", [{}, {"metrics_file": Path("/m.prom")}, {"page": PageSettings(listen="127.0.0.1:1")}])
def test_nothing_is_counted_for_nobody_and_from_the_first_reader_on_all_is(
    settings: Settings, named: dict[str, Any]
) -> None:
    settings = replace(settings, **named)
    metering, event = Metering(settings), JobClosed(a_job_in(S.DONE, folder=FolderSnapshot.of(settings.folders[0])))
    metering.loses("log_lines", lambda: 3)
    metering(event)
    metering.called("generate", "ok", 1.0)
    before = samples(metering.begun(settings))
    metering(event)
    metering.called("generate", "ok", 1.0)
    after = samples(metering.begun(settings))

    finished = "expandd_jobs_finished_total{folder=hot,outcome=done}"
    requests = "expandd_api_requests_total{call=generate,outcome=ok}"
    assert before[finished] == (1 if named else 0)
    assert (after[finished] - before[finished], after[requests] - before.get(requests, 0)) == (1, 1)
    assert after["expandd_lost_total{what=log_lines}"] == 3


class FailingApi:
    """Every call that is asked for ends with the error it was given, if any."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def generate(self, *_: object) -> str:
        if self.error is not None:
            raise self.error
        return "task"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (AccountAway(PauseReason.RATE_LIMITED, "slower"), "rate_limited"),
        (OutcomeUnknown("lost"), "unknown"),
        (Later("not now"), "later"),
        (ValueError("ours"), "bug"),
    ],
)
async def test_calls_are_counted_by_how_they_ended(settings: Settings, error: Exception | None, outcome: str) -> None:
    metrics = Metrics(settings)
    api = InstrumentedApi(cast("Api", FailingApi(error)), metrics.called)
    await asyncio.gather(api.generate("image", OFFSETS), return_exceptions=True)

    assert samples(metrics)[f"expandd_api_requests_total{{call=generate,outcome={outcome}}}"] == 1


async def test_the_file_is_written_whole_for_other_users_and_a_full_disk_is_told_once(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out" / "expandd.prom"
    publisher = Publisher(Metering(settings), lambda: replace(settings, metrics_file=file), set_up(sys.stderr))
    for _ in range(2):
        await publisher.publish(file)
    file.parent.mkdir()
    await publisher.publish(file)

    assert capsys.readouterr().err.count("metrics.failed") == 1
    assert b"expandd_waiting_files" in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["expandd.prom"]


async def test_the_file_is_for_a_node_exporter_and_says_so_once_it_is_stopped(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "expandd.prom"
    publisher = Publisher(Metering(settings), lambda: replace(settings, metrics_file=file), set_up(sys.stderr))
    await publisher.publish(file)
    running = file.read_text()
    task = asyncio.create_task(publisher.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    stopped = file.read_text()
    await publisher.publish(file)

    assert '\nexpandd_up{daemon="expandd"} 1.0\n' in running
    assert "process_" not in running
    assert "_created" not in running
    assert "process_" in publisher.text()[0].decode()
    assert [line for line in stopped.splitlines() if not line.startswith("#")] == ['expandd_up{daemon="expandd"} 0.0']
    assert set(stopped.splitlines()[:2]) <= set(running.splitlines())
    assert file.read_text() == stopped


def a_busy(settings: Settings) -> Metrics:
    """Metrics of which each has a line."""
    metrics, folder = Metrics(settings), FolderSnapshot.of(settings.folders[0])
    settings.folders[1].inbox.rmdir()
    events: list[Event] = [
        *run_of(folder, S.CLAIMED, S.UPLOADED, S.SUBMITTING, S.ACCEPTED),
        JobClosed(a_job_in(S.DONE, folder=folder)),
        FileSettled(folder.inbox, Path("a"), missed=True),
        PauseStarted("service", PauseReason.API_UNREACHABLE, "gone"),
        BugFound("here", ValueError()),
    ]
    for event in events:
        metrics(event)
    metrics.called("generate", "ok", 0.1)
    metrics.loses("log_lines", lambda: 1)
    metrics.see(build_overview(settings, FolderCounter()), settings)
    return metrics


def test_every_metric_of_dashboard_and_alerts_exists_with_the_labels_it_is_asked_by(settings: Settings) -> None:
    told = a_busy(settings).text()[0].decode()
    lines = {name: line for line in told.splitlines() if (name := re.split("[{ ]", line)[0]).startswith("expandd_")}
    dashboard = json.loads((SYSTEMD / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked.append(dashboard["templating"]["list"][1]["query"]["query"])
    rules = yaml.safe_load((SYSTEMD / "prometheus-rules.yml").read_text())
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]

    assert len(asked) > 20
    for expression in asked:
        names = re.findall(r"expandd_\w+", expression)
        assert names
        for name in names:
            assert name in lines, name
            labels = set(re.findall(rf"{name}{{(\w+)=", expression))
            for part in re.findall(r"by \(([^)]*)\)", expression):
                labels |= set(part.split(", "))
            assert all(f'{label}="' in lines[name] for label in labels), (name, labels)


def test_names_follow_the_conventions(settings: Settings) -> None:
    families = list(text_string_to_metric_families(a_busy(settings).text()[0].decode()))
    ours = [family for family in families if family.name.startswith("expandd_")]

    assert len(ours) > 20
    assert all(family.documentation.endswith(".") for family in ours if not family.name.endswith("_created"))
    assert not [family.name for family in ours if re.search("milli|minutes|hours", family.name)]
