"""The start beside folders whose disks give no answer: it waits once for all of them together, not for one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from expandd.domain.errors import FolderAway
from expandd.domain.events import Recovered
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Folders
from tests.support.fake_api import Slow
from tests.support.manual_clock import ManualClock
from tests.support.workshop import Workshop

PATIENCE = 5.0
HUNG = 5
"""So many folders hang, each on a share of its own, with a job that was not paid for yet in each."""


class HangingFolders:
    """Folders of which those in `hung` give no answer: each call about them is given up after a while."""

    def __init__(self, folders: Folders, clock: ManualClock) -> None:
        self._folders = folders
        self._clock = clock
        self.hung: frozenset[Path] = frozenset()

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Awaitable[Any]] = getattr(self._folders, name)

        async def called(*arguments: Any, **named: Any) -> Any:
            if any(self._is_hung(one) for one in arguments):
                await self._clock.sleep(PATIENCE)
                raise FolderAway(PauseReason.INBOX_UNAVAILABLE, "its disk does not answer")
            return await method(*arguments, **named)

        return method if name == "scan" else called

    def _is_hung(self, argument: object) -> bool:
        path = argument if isinstance(argument, Path) else getattr(argument, "work_dir", Path())
        return any(path.is_relative_to(inbox) for inbox in self.hung)


async def test_shares_that_hang_hold_up_the_start_of_the_other_folders_once_and_together(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(folders=HUNG + 1, workers=HUNG + 1)
    hanging = HangingFolders(workshop.folders, workshop.clock)
    workshop.folders = cast("Folders", hanging)
    workshop.api.script("upload", *[Slow(60.0)] * HUNG)
    names = [f"pic-{number}.png" for number in range(HUNG)]
    for number, name in enumerate(names):
        workshop.drop(name, folder=number)
    workshop.start()
    await workshop.until(lambda: len(workshop.api.called("upload")) == HUNG)
    # Four were uploaded at once; one of them is being paid for.
    assert len(workshop.engine.jobs.in_state(JobState.SUBMITTING)) == 1
    await workshop.crash()

    hanging.hung = frozenset(folder.inbox for folder in workshop.hot[:HUNG])
    workshop.drop("good.png", folder=HUNG)
    workshop.start()
    await workshop.event(lambda event: event == Recovered(HUNG, 0), within=PATIENCE)
    await workshop.closed("good.png", within=30.0)
    hanging.hung = frozenset()
    await workshop.closed(*names)

    assert len(workshop.api.paid) == HUNG + 1
