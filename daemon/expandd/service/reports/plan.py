"""Owns the plan: what would become of each waiting file, found out with the daemon's own eyes, changing nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folder_errors import folder_away
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import Looking
from expandd.adapters.store.sqlite.reader import JournalReader
from expandd.domain.commands import Lasting
from expandd.domain.errors import FileFault, Later
from expandd.domain.image import Size
from expandd.domain.inspection import Unfinished, Whole
from expandd.domain.naming import numbered, result_name
from expandd.domain.offsets import Offsets, resolve
from expandd.domain.settings import Duplicates, HotFolder, Settings
from expandd.engine.ports import Images

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
    """It was paid for before; nothing is delivered, and the original is put away."""
    REFUSED = "refused"
    """It goes to the error folder."""
    UNFINISHED = "unfinished"
    """It is not whole, or cannot be looked into, as yet."""

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
    offsets: Offsets | None = None
    result: Size | None = None
    name: Path | None = None
    before: str = ""
    """The job that was paid for the same bytes and offsets."""


class Planner:
    """Plans file after file, knowing what those before take: names, and bytes that are paid for once only."""

    def __init__(
        self, settings: Settings, journal: JournalReader | None, images: Images, roots: Roots | None = None
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._images = images
        self._looking = Looking(roots or Roots.of(settings.folders, settings.state_dir))
        self._taken: set[Path] = set()
        self._planned: dict[tuple[str, Offsets], str] = {}
        orders = journal.standing_orders() if journal else ()
        self._again = {order.sha256 for order in orders if order.lasting is Lasting.AGAIN}

    async def plan(self, folder: HotFolder) -> AsyncIterator[Planned]:
        """The files that wait in this folder, by name. Raises FolderAway."""
        try:
            names = await asyncio.to_thread(self._names, folder)
        except OSError as error:
            raise folder_away(folder.inbox, error) from error
        looks: deque[tuple[Path, asyncio.Task[Planned | _Looked]]] = deque()
        try:
            while names or looks:
                while names and len(looks) < AT_ONCE:
                    relative = names.popleft()
                    looks.append((relative, asyncio.create_task(self._look(folder, relative))))
                relative, look = looks.popleft()
                found = await look
                yield found if isinstance(found, Planned) else self._fate(folder, relative, found)
        finally:
            for _, look in looks:
                look.cancel()

    async def _look(self, folder: HotFolder, relative: Path) -> Planned | _Looked:
        path = folder.inbox / relative
        try:
            finding = await self._images.examine(path)
            if not isinstance(finding, Whole):
                fate = Fate.UNFINISHED if isinstance(finding, Unfinished) else Fate.REFUSED
                return Planned(folder=folder, relative=relative, fate=fate, why=finding.fault.message)
            offsets = resolve(folder.preset, finding.size)
            sha256 = await asyncio.to_thread(Disk(self._looking.roots).digest, path)
        except FileFault as error:
            return Planned(folder=folder, relative=relative, fate=Fate.REFUSED, why=error.fault.message)
        except (Later, OSError) as error:
            return Planned(folder=folder, relative=relative, fate=Fate.UNFINISHED, why=str(error))
        return _Looked(finding, offsets, sha256)

    def _names(self, folder: HotFolder) -> deque[Path]:
        found = self._looking.waiting_files(folder.inbox, recursive=folder.recursive)
        return deque(sorted(one.relative for one in found))

    def _fate(self, folder: HotFolder, relative: Path, looked: _Looked) -> Planned:
        fate, before = self._duplicate(folder, looked)
        self._planned.setdefault((looked.sha256, looked.offsets), str(relative))
        result = looked.offsets.applied_to(looked.whole.size)
        return Planned(
            folder=folder,
            relative=relative,
            fate=fate,
            size=looked.whole.size,
            offsets=looked.offsets,
            result=result,
            name=None if fate is Fate.SKIPPED else self._name(folder, relative, looked.whole, result),
            before=before,
        )

    def _duplicate(self, folder: HotFolder, looked: _Looked) -> tuple[Fate, str]:
        job = self._journal.paid_before(looked.sha256, looked.offsets) if self._journal else None
        before = job.id if job else self._planned.get((looked.sha256, looked.offsets), "")
        if not before:
            return Fate.NEW, ""
        if folder.duplicates is Duplicates.EXPAND or looked.sha256 in self._again:
            return Fate.AGAIN, before
        if folder.duplicates is Duplicates.SKIP:
            return Fate.SKIPPED, before
        kept = job is None or self._kept(job.result.sha256 if job.result else "")
        return (Fate.REUSED if kept else Fate.AGAIN), before

    def _kept(self, sha256: str) -> bool:
        return (self._settings.state_dir / "vault" / "kept" / sha256).is_file()

    def _name(self, folder: HotFolder, relative: Path, whole: Whole, result: Size) -> Path | None:
        """None where the outbox cannot be looked at: nobody can tell which names are free there."""
        name = result_name(
            folder.name,
            relative.name,
            extension=whole.format.extension,
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
        return target not in self._taken and not self._looking.there(target)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A whole picture, and the digest of its bytes."""

    whole: Whole
    offsets: Offsets
    sha256: str
