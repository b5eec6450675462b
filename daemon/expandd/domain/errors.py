"""The errors, by what happens next.

ExpanddError
├── ConfigurationError   nothing starts: the person corrects the file (exit 78)
├── InstanceRunning      nothing starts: another instance holds the state (exit 75)
├── FileFault            this file is bad: the error folder, with a sentence
├── Later                this file later: back-off with jitter
│   ├── ReaderDied       the process that reads it gave no answer; again and again, it is the file's fault
│   ├── InspectionTooLong  it was not inspected in a short time: it must not hold up others
│   ├── DecoderAway      no process that decodes can be started: everything that needs one waits
│   └── LinkDead         the result's link cannot be used: /history may name another
├── SpoolDamaged         the paid bytes kept here are gone or wrong: fetch them again, free of charge
├── FolderAway           this folder is away: its files wait, the others go on
├── AccountAway          the account or the API is away: everything waits, one gentle probe
├── OutcomeUnknown       the answer to a paid call was lost: ask, never pay again
├── DatabaseAway         the job database cannot be written: stop spending, say so
├── RowRefused           this one change cannot be written down, whatever the disk does; no other is concerned
│   └── NameTaken        another open job has this path for its result or its original: choose another
├── StaleJob             somebody else moved this job: let go of it
├── HostFenced           other hosts have taken this one for dead, or the job database is another: it begins anew
└── IllegalMove          a bug of ours: loud, never swallowed
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from expandd.domain.pauses import PauseReason


class FaultCode(Enum):
    """Why a file went to the error folder; the machine's word in the sidecar."""

    EMPTY = "empty"
    UNSUPPORTED_TYPE = "unsupported_type"
    NOT_WHOLE = "not_whole"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    NOTHING_TO_DO = "nothing_to_do"
    OFFSETS_LEAVE_NOTHING = "offsets_leave_nothing"
    UNREADABLE = "unreadable"
    REFUSED_BY_API = "refused_by_api"
    FAILED_AT_API = "failed_at_api"
    NOT_TAKEN_BY_API = "not_taken_by_api"
    GIVEN_UP_BY_PERSON = "given_up_by_person"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the file itself, in words for the person who dropped it."""

    code: FaultCode
    message: str
    what_to_do: str


class ExpanddError(Exception):
    """Any failure this program names itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error in the configuration: where it stands, what was expected, what was found."""

    where: str
    path: str
    expected: str
    found: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.where}: {self.path}: expected {self.expected}, found {self.found}.{hint}"


class ConfigurationError(ExpanddError):
    """Every error of the configuration at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InstanceRunning(ExpanddError):
    """Another instance holds the state directory or an inbox; the message names it."""


class FileFault(ExpanddError):
    """The file itself cannot be expanded, now or ever."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Later(ExpanddError):
    """This file cannot go on just now, and only this file."""


class ReaderDied(Later):
    """The process that decodes this file ended, or hung, without an answer."""


class InspectionTooLong(Later):
    """This file takes longer to inspect than others should wait."""


class DecoderAway(Later):
    """No decoder process can be started."""


class LinkDead(Later):
    """The result link cannot be used; /history may name another one."""


class SpoolDamaged(ExpanddError):
    """The downloaded bytes are gone or not those that were downloaded."""


class FolderAway(ExpanddError):
    """A directory of a hot folder is gone, unmounted, full or not writable.

    `may_be_file` where one file alone may be at fault as well, for the reason that `detail` gives in a few words:
    a caller that knows the folder to be fine lets that file wait, not the folder. `is_want` where nothing is known of
    the folder, as no descriptor was left to ask with.
    """

    def __init__(
        self, reason: PauseReason, message: str, *, may_be_file: bool = False, detail: str = "", is_want: bool = False
    ) -> None:
        super().__init__(message)
        self.is_want = is_want
        self.reason = reason
        self.may_be_file = may_be_file
        self.detail = detail


class AccountAway(ExpanddError):
    """The API or the account cannot serve anybody now.

    `retry_after` is in seconds, from the server, or None when it named no time.
    """

    def __init__(self, reason: PauseReason, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class ImageIdRefused(ExpanddError):
    """The API does not know this image id (any more): nothing was made, and another upload may help."""


class OutcomeUnknown(ExpanddError):
    """A generate was sent and its answer was lost: it may have been paid for."""


class DatabaseAway(ExpanddError):
    """The job database cannot be read or written."""


class RowRefused(ExpanddError):
    """One change holds what the job database does not take: a number out of range, a key that is there already."""


class NameTaken(RowRefused):
    """Another open job has chosen the same path for its result, or for its original."""


class StaleJob(ExpanddError):
    """The job is not in the state, or not of the owner, that the caller believed."""


class HostFenced(ExpanddError):
    """Other hosts have taken this one for dead, or the job database is another: it goes on as a new member."""


class IllegalMove(ExpanddError):
    """A move that the table of states does not have."""


CANCELLED = Fault(
    FaultCode.CANCELLED,
    "A person has cancelled this image before anything was paid for it.",
    "To expand it after all, move it back into the inbox.",
)

GIVEN_UP = Fault(
    FaultCode.GIVEN_UP_BY_PERSON,
    "A person has said that this image was paid for; its result never came.",
    "Ask the API about it. Moving the file back into the inbox expands it anew, which costs again.",
)

READER_DIES = Fault(
    FaultCode.UNREADABLE,
    "The program that looks into the image ended, or hung, without an answer each time: this image takes more than "
    "there is, is damaged, or was made to do harm.",
    "Open it in an image editor, export it again as JPEG, PNG or TIFF, and drop that.",
)

MOST_DEATHS = 3
"""Times that the decoder ends without an answer before the image counts as at fault."""
