"""Metrics for Prometheus: counted from events, read from the overview."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from expandd import __version__
from expandd.domain import events as e
from expandd.domain.job import OUTCOME_OF_MOVE, Job, JobState
from expandd.domain.settings import Settings
from expandd.domain.spending import Outcome
from expandd.service.reports.overview import ALL, OTHER, FolderOverview, Overview, labels_of

STEPS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 900, 3600)
"""Seconds by which times are sorted: from a local step to an hour of outage."""

CALLS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

UP = "1 while expandd runs, 0 once it was stopped."


def stopped_text(daemon: str) -> bytes:
    """The metrics after a stop: only that expandd does not run."""
    registry = CollectorRegistry()
    Gauge("expandd_up", UP, registry=registry).set(0)
    return generate_latest(_Named(registry, daemon))


class _Named(CollectorRegistry):
    """A registry with one more label on everything."""

    def __init__(self, registry: CollectorRegistry, daemon: str) -> None:
        super().__init__()
        self._registry = registry
        self._daemon = daemon

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [one._replace(labels={"daemon": self._daemon, **one.labels}) for one in family.samples]
            yield family


class Metrics:
    """All of them, in a registry of their own. A subscriber like any other; `see` brings in what only is read.

    Every label is one of a few: folders of the configuration, states, reasons, calls. File names never are.
    """

    def __init__(self, settings: Settings) -> None:
        # When a counter began is of use to nobody here, and doubles what a node exporter has to read.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # its own stub forgot
        self.registry = CollectorRegistry()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._labels: Mapping[Path, str] = {}
        self._counted = _Counted(self.registry)
        self._seen = _Seen(self.registry)
        self._losses = _Losses(self.registry)
        self.know(settings)

    def know(self, settings: Settings) -> None:
        """Count by the folders of these settings from now on; each begins at 0, not at its first event."""
        self._labels = labels_of(settings.folders)
        for label in self._labels.values():
            self._counted.begin(label)

    def __call__(self, event: e.Event) -> None:
        match event:
            case e.JobMoved(job, before):
                self._moved(job, before)
            case e.JobClosed(job):
                self._counted.finished.labels(self._label(job), job.state.value).inc()
                if job.state is JobState.DONE:
                    self._counted.image_seconds.labels(self._label(job)).observe(_between(job.state_changes[0].at, job))
            case e.JobRetrying(job):
                self._counted.retry_later.labels(self._label(job)).inc()
            case e.PauseStarted(_, reason):
                self._counted.pauses_started.labels(reason.value).inc()
            case e.BugFound():
                self._counted.bugs.inc()
            case _:
                self._small(event)

    def _small(self, event: e.Event) -> None:
        match event:
            case e.FileSettled(inbox, _, missed):
                self._counted.settled.labels(self._labels.get(inbox, OTHER)).inc()
                if missed:
                    self._counted.missed.labels(self._labels.get(inbox, OTHER)).inc()
            case e.WatchRenewed(inbox):
                self._counted.renewed.labels(self._labels.get(inbox, OTHER)).inc()
            case e.NotificationsRead(_, ours, foreign):
                self._counted.notifications.labels("ours").inc(ours)
                self._counted.notifications.labels("foreign").inc(foreign)

    def _moved(self, job: Job, before: JobState | None) -> None:
        last, label = job.state_changes[-1], self._label(job)
        left = next((change for change in reversed(job.state_changes[:-1]) if change.state is before), None)
        if left is not None and before is not None:
            self._counted.state_seconds.labels(before.value).observe(max(0.0, last.at - left.at))
        if before is not None and OUTCOME_OF_MOVE.get((before, job.state)) is Outcome.TAKEN:
            self._counted.paid.labels(label).inc()
        if job.state is JobState.UNKNOWN:
            self._counted.unknown.labels(label).inc()

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """Count a request to the API that is over."""
        self._counted.requests.labels(call, outcome).inc()
        self._counted.request_seconds.labels(call).observe(seconds)

    def loses(self, what: str, count: Callable[[], int]) -> None:
        """Report the number of lost items from now on, as `count` returns it at each reading."""
        self._losses.counts[what] = count

    def see(self, overview: Overview, settings: Settings) -> None:
        """Set the gauges from the overview, and the folders from the settings in force."""
        self.know(settings)
        self._seen.take(overview, self._labels, settings)

    def text(self) -> tuple[bytes, str]:
        """All of it in Prometheus' text form, and the media type of that."""
        return generate_latest(self.registry) + generate_latest(self._process), CONTENT_TYPE_LATEST

    def file_text(self, daemon: str) -> bytes:
        """What a node exporter can take: nothing of the process, for which it has its own, and all by this name.

        Of two daemons that tell the same with the same labels it would take one.
        """
        return generate_latest(_Named(self.registry, daemon))

    def _label(self, job: Job) -> str:
        return self._labels.get(job.folder.inbox, OTHER)


def _between(start: float, job: Job) -> float:
    return max(0.0, job.state_changes[-1].at - start)


