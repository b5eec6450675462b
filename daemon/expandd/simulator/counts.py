"""What the simulator saw, for tests to assert on."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

UNKNOWN_FIELD = "Unknown field."
NULL_FIELD = "Field may not be null."
NOT_TEXT = "Not a valid string."


@dataclass(frozen=True, slots=True)
class UploadSeen:
    """One file received whole, accepted or not. `id_image` is None for a refused one.

    `began` is when the call's first bytes were there, in monotonic seconds.
    """

    sha256: str
    size: int
    part: str
    filename: str
    id_image: str | None
    began: float


@dataclass(frozen=True, slots=True)
class DeleteSeen:
    """One notification deleted. `downloaded` tells whether its result had been sent whole before."""

    id: int
    name: str
    id_image: str
    foreign: bool
    downloaded: bool


@dataclass(slots=True)
class Counts:
    """Figures since the server was made. `calls` is endpoint → status → number.

    A status is the HTTP status, or `reset` or `dropped` where no whole answer was sent; calls that matched
    no endpoint are under `unknown`. `downloads` counts results sent whole, by image id. `generation_seconds` is
    what each accepted generate takes, in order.
    """

    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    generates_by_image: dict[str, int] = field(default_factory=dict)
    generates_by_source: dict[str, int] = field(default_factory=dict)
    generates_refused: int = 0
    generation_seconds: list[float] = field(default_factory=list)
    generate_extras: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[UploadSeen] = field(default_factory=list)
    polls_too_close: int = 0
    poll_gaps: list[float] = field(default_factory=list)
    in_flight_max: int = 0
    downloads: dict[str, int] = field(default_factory=dict)
    tasks_downloaded: set[str] = field(default_factory=set)
    deletes: list[DeleteSeen] = field(default_factory=list)
    authorization_at_link_host: int = 0
    authorization_at_refresh: int = 0
    refresh_reused: int = 0
    unknown_fields: int = 0
    null_fields: int = 0
    name_list_not_text: int = 0

    def total(self, endpoint: str) -> int:
        """All calls to one endpoint, whatever their status."""
        return sum(self.calls.get(endpoint, {}).values())

    @property
    def generates_accepted(self) -> int:
        return sum(self.generates_by_image.values())

    @property
    def paid_twice(self) -> list[str]:
        """The sha256 of each source for which more than one generate was accepted."""
        return [sha256 for sha256, number in self.generates_by_source.items() if number > 1]

    @property
    def poll_gap_min(self) -> float | None:
        """The shortest time between two polls in seconds; None before the second poll."""
        return min(self.poll_gaps, default=None)

    @property
    def deletes_foreign(self) -> int:
        return sum(seen.foreign for seen in self.deletes)

    @property
    def deletes_before_download(self) -> int:
        """Deletes of a finished job's notification whose result had never been sent whole."""
        return sum(not seen.downloaded and not seen.foreign and seen.name != "error" for seen in self.deletes)

    def note_call(self, endpoint: str, status: str) -> None:
        _add(self.calls.setdefault(endpoint, {}), status)
        self.generates_refused += endpoint == "generate" and status.isdigit() and int(status) >= HTTPStatus.BAD_REQUEST

    def note_generate(
        self, id_image: str, sha256: str, in_flight: int, seconds: float, extras: Mapping[str, Any]
    ) -> None:
        _add(self.generates_by_image, id_image)
        _add(self.generates_by_source, sha256)
        self.in_flight_max = max(self.in_flight_max, in_flight)
        self.generation_seconds.append(seconds)
        if extras:
            self.generate_extras.append(dict(extras))

    def note_download(self, id_image: str, id_task: str) -> None:
        self.tasks_downloaded.add(id_task)
        _add(self.downloads, id_image)

    def note_errors(self, errors: Mapping[str, list[str]]) -> None:
        """Count the errors of a refused body, given as field → messages."""
        messages = [message for group in errors.values() for message in group]
        self.unknown_fields += messages.count(UNKNOWN_FIELD)
        self.null_fields += messages.count(NULL_FIELD)
        self.name_list_not_text += errors.get("name_list", []).count(NOT_TEXT)

    def snapshot(self) -> "Counts":
        return copy.deepcopy(self)

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["poll_gaps"], values["tasks_downloaded"]
        return values | {name: getattr(self, name) for name in _DERIVED}


_DERIVED = ("generates_accepted", "paid_twice", "poll_gap_min", "deletes_foreign", "deletes_before_download")


def _add(counter: dict[str, int], key: str) -> None:
    counter[key] = counter.get(key, 0) + 1
