"""Finds the job of an error notification: it names no image, so the API is asked again, image by image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from expandd.domain.api_types import Announcement, Notification


@dataclass(slots=True)
class _Search:
    """The image ids for which the API showed an error without an image id, and those for which it did not."""

    shown: set[str] = field(default_factory=set)
    not_shown: set[str] = field(default_factory=set)

    def next(self, waiting: Sequence[str]) -> str:
        """The image id to ask for next; "" when none is left."""
        if len(self.shown) > 1:
            return ""
        unasked = [image_id for image_id in waiting if image_id not in self.shown | self.not_shown]
        if unasked:
            return unasked[0]
        if self.shown and not self.not_shown:
            return _nobody(*self.shown)
        return ""

    @property
    def owner(self) -> str:
        """The image id for which alone the error was shown; none where the API's filter shows it for others too."""
        return next(iter(self.shown)) if len(self.shown) == 1 and self.not_shown else ""

    def is_not(self, image_id: str) -> bool:
        """Whether the error certainly belongs to another image."""
        return image_id in self.not_shown or self.owner not in {"", image_id}


class ErrorMatching:
    """Remembers the errors without an image id, and the API's answers to the question whose they are."""

    def __init__(self) -> None:
        self._searches: dict[int, _Search] = {}
        self._shared_turn = False
        self._shared_at = -math.inf

    @property
    def searching(self) -> bool:
        """Whether the image of any error is still to be found."""
        return bool(self._searches)

    def next_question(self, waiting: Iterable[str]) -> str:
        """The image id to filter the next poll by, or "" for a poll that serves all jobs.

        Every second poll stays a shared one, so that results are never held up by the search.
        """
        self._shared_turn = not self._shared_turn
        if self._shared_turn:
            return ""
        ids = tuple(waiting)
        return next((question for search in self._searches.values() if (question := search.next(ids))), "")

    def clears(self, image_id: str, since: float) -> bool:
        """Whether a poll that serves all jobs was answered after `since`, and no error in it can be this image's.

        An error says that the paid call was accepted, also where /history shows nothing of it.
        """
        return self._shared_at >= since and all(search.is_not(image_id) for search in self._searches.values())

    def read(
        self, answer: Sequence[Notification], asked: str, *, settled: frozenset[int], now: float
    ) -> dict[int, str]:
        """The errors that are now known to belong to an image, by notification id.

        `settled` are the notifications whose job is known. `now` is monotonic, in seconds.
        """
        nameless = {item.id for item in answer if _nameless(item) and item.id is not None and item.id not in settled}
        if not asked:
            self._shared_at = now
            self._searches = {number: self._searches.get(number, _Search()) for number in nameless}
        else:
            for number, search in self._searches.items():
                (search.shown if number in nameless else search.not_shown).add(asked)
        return {number: search.owner for number, search in self._searches.items() if search.owner}


def _nobody(image_id: str) -> str:
    """An image id that no image has: an error shown for it is shown for all."""
    return image_id[::-1] if image_id[::-1] != image_id else image_id + image_id[:1]


def _nameless(item: Notification) -> bool:
    return item.kind is Announcement.ERROR and not item.image_id