class _Counted:
    """What is counted from events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"expandd_{name}", words, labels, registry=registry)

        def histogram(name: str, words: str, label: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"expandd_{name}", words, (label,), registry=registry, buckets=buckets)

        self.finished = counter("jobs_finished", "Images that are over.", "folder", "outcome")
        self.paid = counter("paid", "Images that the API took a paid call for.", "folder")
        self.unknown = counter("unknown_outcomes", "Answers to a paid call that were lost.", "folder")
        self.retry_later = counter("retries", "Steps that did not work out and are tried again.", "folder")
        self.settled = counter("files_settled", "Files that stopped changing and were inspected.", "folder")
        self.missed = counter("missed_events", "Files that a scan found and no event had announced.", "folder")
        self.renewed = counter(
            "watches_renewed", "Times an inbox was watched again, or scanned for lost events.", "folder"
        )
        self.pauses_started = counter(
            "pauses_started", "Times something began to hold up everything or a folder.", "reason"
        )
        self.notifications = counter("notifications", "Notifications that polls brought.", "kind")
        self.bugs = counter("bugs", "Faults of expandd's own.")
        self.requests = counter("api_requests", "Calls to the API.", "call", "outcome")
        self.request_seconds = histogram("api_request_seconds", "How long calls took.", "call", CALLS)
        self.state_seconds = histogram("job_seconds", "How long images stayed in each state.", "state", STEPS)
        self.image_seconds = histogram("image_seconds", "From the inbox to all done.", "folder", STEPS)

    def begin(self, label: str) -> None:
        for outcome in (JobState.DONE, JobState.FAILED):
            self.finished.labels(label, outcome.value)
        for counter in (self.paid, self.unknown, self.retry_later, self.settled, self.missed, self.renewed):
            counter.labels(label)


class _Losses(Collector):
    """Counts of lost lines and events, read where they are counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counts: dict[str, Callable[[], int]] = {}
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily("expandd_lost", "Log lines and events that were lost.", labels=("what",))
        for what, count in self.counts.items():
            family.add_metric((what,), count())
        yield family


class _Seen:
    """What is read from the overview, as it is now."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"expandd_{name}", words, labels, registry=registry)

        self._folders = {
            "waiting_files": gauge("waiting_files", "Files in the inbox that may be picked up.", "folder"),
            "oldest_waiting_seconds": gauge("oldest_waiting_seconds", "Since when the oldest of them waits.", "folder"),
            "in_progress": gauge("in_progress", "Images in progress.", "folder"),
            "needing_person": gauge("needing_person", "Images that need a person.", "folder"),
            "error_files": gauge("error_files", "Files in the error folder.", "folder"),
            "folder_up": gauge("folder_up", "Whether the inbox can be read.", "folder"),
            "folder_watched": gauge("folder_watched", "Whether file events are used.", "folder"),
        }
        self._paused = gauge("paused", "Whether a pause holds up everything, or one folder.", "pause", "reason")
        self._paused_since = gauge("paused_timestamp_seconds", "When it began, epoch seconds.", "pause", "reason")
        self._budget = gauge("budget_left", "Images that a budget leaves.", "folder", "period")
        self._credits = gauge("credits", "The account's credits as last seen.")
        self._credits_at = gauge("credits_timestamp_seconds", "When they were seen.")
        self._backlog = gauge("backlog_seconds", "How long the backlog takes at the present pace.")
        self._workers = gauge("workers", "Images that may be generated at once.")
        self._alive_at = gauge("alive_timestamp_seconds", "Last sign of life of expandd; at least each 15 s.")
        gauge("up", UP).set(1)
        gauge("build_info", "The version that runs.", "version").labels(__version__).set(1)

    def take(self, overview: Overview, labels: Mapping[Path, str], settings: Settings) -> None:
        for metric in (*self._folders.values(), self._paused, self._paused_since, self._budget):
            # A folder that has gone from the configuration, or a pause that has opened, leaves no line behind.
            metric.clear()
        for folder in overview.folders:
            self._folder(folder, labels.get(folder.inbox, OTHER))
        for pause in overview.pauses:
            which = ALL if pause.inbox is None else labels.get(pause.inbox, OTHER)
            self._paused.labels(which, pause.reason.value).set(1)
            self._paused_since.labels(which, pause.reason.value).set(pause.since)
        money = overview.money
        self._left(ALL, money.day_left, money.month_left)
        self._credits.set(float("nan") if money.credits is None else float(money.credits))
        self._credits_at.set(money.credits_at or float("nan"))
        left = overview.pace.seconds_left
        self._backlog.set(float("nan") if left is None else left)
        self._workers.set(settings.workers)
        self._alive_at.set(overview.told_at or float("nan"))

    def _folder(self, folder: FolderOverview, label: str) -> None:
        values = {
            "waiting_files": folder.waiting,
            "oldest_waiting_seconds": folder.oldest or 0.0,
            "in_progress": folder.in_progress,
            "needing_person": folder.held,
            "error_files": folder.in_error,
            "folder_up": folder.counted,
            "folder_watched": bool(folder.watched),
        }
        for name, value in values.items():
            self._folders[name].labels(label).set(value)
        self._left(label, folder.day_left, folder.month_left)

    def _left(self, label: str, day: int | None, month: int | None) -> None:
        for period, left in (("day", day), ("month", month)):
            if left is not None:
                self._budget.labels(label, period).set(left)
