"""The fake API: it keeps images, jobs, notifications and history as the API does, and fails as told."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, pairwise
from pathlib import Path

from expandd.domain.api_types import Account, Announcement, Fetched, History, Notification, Uploaded
from expandd.domain.errors import AccountAway, ImageIdRefused, LinkDead, OutcomeUnknown
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Clock
from tests.support.fakes import an_image, sha256, size_of

NOTIFICATION_LIFE = 600.0
SOURCE_LIFE = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Refuse:
    """The call fails, `later` seconds later than it would be answered, and nothing has happened."""

    error: Exception
    later: float = 0.0


@dataclass(frozen=True, slots=True)
class Lose:
    """The call does its work, then its answer is lost."""

    error: Exception = field(default_factory=lambda: OutcomeUnknown("the connection was reset"))


@dataclass(frozen=True, slots=True)
class Slow:
    """The call takes this many seconds, then goes well."""

    seconds: float


Outcome = Refuse | Lose | Slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of an accepted job: a result after `seconds`, or an error, announced or not."""

    seconds: float = 5.0
    error: str = ""
    nameless: bool = True
    """Whether its error notification leaves the image out, as the real ones do."""
    announced: int = 1
    """How many notifications tell of it; 0 when the notification is lost."""
    in_history: bool = True
    by_task: bool = False
    """Whether the notification names the task instead of the image."""
    error_too: str = ""
    """An error notification before that of the result, in one list with it."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One call, as the API saw it; `ended` is None while it is under way."""

    endpoint: str
    about: str
    began: float
    ended: float | None = None


@dataclass(slots=True, kw_only=True)
class Image:
    """An uploaded image."""

    name: str
    content: bytes
    uploaded: float


@dataclass(slots=True, kw_only=True)
class Paid:
    """An accepted paid call."""

    image_id: str
    offsets: Offsets
    at: float
    fate: Fate
    told: bool = False

    @property
    def link(self) -> str:
        return f"https://links.example/{self.image_id}"


@dataclass(slots=True, kw_only=True)
class Item:
    """A notification in the API's store: `owner` is whose it really is, also where it names nobody."""

    notification: Notification
    owner: str
    at: float


