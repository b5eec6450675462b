"""The log: how lines look, which event becomes which line, and their sentences."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from expandd.adapters.lean_import import absent
from expandd.domain import events as e
from expandd.domain.job import Job, JobState
from expandd.service.observability.log_writer import (
    PRIORITIES,
    SOCKET,
    Journal,
    LogWriter,
    field_name,
    is_journal,
    onto,
)
from expandd.service.observability.redaction import redact
from expandd.service.reports.overview import asked

# It would load rich for tracebacks in boxes: a log has them as values, a terminal in plain lines.
with absent("rich"):
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, Processor

Logger = FilteringBoundLogger

_SENTENCES = {
    "expandd.started": "Started. Hot folders: {folders}; images generated at once at most: {workers}.",
    "expandd.stopping": "Stopping: {in_progress} in progress; what is paid for is saved, for {seconds} s at most.",
    "expandd.stopped": "Stopped; {left_for_next_time} go on at the next start.",
    "permissions.loose": "{why}",
    "cluster.fenced": "{why}",
    "expandd.waiting": "Waiting {seconds} s before starting: it has crashed {crashes} times in a row.",
    "engine.recovered": "Compared journal and work folders: {open_jobs} in progress, {returned_files} put back.",
    "reload.done": "New configuration taken. Hot folders: {folders}; images generated at once at most: {workers}.",
    "reload.error": "{message}",
    "reload.refused": "New configuration refused; errors: {errors}. {what_to_do}",
    "reload.needs_restart": "The new configuration is taken but for {keys}: that changes only with a restart.",
    "config.not_kept": "{state_dir} does not take the configuration that was loaded ({why}); the work goes on.",
    "reload.bug_found": "A fault of expandd's own while the new configuration was judged.",
    "metrics.failed": "The metrics cannot be written to {file} ({why}); the work goes on.",
    "snapshot.failed": "{state_dir} does not take what status shows ({why}): status knows less; the work goes on.",
    "loop.error": "{where}: {why}. It is tried again; the work goes on.",
    "loop.stuck": "Stuck: {loop} makes no progress.",
    "page.open": "The page for the browser is at {address}.",
    "page.ordered": "Ordered on the page: {verb} {job}{inbox}.",
    "page.cannot_tell": "The page cannot show the state just now; the work goes on: {why}",
    "page.locked": "Nobody can log in to the page: {why}.",
    "page.bug_found": "A fault of expandd's own in the page; the work goes on.",
    "page.cannot_listen": "There is no page until its address is free; the work goes on. {why}",
    "account.shared": "{holder} works with the same account: together they get no more calls than one. Results take "
    "longer to be noticed. If that is not on purpose, let one instance have all folders.",
    "folder.left": "{inbox} is no longer worked on; other instances may have it.",
    "job.claimed": "{file}: taken.",
    "job.uploaded": "{file}: uploaded.",
    "job.submitting": "{file}: about to be paid for.",
    "job.accepted": "{file}: the API has taken it.",
    "job.unknown": "{file}: the answer to the paid call was lost; expandd asks the API for it.",
    "job.rendered": "{file}: the result is there.",
    "job.downloaded": "{file}: the result is saved.",
    "job.delivered": "{file}: the result is in the outbox.",
    "job.returned": "{file}: given up before anything was paid: {why}. If it is there, it goes back into the inbox.",
    "job.finished": "{file}: expanded, {delivered_to} in {total_seconds} s.",
    "job.failed": "{file}: {message} {what_to_do}",
    "job.held": "{file}: {why} {what_to_do}",
    "job.duplicate": "{file}: this folder has paid for the same bytes before, as {duplicate_of}, and pays again. "
    "`duplicates: reuse` delivers the earlier result instead, `duplicates: skip` none.",
    "job.retrying": "{file}: {why} Tried again in {again_in} s.",
    "job.finish_failed": "{file}: the API's own image is delivered as its result, without the original's pixels and "
    "metadata: {why}",
    "job.original_lost": "{file}: its original is lost: somebody removed it from the work folder of {inbox} before it "
    "could be archived. Its job ends without it.",
    "file.brought_back": "{file}: was given up unfinished, is whole now and goes back into the inbox.",
    "stray.stuck": "{inbox}: the content of .expandd/{job} cannot be returned: {why} Tried again each minute.",
    "pause.started": "{pause} waits ({reason}): {why}",
    "pause.ended": "{pause} goes on after {waited} s.",
    "file.settled": "{file}: has stopped changing.",
    "file.ignored": "{file}: not picked up: {why}.",
    "file.unfinished": "{file}: not whole yet: {why}",
    "watch.renewed": "{inbox}: watched again: {why}.",
    "notifications.read": "{total} notifications, {ours} of them ours.",
    "hook.told": "Hook {hook} was called for {about}.",
    "hook.failed": "Hook {hook} failed for {about}: {why} The work goes on.",
    "hook.dropped": "Hook {hook}: dropped events: {dropped}. {why}",
    "bug.found": "A fault of expandd's own in {where}; what was in progress is kept and tried again.",
}


def sentence(event: str, facts: Mapping[str, Any]) -> str:
    """The sentence of an event; of one without, its name and its facts."""
    template = _SENTENCES.get(event)
    if template is None:
        return " ".join([event, *(f"{key}={value}" for key, value in facts.items())])
    return " ".join(template.format_map(_Facts(facts)).split())


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


_SECONDS = 3


def set_up(stream: TextIO, *, pretty: bool | None = None, level: int = logging.INFO, sink: object = None) -> Logger:
    """A logger that writes to `stream`: pretty on a terminal, one JSON object a line otherwise."""
    if pretty is None:
        pretty = stream.isatty()
    last: Sequence[Processor] = (
        (structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback),)
        if pretty
        else (structlog.processors.JSONRenderer(ensure_ascii=False),)
    )
    before = () if pretty else (_TRACEBACKS,)
    stamped = (structlog.processors.TimeStamper(fmt="iso", utc=True), *before, redact, _in_order, *last)
    return _logger(sink or structlog.PrintLogger(stream), stamped, level)


def set_up_journal(journal: Journal, *, level: int = logging.INFO) -> Logger:
    """A logger whose lines are entries of systemd's journal, which knows by itself when and by whom."""
    return _logger(JournalLogger(journal), (_TRACEBACKS, redact, _entry), level)


