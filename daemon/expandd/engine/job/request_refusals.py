"""Tells a refusal of what we send along with every paid call from one of a single image."""

from __future__ import annotations

import re
from collections.abc import Collection

from expandd.domain.errors import AccountAway, FileFault, Later
from expandd.domain.job import Job
from expandd.domain.pauses import PauseReason

SEVERAL = 3
"""Images that are refused in the same words, with none accepted, after which no image is at fault."""

TRIES = 3
"""Tries of one image after which it is at fault alone, where others have not been refused so."""

MOST_WORDS = 64
"""Different refusals that are remembered."""

_OF_ONE_IMAGE = re.compile(r"[0-9a-f-]{8,}|\d+", re.IGNORECASE)
"""Ids and numbers in a refusal: they differ from image to image."""


class Refusals:
    """Judges refused paid calls while fields of `api.generate_extra` (`added`) are sent and none was accepted yet."""

    def __init__(self, added: Collection[str]) -> None:
        self._added = ", ".join(sorted(added))
        self._refused: dict[str, dict[str, int]] = {}

    def accepted(self) -> None:
        """The API takes what is sent along: from now on each refusal is about its image."""
        self._added = ""
        self._refused.clear()

    def judged(self, job: Job, refusal: FileFault) -> AccountAway | Later | None:
        """What the refusal amounts to instead; None where the image is at fault."""
        if not self._added:
            return None
        words = _OF_ONE_IMAGE.sub("", refusal.fault.message.replace(job.image_id, ""))
        if words not in self._refused and len(self._refused) >= MOST_WORDS:
            self._refused.clear()
        tries = self._refused.setdefault(words, {})
        if len(tries) < SEVERAL or job.id in tries:
            tries[job.id] = tries.get(job.id, 0) + 1
        if len(tries) >= SEVERAL:
            return AccountAway(
                PauseReason.REQUEST_REFUSED,
                f"The API has refused {SEVERAL} images in the same words and accepted none since expandd was started: "
                f"{refusal.fault.message} It may be about `api.generate_extra` ({self._added}); no file is at fault.",
            )
        return Later(refusal.fault.message) if tries[job.id] < TRIES else None
