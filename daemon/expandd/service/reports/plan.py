"""`plan`: what would become of each waiting file, and what it all takes. Changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import click

from expandd.adapters.config.load import load
from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folder_errors import folder_away
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import FolderCounter, Scanner
from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.responsiveness import AnsweringRoots, silent_roots
from expandd.adapters.store.database import reading
from expandd.adapters.store.sql.queries import Queries
from expandd.domain.commands import HoldKind
from expandd.domain.errors import Later
from expandd.domain.finishing import sent_size
from expandd.domain.image import ImageFormat, Incomplete, Invalid, Size, Valid
from expandd.domain.naming import numbered, printable, result_name
from expandd.domain.offsets import Offsets
from expandd.domain.result_rules import format_of, nearest
from expandd.domain.settings import Duplicates, HotFolder, Settings
from expandd.domain.settle import Expandable, content_decision
from expandd.engine.ports import Images
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.overview import Overview, as_number, build_overview, clock, sentence, span
from expandd.service.reports.overview_text import too_deep

AT_ONCE = 4
"""Files that are looked into at once; the answers come in the order of the files all the same."""


class Fate(Enum):
    """What becomes of a waiting file."""

    NEW = "new"
    """It is paid for and expanded."""
    AGAIN = "again"
    """It was paid for before, and is paid for again: its folder expands duplicates anew."""
    REUSED = "reused"
    """It was paid for before, and the result of then is delivered, free of charge."""
    SKIPPED = "skipped"
    """It was paid for before; nothing is delivered, and the original is archived."""
    REFUSED = "refused"
    """It goes to the error folder."""
    UNFINISHED = "unfinished"
    """It is not whole yet, or cannot be read yet."""

    @property
    def paid(self) -> bool:
        return self in {Fate.NEW, Fate.AGAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One waiting file. Sizes in px; `name` is the result's path below the outbox, if its type is the source's.

    It is None where there will be no result, and where the outbox gives no answer.
    """

    folder: HotFolder
    relative: Path
    fate: Fate
    why: str = ""
    size: Size | None = None
    uploaded: Size | None = None
    offsets: Offsets | None = None
    result: Size | None = None
    name: Path | None = None
    before: str = ""
    """The job that was paid for the same bytes and offsets."""


class Planner:
    """Plans file after file, knowing what those before take: names, and bytes that are paid for once only."""

    def __init__(self, settings: Settings, store: Queries | None, images: Images, roots: Roots | None = None) -> None:
        self._settings = settings
        self._store = store
        self._images = images
        self._scanner = Scanner(roots or Roots.of(settings.folders, settings.state_dir))
        self._taken: set[Path] = set()
        self._planned: dict[tuple[str, Offsets], str] = {}
        commands = store.holds() if store else ()
        self._again = {command.sha256 for command in commands if command.kind is HoldKind.AGAIN}

    async def plan(self, folder: HotFolder) -> AsyncIterator[Planned]:
        """The files that wait in this folder, by name. Raises FolderAway."""
        try:
            names = await asyncio.to_thread(self._names, folder)
        except OSError as error:
            raise folder_away(folder.inbox, error) from error
        inspections: deque[tuple[Path, asyncio.Task[Planned | _Inspected]]] = deque()
        try:
            while names or inspections:
                while names and len(inspections) < AT_ONCE:
                    relative = names.popleft()
                    inspections.append((relative, asyncio.create_task(self._inspect(folder, relative))))
                relative, inspection = inspections.popleft()
                found = await inspection
                yield found if isinstance(found, Planned) else self._fate(folder, relative, found)
        finally:
            for _, inspection in inspections:
                inspection.cancel()

    async def _inspect(self, folder: HotFolder, relative: Path) -> Planned | _Inspected:
        path = folder.inbox / relative
        try:
            inspection = await self._images.inspect(path)
            decision = content_decision(inspection, folder)
            if isinstance(decision, Incomplete | Invalid):
                fate = Fate.UNFINISHED if isinstance(decision, Incomplete) else Fate.REFUSED
                return Planned(folder=folder, relative=relative, fate=fate, why=decision.fault.message)
            sha256 = await asyncio.to_thread(Disk(self._scanner.roots).digest, path)
        except (Later, OSError) as error:
            return Planned(folder=folder, relative=relative, fate=Fate.UNFINISHED, why=str(error))
        return _Inspected(decision, sha256)

    def _names(self, folder: HotFolder) -> deque[Path]:
        found = self._scanner.waiting_files(folder, subfolders=folder.recursive)
        return deque(sorted(one.relative for one in found))

    def _fate(self, folder: HotFolder, relative: Path, inspected: _Inspected) -> Planned:
        fate, before = self._duplicate(folder, inspected)
        self._planned.setdefault(inspected.key, str(relative))
        result = inspected.found.result_size
        return Planned(
            folder=folder,
            relative=relative,
            fate=fate,
            size=inspected.found.image.size,
            uploaded=sent_size(inspected.found.image.size),
            offsets=inspected.found.offsets,
            result=result,
            name=None if fate is Fate.SKIPPED else self._name(folder, relative, inspected.found.image, result),
            before=before,
        )

    def _duplicate(self, folder: HotFolder, inspected: _Inspected) -> tuple[Fate, str]:
        job = self._store.paid_before(*inspected.key) if self._store else None
        before = job.id if job else self._planned.get(inspected.key, "")
        if not before:
            return Fate.NEW, ""
        if folder.duplicates is Duplicates.EXPAND or inspected.sha256 in self._again:
            return Fate.AGAIN, before
        if folder.duplicates is Duplicates.SKIP:
            return Fate.SKIPPED, before
        kept = job is None or self._kept(job.result.sha256 if job.result else "")
        return (Fate.REUSED if kept else Fate.AGAIN), before

    def _kept(self, sha256: str) -> bool:
        return (self._settings.state_dir / "spool" / "kept" / sha256).is_file()

    def _name(self, folder: HotFolder, relative: Path, whole: Valid, result: Size) -> Path | None:
        """None where the outbox cannot be looked at: nobody can tell which names are free there."""
        name = result_name(
            folder.name,
            relative.name,
            extension=_result_format(folder, whole).extension,
            size=result,
            preset=folder.preset_name,
        )
        free = (relative.with_name(one) for one in numbered(name))
        try:
            found = next(one for one in free if self._is_free(folder.outbox / one))
        except OSError:
            return None
        self._taken.add(folder.outbox / found)
        return found

    def _is_free(self, target: Path) -> bool:
        return target not in self._taken and not self._scanner.there(target)