def _logger(sink: object, processors: Sequence[Processor], level: int) -> Logger:
    logger: Logger = structlog.wrap_logger(
        sink,
        processors=[structlog.processors.add_log_level, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return logger


_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Where an exception came from, without the values of variables: a token may be one."""

_FIELDS = {"job": "JOB", "inbox": "FOLDER", "file": "FILE", "image_id": "IMAGE_ID", "task_id": "TASK_ID"}
"""What people filter by: `journalctl JOB=…`. Everything else is named after expandd."""


def _entry(_: object, __: str, event: EventDict) -> tuple[tuple[dict[str, str]], dict[str, Any]]:
    """The event as fields of the journal: the one argument of what writes them."""
    name, level = str(event.pop("event")), str(event.pop("level"))
    fields = {
        "MESSAGE": sentence(name, event) + _fault(event),
        "PRIORITY": str(PRIORITIES[level]),
        "SYSLOG_IDENTIFIER": "expandd",
        "EXPANDD_EVENT": name,
    }
    for key, value in event.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        fields[_FIELDS.get(key) or field_name(f"expandd_{key}")] = text
    return (fields,), {}


def _fault(event: EventDict) -> str:
    """What an exception says, in brief."""
    return "".join(f" ({fault['exc_type']}: {fault['exc_value']})" for fault in event.get("exception", ()))


class WriterLogger:
    """What structlog writes to: hands each line to the thread that writes them."""

    def __init__(self, stream: TextIO, confess: Callable[[int], str]) -> None:
        self.log_writer = LogWriter(onto(stream), confess)

    def msg(self, line: str) -> None:
        self.log_writer.put(line)

    debug = info = warning = error = critical = exception = msg


def _lost(lines: int) -> str:
    return json.dumps({"level": "warning", "event": "log.lost", "lines": lines})


class JournalLogger:
    """What structlog writes to: hands each entry to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def msg(self, fields: dict[str, str]) -> None:
        self._journal.send(fields)

    debug = info = warning = error = critical = exception = msg


def _in_order(_: object, __: str, event: EventDict) -> EventDict:
    """Put time, level and event first, as lines are read from the left."""
    first = ("timestamp", "level", "event")
    return {key: event[key] for key in (*first, *(key for key in event if key not in first)) if key in event}


@dataclass(frozen=True, slots=True)
class Log:
    """Where lines go, and how many could not be written since the start."""

    lines: Logger
    lost: Callable[[], int]


def to_stderr(environ: Mapping[str, str], *, verbose: bool = False) -> Log:
    """The log to where stderr goes: the journal gets entries, a terminal colours, everything else JSON."""
    level = logging.DEBUG if verbose else logging.INFO
    if is_journal(environ) and SOCKET.exists():
        journal = Journal()
        return Log(set_up_journal(journal, level=level), lambda: journal.lost)
    if not is_journal(environ):
        plain = WriterLogger(sys.stderr, _lost)
        return Log(set_up(sys.stderr, level=level, sink=plain), lambda: plain.log_writer.lost)
    sink = WriterLogger(sys.stderr, lambda lines: f"<4>{_lost(lines)}")
    renderers = (_TRACEBACKS, redact, _in_order, structlog.processors.JSONRenderer(ensure_ascii=False), _with_priority)
    return Log(_logger(sink, renderers, level), lambda: sink.log_writer.lost)


def _with_priority(_: object, name: str, line: Any) -> str:
    return f"<{PRIORITIES.get(name, 6)}>{line}"


class EventLog:
    """Writes each event as a line of the log; a subscriber of the event bus."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def __call__(self, event: e.Event) -> None:
        match event:
            case e.JobMoved(job, before):
                self._moved(job, before)
            case e.JobClosed(job):
                self._closed(job)
            case e.PauseStarted(pause, reason, why):
                self._log.warning("pause.started", pause=pause, reason=reason.value, why=why)
            case e.PauseEnded(pause, reason, seconds):
                self._log.info("pause.ended", pause=pause, reason=reason.value, waited=round(seconds, 1))
            case e.BugFound(where, error):
                self._log.error("bug.found", where=where, exc_info=error)
            case e.Recovered(open_jobs, returned):
                self._log.info("engine.recovered", open_jobs=open_jobs, returned_files=returned)
            case e.FileSettled() | e.FileIgnored() | e.FileUnfinished() | e.StrayStuck() | e.WatchRenewed():
                self._about_inbox(event)
            case e.AccountShared(holder):
                self._log.warning("account.shared", holder=holder)
            case e.NotificationsRead(total, ours, foreign, filtered):
                self._log.debug("notifications.read", total=total, ours=ours, foreign=foreign, filtered=filtered)
            case _:
                self._about_job(event)

    def _about_inbox(
        self, event: e.FileSettled | e.FileIgnored | e.FileUnfinished | e.StrayStuck | e.WatchRenewed
    ) -> None:
        match event:
            case e.FileSettled(inbox, relative, missed):
                self._log.debug("file.settled", inbox=inbox, file=relative, missed_by_events=missed)
            case e.FileIgnored(inbox, relative, why):
                self._log.info("file.ignored", inbox=inbox, file=relative, why=why)
            case e.FileUnfinished(inbox, relative, why):
                self._log.info("file.unfinished", inbox=inbox, file=relative, why=why)
            case e.StrayStuck(inbox, job_id, why):
                self._log.warning("stray.stuck", inbox=inbox, job=job_id, why=why)
            case e.WatchRenewed(inbox, why):
                self._log.warning("watch.renewed", inbox=inbox, why=why)

    def _about_job(self, event: e.Event) -> None:
        match event:
            case e.JobRetrying(job, why, seconds):
                self._log.info("job.retrying", **job_context(job), why=why, again_in=round(seconds, 1))
            case e.JobHeld(job, why):
                self._log.warning("job.held", **job_context(job), why=why, what_to_do=asked(job))
            case e.OriginalLost(job):
                self._log.warning("job.original_lost", **job_context(job), delivered_to=job.target)
            case e.FinishFailed(job, why):
                self._log.warning("job.finish_failed", **job_context(job), why=why)
            case e.DuplicateFound(job):
                self._log.warning("job.duplicate", **job_context(job), duplicate_of=job.duplicate_of)
            case e.BroughtBack(job):
                self._log.info("file.brought_back", **job_context(job))

    def _moved(self, job: Job, before: JobState | None) -> None:
        if job.state in {JobState.DONE, JobState.FAILED}:
            return  # its one line is written when it is over
        was = before.value if before else None
        line = (
            self._log.info if job.state in {JobState.CLAIMED, JobState.UNKNOWN, JobState.RETURNED} else self._log.debug
        )
        line(f"job.{job.state.value}", **job_context(job), before=was, **({"why": job.note} if job.note else {}))

    def _closed(self, job: Job) -> None:
        if job.state is JobState.RETURNED:
            return  # its one line was written when it went back
        facts = canonical(job)
        if job.state is JobState.FAILED:
            self._log.warning("job.failed", **facts)
        elif job.final is not None and job.final.differs:
            self._log.warning("job.finished", **facts, size_differs=True)
        else:
            self._log.info("job.finished", **facts)


def job_context(job: Job) -> dict[str, Any]:
    """What every line about a job says."""
    context: dict[str, Any] = {
        "job": job.id,
        "inbox": job.folder.inbox,
        "file": job.relative,
        "preset": job.folder.preset_name,
    }
    if job.image_id:
        context["image_id"] = job.image_id
    return context


def canonical(job: Job) -> dict[str, Any]:
    """The facts of the summary line of a job that is over. Durations in seconds, sizes in px and bytes."""
    result = job.final
    facts: dict[str, Any] = {
        **job_context(job),
        "outcome": job.state.value,
        "task_id": job.task_id or None,
        "offsets": asdict(job.offsets),
        "source_size": str(job.source.size) if job.source.size else None,
        "source_bytes": job.source.identity.size,
        "result_size": str(result.size) if result else None,
        "expected_size": str(result.expected) if result else None,
        "result_bytes": result.bytes if result else None,
        "result_format": result.format.value if result else None,
        "delivered_to": job.target,
        "original_at": None if job.original_removed else job.archived_to,
        "tries": job.tries,
        "uploads": job.uploads,
        "paid": job.paid,
        "reused_from": job.reused_from or None,
        "duplicate_of": job.duplicate_of or None,
        **durations(job),
    }
    if job.fault is not None:
        facts |= {"code": job.fault.code.value, "message": job.fault.message, "what_to_do": job.fault.what_to_do}
    elif job.note:
        facts["note"] = job.note
    return {key: value for key, value in facts.items() if value is not None}


def durations(job: Job) -> dict[str, float]:
    """Seconds spent in each state, and in all. A clock that stepped back counts as no time."""
    state_changes = job.state_changes
    spans = {
        f"{first.state.value}_seconds": round(max(0.0, second.at - first.at), _SECONDS)
        for first, second in itertools.pairwise(state_changes)
    }
    total = max(0.0, state_changes[-1].at - state_changes[0].at) if state_changes else 0.0
    return {**spans, "total_seconds": round(total, _SECONDS)}
