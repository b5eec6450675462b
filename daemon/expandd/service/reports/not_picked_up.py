"""Why a file is not picked up, or not yet: the rule, and what would change it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from expandd.adapters.files.roots import WORK
from expandd.adapters.files.scan import Scanner
from expandd.adapters.files.sidecars import ERROR_ENDING, facts_in, sidecar_path
from expandd.domain.errors import Later
from expandd.domain.image import Incomplete, Inspection, Invalid
from expandd.domain.naming import printable
from expandd.domain.selection import is_pause, path_ignored_because
from expandd.domain.settings import HotFolder
from expandd.domain.settle import FileStat, Observation, SettleDecision, content_decision, settle_decision
from expandd.engine.ports import Images
from expandd.service.reports.job_history import Surroundings, paused_file
from expandd.service.reports.overview import Pause, span


class SkipReason(Enum):
    """Why a file is not taken."""

    NO_HOT_FOLDER = "no_hot_folder"
    INBOX_UNAVAILABLE = "inbox_unavailable"
    NOT_AN_INBOX = "not_an_inbox"
    WORK_FOLDER = "work_folder"
    SUBFOLDER = "subfolder"
    IGNORED = "ignored"
    IRREGULAR = "irregular"
    SETTLING = "settling"
    NOT_WHOLE = "not_whole"
    UNFIT = "unfit"
    NOT_RUNNING = "not_running"
    PAUSE = "pause"
    IN_LINE = "in_line"

    @property
    def passes(self) -> bool:
        """Whether the file is taken by itself once that is over."""
        return self in {
            SkipReason.INBOX_UNAVAILABLE,
            SkipReason.SETTLING,
            SkipReason.NOT_WHOLE,
            SkipReason.NOT_RUNNING,
            SkipReason.PAUSE,
            SkipReason.IN_LINE,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPickedUp:
    """A file on disk that no open job has: where it lies, why it is not taken, and what happens next."""

    path: Path
    skip_reason: SkipReason
    why: str
    next: str
    inbox: Path | None = None
    waits_on: tuple[Pause, ...] = ()


async def not_picked_up(path: Path, around: Surroundings, images: Images) -> NotPickedUp:
    """Why the file at `path` (absolute; something lies there) is not taken."""
    folder, root = _home(path, around)
    if folder is None:
        where = ", ".join(printable(one.inbox) for one in around.settings.folders)
        why = "It lies in no hot folder."
        return NotPickedUp(
            path=path, skip_reason=SkipReason.NO_HOT_FOLDER, why=why, next=f"Drop it into one of: {where}."
        )
    if root != folder.inbox:
        return _elsewhere(path, folder, root, around)
    return _ruled_out(path, folder, around) or await _judged(path, folder, around, images)


def _home(path: Path, around: Surroundings) -> tuple[HotFolder | None, Path]:
    for folder in around.settings.folders:
        for root in folder.directories:
            if path.is_relative_to(root):
                return folder, root
    return None, path


def _elsewhere(path: Path, folder: HotFolder, root: Path, around: Surroundings) -> NotPickedUp:
    what = {folder.outbox: "the outbox", folder.done: "the done folder", folder.error: "the error folder"}[root]
    why = f"It lies in {what} of {printable(folder.inbox)}, and the job database knows nothing of it."
    step = "Nothing. Only files in an inbox are taken; drop it there to have it expanded."
    if root == folder.error:
        why += _reason_beside(path, around)
        step = "Nothing. Moving it back into the inbox tries it again."
    return NotPickedUp(path=path, inbox=folder.inbox, skip_reason=SkipReason.NOT_AN_INBOX, why=why, next=step)


def _reason_beside(failed: Path, around: Surroundings) -> str:
    """The reason in the sidecar of a failed file, as a sentence; "" when there is none."""
    beside = failed if failed.name.endswith(ERROR_ENDING) else sidecar_path(failed)
    facts = facts_in(beside, around.roots)
    if facts is None:
        return ""
    return f" Its reason lies beside it: {printable(facts['message'])} {printable(facts['what_to_do'])}"


def _ruled_out(path: Path, folder: HotFolder, around: Surroundings) -> NotPickedUp | None:
    """Why a file in an inbox is never taken as it is; None when it may be."""
    relative = path.relative_to(folder.inbox)
    if folder.inbox in around.away:
        pause = tuple(pause for pause in around.pauses if pause.inbox == folder.inbox)
        why = pause[0].why if pause else "The folder is away."
        step = "Its files are looked at when it is back."
        return _no(path, folder, SkipReason.INBOX_UNAVAILABLE, why, step, pauses=pause)
    if relative.parts[:1] == (WORK,):
        why = "It lies in the work folder, which is expandd's own, and no job in the job database knows it."
        return _no(
            path, folder, SkipReason.WORK_FOLDER, why, "At the next start such files are put back into the inbox."
        )
    if is_pause(relative):
        why = "It is no image: as long as it lies here it pauses this folder."
        return _no(path, folder, SkipReason.IGNORED, why, "Take it away and the folder goes on.")
    if (ignored := path_ignored_because(relative, folder.ignore)) is not None:
        step = "Nothing, as long as it is named so. Give it its final name to have it taken."
        if path_ignored_because(relative) is None:
            step = "Nothing, as long as the pattern is there. Rename the file or change `ignore` to have it taken."
        return _no(path, folder, SkipReason.IGNORED, f"It is ignored: {ignored}.", step)
    if (kind := Scanner(around.roots).irregular(path)) is not None:
        why = f"It is {kind}; only regular files are taken."
        return _no(path, folder, SkipReason.IRREGULAR, why, "Nothing. Drop the image itself.")
    if len(relative.parts) > 1 and not folder.recursive:
        why = f"It lies in a subfolder, and {printable(folder.inbox)} is not recursive."
        step = "Nothing. Move it up into the inbox, or set `recursive: true` for this folder."
        return _no(path, folder, SkipReason.SUBFOLDER, why, step)
    return None


def _no(
    path: Path, folder: HotFolder, skip_reason: SkipReason, why: str, step: str, *, pauses: tuple[Pause, ...] = ()
) -> NotPickedUp:
    return NotPickedUp(path=path, inbox=folder.inbox, skip_reason=skip_reason, why=why, next=step, waits_on=pauses)


async def _judged(path: Path, folder: HotFolder, around: Surroundings, images: Images) -> NotPickedUp:
    """A file that may be taken: it settles, is looked into, and waits for its turn."""
    found = Scanner(around.roots).stat(path)
    if found is None:
        raise FileNotFoundError(path)
    seen = Observation(found, _quiet_since(found, folder, around.now))
    if _decision(seen, folder, around) is SettleDecision.WAIT:
        why = f"It is settling: unchanged for {span(seen.quiet(around.now))} of {span(folder.settle)}."
        return _no(path, folder, SkipReason.SETTLING, why, "It is looked into when it has not changed for that long.")
    try:
        inspection = await images.inspect(path)
    except Later as error:
        step = "It is looked at again by itself."
        return _no(path, folder, SkipReason.NOT_WHOLE, f"It cannot be looked into just now: {error}", step)
    return _by_content(path, folder, around, inspection, seen)


def _quiet_since(found: FileStat, folder: HotFolder, now: float) -> float:
    """Since when it has not changed, by its ctime; one that lies ahead tells nothing, and such a file has settled."""
    changed = found.ctime_ns / 1e9
    return changed if changed <= now else now - folder.settle


def _decision(seen: Observation, folder: HotFolder, around: Surroundings) -> SettleDecision:
    return settle_decision(seen, around.now, settle=folder.settle, settle_max=folder.settle_max)


def _by_content(
    path: Path, folder: HotFolder, around: Surroundings, inspection: Inspection, seen: Observation
) -> NotPickedUp:
    decision = content_decision(inspection, folder)
    if isinstance(decision, Incomplete):
        message = decision.fault.message
        left = span(folder.settle_max - seen.quiet(around.now))
        step = f"It is waited for; if it does not change for another {left}, it goes to the error folder."
        if _decision(replace(seen, unfinished=message), folder, around) is SettleDecision.GIVE_UP:
            step = "It has not changed for `settle_max` and goes to the error folder, unless it changes now."
        return _no(path, folder, SkipReason.NOT_WHOLE, f"It is not whole yet: {message}", step)
    if isinstance(decision, Invalid):
        step = "It goes to the error folder, with its reason beside it."
        return _no(path, folder, SkipReason.UNFIT, decision.fault.message, step)
    image = f"It is a whole image of {decision.image.size} px that is to become {decision.result_size} px."
    return _in_line(path, folder, around, image)


def _in_line(path: Path, folder: HotFolder, around: Surroundings, image: str) -> NotPickedUp:
    if not (around.running or around.settings.cluster.joined):
        return _no(path, folder, SkipReason.NOT_RUNNING, f"{image} expandd does not run.", "Start expandd.")
    pauses = tuple(pause for pause in around.pauses if pause.inbox in {None, folder.inbox})
    relative = path.relative_to(folder.inbox)
    if (folder.inbox, relative) in around.paused:
        pauses = (*pauses, paused_file(folder.inbox, relative))
    if pauses:
        step = "It is taken when that is over."
        return _no(path, folder, SkipReason.PAUSE, f"{image} It waits.", step, pauses=pauses)
    line = "".join(f" {words}" for words in _place_in_line(path, folder, around))
    step = "It is taken once an image that was taken before it is paid for."
    return _no(path, folder, SkipReason.IN_LINE, f"{image} It waits for its turn.{line}", step)


def _place_in_line(path: Path, folder: HotFolder, around: Surroundings) -> Iterator[str]:
    live = around.snapshot.inbox(folder.inbox) if around.snapshot else None
    if live is None:
        return
    relative = path.relative_to(folder.inbox)
    if relative in live.ready:
        yield f"It is number {live.ready.index(relative) + 1} in line in this folder."
    elif live.ready:
        yield f"At least {len(live.ready)} others in this folder come before it."