def _result_format(folder: HotFolder, whole: Valid) -> ImageFormat:
    """The format of its result, where the API answers in that of what it is sent."""
    touched = whole.converts or sent_size(whole.size) != whole.size
    written = nearest(whole.format)
    made = written if written.taken_by_api else ImageFormat.PNG
    return format_of(folder.result.format, source=whole.format, api=made, touched=touched)


@dataclass(frozen=True, slots=True)
class _Inspected:
    """An image that can be expanded, and the digest of its bytes."""

    found: Expandable
    sha256: str

    @property
    def key(self) -> tuple[str, Offsets]:
        """What is paid for once only."""
        return self.sha256, self.found.offsets


def run_plan(config: Path, *, as_json: bool) -> int:
    """Print the plan."""
    settings = load(config)
    overview = build_overview(settings, FolderCounter())
    printer = _Json() if as_json else _Text()
    fates = asyncio.run(_plan(settings, overview, printer))
    printer.end(fates, overview, settings)
    return ExitCode.FINE


async def _plan(settings: Settings, overview: Overview, printer: _Text | _Json) -> Counter[Fate]:
    fates: Counter[Fate] = Counter()
    counted = {folder.inbox for folder in overview.folders if folder.counted}
    with reading(settings) as store:
        roots = AnsweringRoots.but(silent_roots(settings.folders), settings.folders, settings.state_dir)
        async with PillowImages(open_file=roots.open_file) as images:
            planner = Planner(settings, store, images, roots)
            for folder in settings.folders:
                if folder.inbox not in counted:
                    continue
                async for one in planner.plan(folder):
                    fates[one.fate] += 1
                    printer.file(one)
    return fates


class _Text:
    """Lines for people."""

    def __init__(self) -> None:
        self._inbox: Path | None = None

    def file(self, one: Planned) -> None:
        if one.folder.inbox != self._inbox:
            self._inbox = one.folder.inbox
            click.echo(f"{printable(one.folder.inbox)} ({one.folder.preset_name}):")
        click.echo(f"  {one.fate.value:<10}  {printable(one.relative)}{_words(one)}")

    def end(self, fates: Counter[Fate], overview: Overview, settings: Settings) -> None:
        for line in totals(fates, overview, settings):
            click.echo(line)


def _words(one: Planned) -> str:
    if one.size is None:
        return f": {printable(one.why)}"
    as_name = f" as {printable(one.name)}" if one.name is not None else ""
    uploaded = f", uploaded as {one.uploaded} px," if one.uploaded != one.size else ""
    about = _ABOUT[one.fate].format(one.before)
    return f": {one.size} px{uploaded} becomes {one.result} px{as_name} ({one.offsets}){about}"


