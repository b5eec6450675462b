"""The progress display of `once` and `demo` on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from expandd.domain.events import Event, JobClosed, JobHeld, JobMoved, PauseEnded, PauseStarted, Recovered
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable

SHARE = {
    JobState.CLAIMED: 0.05,
    JobState.UPLOADED: 0.3,
    JobState.SUBMITTING: 0.35,
    JobState.UNKNOWN: 0.4,
    JobState.ACCEPTED: 0.4,
    JobState.RENDERED: 0.7,
    JobState.DOWNLOADED: 0.85,
    JobState.DELIVERED: 0.95,
}
"""How much of an image's way lies behind it in each state."""

WIDTH = 40
"""Characters of a file name that are shown."""


class Rate(ProgressColumn):
    """How many images come in a second or minute; nothing for the lines of single ones."""

    def render(self, task: Task) -> Text:
        if task.fields.get("single") or not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{60 * task.speed:.1f}/min")


class Progress:
    """One bar for all, one line for each image in progress. A subscriber like any other.

    `expected` is how many files wait at the start, so that the time left is that of all and not of those in progress.
    """

    def __init__(self, console: Console | None = None, expected: int = 0) -> None:
        self._expected = expected
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            speed_estimate_period=300.0,
        )
        self._all: TaskID | None = None
        self._seen = 0
        self._over = 0
        self._lines: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        self._all = self._bars.add_task("images", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Recovered(open_jobs, returned):
                self._expected += open_jobs + returned
                self._show()
            case JobMoved(job, None):
                self._begin(job)
            case JobMoved(job, _):
                self._advance(job)
            case JobClosed(job):
                self._end(job)
            case PauseStarted(_, _, why) | JobHeld(_, why):
                self._bars.console.print(f"waiting: {printable(why)}", style="yellow", markup=False)
            case PauseEnded():
                self._bars.console.print("going on", style="green")

    def _begin(self, job: Job) -> None:
        self._seen += 1
        self._lines[job.id] = self._bars.add_task(self._words(job), total=1.0, single=True)
        self._show()

    def _advance(self, job: Job) -> None:
        if job.id in self._lines:
            self._bars.update(self._lines[job.id], description=self._words(job), completed=SHARE.get(job.state, 1.0))

    def _end(self, job: Job) -> None:
        line = self._lines.pop(job.id, None)
        if line is not None:
            self._bars.remove_task(line)
        self._over += 1
        mark, style = ("✓", "green") if job.state is JobState.DONE else ("✗", "red")
        reason = f": {job.fault.message}" if job.fault else ""
        self._bars.console.print(f"{mark} {printable(job.relative)}{printable(reason)}", style=style, markup=False)
        self._show()

    def _show(self) -> None:
        if self._all is not None:
            total = max(self._seen, self._expected, self._over)
            self._bars.update(self._all, total=total or None, completed=self._over)

    def _words(self, job: Job) -> str:
        name = printable(job.relative)
        return f"{job.state.value:>9}  {name if len(name) <= WIDTH else name[: WIDTH - 1] + '…'}"