class FakeApi:
    """The Magic Expand API on the manual clock. Each call takes `latency` seconds."""

    def __init__(self, clock: Clock, *, latency: float = 0.125) -> None:
        self.clock = clock
        self.latency = latency
        self.calls: list[Call] = []
        self.images: dict[str, Image] = {}
        self.paid: list[Paid] = []
        self.items: dict[int, Item] = {}
        self.deleted: list[int] = []
        self.credits: int | None = None
        self.price = 1
        self.history_answers = True
        self.clock_behind = 0.0
        """Seconds by which the API's own clock differs from ours."""
        self.fates: dict[str, Fate] = {}
        """By the name of the dropped file; `fate` is for all others."""
        self.fate = Fate()
        self.results: dict[str, deque[bytes]] = defaultdict(deque)
        """What the link host serves, by the name of the dropped file, before it serves the right bytes."""
        self.away: dict[str, Exception] = {}
        """By endpoint, or "*": what every call of it raises until it is taken out again."""
        self.bad: dict[tuple[str, str], Exception] = {}
        """By endpoint and the name of the dropped file: what each such call about it raises."""
        self._scripts: dict[str, deque[Outcome | None]] = defaultdict(deque)
        self._numbers = count(1)

    # --- what a test says and asks ---

    def script(self, endpoint: str, *outcomes: Outcome | None) -> None:
        """How the next calls of `endpoint` end, one by one; None is the usual way."""
        self._scripts[endpoint].extend(outcomes)

    def heal(self) -> None:
        """From now on no call fails."""
        self.away.clear()
        self._scripts.clear()

    def called(self, endpoint: str) -> list[Call]:
        return [call for call in self.calls if call.endpoint == endpoint]

    def paid_for(self, name: str) -> list[Paid]:
        return [paid for paid in self.paid if self.images[paid.image_id].name == name]

    def gaps(self) -> list[float]:
        """Seconds from the end of each poll to the start of the next."""
        polls = self.called("notifications")
        return [after.began - before.ended for before, after in pairwise(polls) if before.ended is not None]

    def announce(self, kind: Announcement, owner: str = "", *, image_id: str = "", link: str = "") -> int:
        """Put a notification there that no job of this test made; `owner` is the image that a filter shows it for."""
        number = next(self._numbers)
        notification = Notification(id=number, kind=kind, image_id=image_id, link=link, message="somebody's")
        self.items[number] = Item(notification=notification, owner=owner or image_id, at=self.clock.monotonic())
        return number

    def announce_result(self, image_id: str) -> None:
        """Let a result come for an image whose paid call this test has not seen."""
        offsets, now = Offsets(left=20, right=20, top=10, bottom=10), self.clock.monotonic()
        paid = Paid(image_id=image_id, offsets=offsets, at=now, fate=Fate(seconds=0.0))
        self.paid.append(paid)

    # --- the port ---

    async def upload(self, source: Path, name: str) -> Uploaded:
        call, outcome = await self._begin("upload", name)
        content = source.read_bytes()
        image_id = f"image-{next(self._numbers)}"
        self.images[image_id] = Image(name=name, content=content, uploaded=self.clock.monotonic())
        await self._end(call, outcome)
        return Uploaded(image_id=image_id, sha256=sha256(content))

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        call, outcome = await self._begin("generate", image_id)
        if not self._keeps(image_id):
            await self._refuse(call, ImageIdRefused("the image is bad or expired"))
        if self.credits is not None:
            if self.credits <= 0:
                await self._refuse(call, AccountAway(PauseReason.NO_CREDITS, "no credits are left"))
            self.credits -= self.price
        fate = self.fates.get(self.images[image_id].name, self.fate)
        self.paid.append(Paid(image_id=image_id, offsets=offsets, at=self.clock.monotonic(), fate=fate))
        await self._end(call, outcome)
        return f"task-of-{image_id}"

    async def notifications(self, image_id: str = "") -> Sequence[Notification]:
        call, outcome = await self._begin("notifications", image_id)
        self._announce_finished()
        alive = [item for item in self.items.values() if self.clock.monotonic() - item.at < NOTIFICATION_LIFE]
        await self._end(call, outcome)
        return [item.notification for item in alive if image_id in {"", item.owner}]

    async def delete_notification(self, number: int) -> None:
        call, outcome = await self._begin("delete", str(number))
        self.items.pop(number, None)
        self.deleted.append(number)
        await self._end(call, outcome)

    async def history(self, image_id: str) -> History:
        call, outcome = await self._begin("history", image_id)
        known = self.history_answers and self._keeps(image_id)
        links = [paid.link for paid in self.paid if paid.image_id == image_id and self._shows(paid)]
        await self._end(call, outcome)
        return History(known=True, links=tuple(links)) if known else History(known=False)

    async def download(self, link: str, target: Path) -> Fetched:
        call, outcome = await self._begin("download", link)
        paid = next((paid for paid in self.paid if paid.link == link), None)
        if paid is None:
            await self._refuse(call, LinkDead("404"))
        assert paid is not None
        content = self._result(paid)
        target.write_bytes(content[: len(content) // 2])
        await self._end(call, outcome)
        target.write_bytes(content)
        return Fetched(bytes=len(content), sha256=sha256(content))

    async def account(self) -> Account:
        call, outcome = await self._begin("account", "")
        left = None if self.credits is None else Decimal(self.credits)
        await self._end(call, outcome)
        return Account(credits=left, server_time=None)

    # --- inside ---

    async def _begin(self, endpoint: str, about: str) -> tuple[Call, Outcome | None]:
        """What is refused is refused now. All else happens at once, and only its answer takes time."""
        call = Call(endpoint=endpoint, about=about, began=self.clock.monotonic())
        self.calls.append(call)
        script = self._scripts[endpoint]
        outcome = script.popleft() if script else None
        name = self.images[about].name if about in self.images else about
        away = self.away.get(endpoint) or self.away.get("*") or self.bad.get((endpoint, name))
        if away is not None:
            await self._refuse(call, away)
        if isinstance(outcome, Refuse):
            await self._refuse(call, outcome.error, outcome.later)
        return call, outcome

    async def _refuse(self, call: Call, error: Exception, later: float = 0.0) -> None:
        await self._pass(call, self.latency + later)
        raise error

    async def _end(self, call: Call, outcome: Outcome | None) -> None:
        await self._pass(call, outcome.seconds if isinstance(outcome, Slow) else self.latency)
        if isinstance(outcome, Lose):
            raise outcome.error

    async def _pass(self, call: Call, seconds: float) -> None:
        try:
            await self.clock.sleep(seconds)
        finally:
            call.ended = self.clock.monotonic()

    def _keeps(self, image_id: str) -> bool:
        image = self.images.get(image_id)
        return image is not None and self.clock.monotonic() - image.uploaded < SOURCE_LIFE

    def _shows(self, paid: Paid) -> bool:
        finished = self.clock.monotonic() >= paid.at + paid.fate.seconds
        return finished and paid.fate.in_history and not paid.fate.error

    def _announce_finished(self) -> None:
        for paid in self.paid:
            if not paid.told and self.clock.monotonic() >= paid.at + paid.fate.seconds:
                paid.told = True
                if paid.fate.error_too:
                    self._tell(paid, paid.fate.error_too)
                for _ in range(paid.fate.announced):
                    self._tell(paid, paid.fate.error)

    def _tell(self, paid: Paid, error: str) -> None:
        number, fate = next(self._numbers), paid.fate
        named = not (error and fate.nameless) and not fate.by_task
        self.items[number] = Item(
            notification=Notification(
                id=number,
                kind=Announcement.ERROR if error else Announcement.RESULT,
                image_id=paid.image_id if named else "",
                task_id=f"task-of-{paid.image_id}" if fate.by_task else "",
                link="" if error else paid.link,
                message=error,
                at=self.clock.wall() - self.clock_behind - (self.clock.monotonic() - paid.at - fate.seconds),
            ),
            owner=paid.image_id,
            at=self.clock.monotonic(),
        )

    def _result(self, paid: Paid) -> bytes:
        image = self.images[paid.image_id]
        wrong = self.results[image.name]
        if wrong:
            return wrong.popleft()
        size = size_of(image.content)
        assert size is not None, "only whole images are uploaded"
        result = paid.offsets.applied_to(size)
        return an_image(result.width, result.height, note=f"made of {image.name!a}")