_ABOUT = {
    Fate.NEW: "",
    Fate.AGAIN: "; already paid for ({}), and paid for again: this folder expands duplicates",
    Fate.REUSED: "; already paid for ({}): that result is delivered again",
    Fate.SKIPPED: "; already paid for ({}): nothing is delivered",
}


def totals(fates: Counter[Fate], overview: Overview, settings: Settings) -> Iterator[str]:
    """What it all comes to: files, money, time."""
    if not fates:
        yield "No file waits."
    else:
        counts = ", ".join(f"{fates[fate]} {fate.value}" for fate in Fate if fates[fate])
        files = "1 file waits" if fates.total() == 1 else f"{fates.total()} files wait"
        yield f"{files}: {counts}. Nothing was paid or changed."
    to_pay = sum(number for fate, number in fates.items() if fate.paid)
    if to_pay:
        if settings.price is not None:
            yield f"{to_pay} to be paid for at {settings.price.words(1)} each: {settings.price.words(to_pay)}."
        yield from _money(to_pay, overview)
        yield from _time(to_pay, overview, settings)
    yield from too_deep(overview)
    for pause in overview.pauses:
        yield sentence(pause, overview.at)
    if not (overview.running or overview.joined):
        yield "expandd does not run: nothing of this happens until it does."


def _money(to_pay: int, overview: Overview) -> Iterator[str]:
    money = overview.money
    held = (
        f"; the account had {money.credits} at {clock(money.credits_at or 0.0, overview.at)}" if money.credits else ""
    )
    if money.price is None:
        yield f"{to_pay} to be paid for. How many credits one takes is not known yet from what was done before{held}."
    else:
        yield f"{to_pay} to be paid for: about {to_pay * money.price} credits, as one took {money.price} of late{held}."
    lefts = [left for left in (money.day_left, money.month_left) if left is not None]
    if lefts and min(lefts) < to_pay:
        yield f"The budget leaves {min(lefts)}; the others wait for the next day or month."
    for folder in overview.folders:
        lefts = [left for left in (folder.day_left, folder.month_left) if left is not None]
        if lefts and min(lefts) < folder.waiting:
            yield f"The budget of {printable(folder.inbox)} leaves {min(lefts)}."


def _time(to_pay: int, overview: Overview, settings: Settings) -> Iterator[str]:
    each = overview.pace.seconds_each
    if each is None:
        yield "How long it takes is not known yet: no image was done before."
    else:
        yield f"It takes about {span(each * to_pay / settings.workers)}, at {span(each)} an image as of late."


class _Json:
    """One document, written as it goes."""

    def __init__(self) -> None:
        self._begun = False

    def file(self, one: Planned) -> None:
        click.echo((",\n" if self._begun else '{"files": [\n') + json.dumps(_values(one), ensure_ascii=False), nl=False)
        self._begun = True

    def end(self, fates: Counter[Fate], overview: Overview, settings: Settings) -> None:
        to_pay = sum(number for fate, number in fates.items() if fate.paid)
        price, each = overview.money.price, overview.pace.seconds_each
        values: dict[str, Any] = {
            **{fate.value: fates[fate] for fate in Fate},
            "to_pay": to_pay,
            "cost": as_number(None if settings.price is None else settings.price.amount * to_pay),
            "currency": None if settings.price is None else settings.price.currency or None,
            "credits": as_number(None if price is None else price * to_pay),
            "credits_per_image": as_number(price),
            "seconds": None if each is None else each * to_pay / settings.workers,
            "running": overview.running,
            "in_subfolders": sum(folder.too_deep for folder in overview.folders),
            "waits_on": [sentence(pause, overview.at) for pause in overview.pauses],
        }
        opened = "" if self._begun else '{"files": ['
        click.echo(f'{opened}\n], "totals": {json.dumps(values, ensure_ascii=False)}}}')


def _values(one: Planned) -> dict[str, Any]:
    return {
        "inbox": printable(one.folder.inbox),
        "file": printable(one.relative),
        "preset": one.folder.preset_name,
        "fate": one.fate.value,
        "why": one.why,
        "size": one.size and asdict(one.size),
        "uploaded_size": one.uploaded and asdict(one.uploaded),
        "offsets": one.offsets and asdict(one.offsets),
        "result_size": one.result and asdict(one.result),
        "result_name": None if one.name is None else printable(one.name),
        "paid_before_by": one.before or None,
    }
