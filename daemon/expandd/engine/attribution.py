"""Owns whose an error is: notifications of errors name no image, so the API is asked again, image by image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from expandd.domain.answers import Announcement, Notification


class Attribution:
    """Remembers the errors that name nobody, and for which images each was asked about."""

    def __init__(self) -> None:
        self._asked: dict[int, set[str]] = {}
        self._shared_turn = False

    def next_question(self, waiting: Iterable[str]) -> str:
        """The image id to filter the next poll by, or "" for a poll that serves all jobs.

        Every second poll stays a shared one, so that results are never held up by the search.
        """
        self._shared_turn = not self._shared_turn
        if self._shared_turn:
            return ""
        for image_id in waiting:
            if any(image_id not in asked for asked in self._asked.values()):
                return image_id
        return ""

    def read(self, answer: Sequence[Notification], asked: str, *, settled: frozenset[int]) -> dict[int, str]:
        """The errors of `answer` that belong to the image `asked`, by notification id.

        `settled` are the notifications whose job is known. An answer that also shows other images' notifications
        was not filtered, and proves nothing.
        """
        nameless = [item.id for item in answer if _nameless(item) and item.id is not None and item.id not in settled]
        if not asked:
            self._asked = {number: self._asked.get(number, set()) for number in nameless}
            return {}
        for images in self._asked.values():
            images.add(asked)
        filtered = all(item.image_id in {"", asked} for item in answer)
        return dict.fromkeys(nameless, asked) if filtered else {}


def _nameless(item: Notification) -> bool:
    return item.kind is Announcement.ERROR and not item.image_id
