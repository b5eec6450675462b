"""The reasons for which nothing new is begun, everywhere or in one folder, each with all its facts in one row."""

from __future__ import annotations

from enum import Enum
from typing import Self


class Blocks(Enum):
    """What a pause holds up."""

    CALLS = "calls"
    """Every call of the API."""

    PAYING = "paying"
    """What is not paid for yet; what is paid for is downloaded and delivered all the same."""

    STORING = "storing"
    """What is read from a folder or written to one."""

    INSPECTING = "inspecting"
    """What an image must be decoded for."""


class EndedBy(Enum):
    """Who or what ends a pause."""

    ITSELF = "by itself"
    REPAIR = "by repair"
    """A person repairs the cause outside of expandd."""

    DECISION = "by decision"
    """A person's command, or the calendar: nothing is at fault."""


class Trait(Enum):
    """Properties that only some reasons have."""

    SAYS_REMEDY = "says remedy"
    """The message of each pause contains its remedy."""

    OF_ACCOUNT = "of account"
    """Uploads and paid calls wait, while other calls of the API go on."""


class PauseReason(Enum):
    """Each reason with its title for people, its remedy in a sentence, what it blocks, and who ends it.

    `says_remedy` and `of_account` as in `Trait`.
    """

    _value_: str
    title: str
    remedy: str
    blocks: Blocks
    ended_by: EndedBy
    says_remedy: bool
    of_account: bool

    def __new__(
        cls,
        word: str,
        title: str = "",
        remedy: str = "",
        blocks: Blocks = Blocks.PAYING,
        ended_by: EndedBy = EndedBy.ITSELF,
        *traits: Trait,
    ) -> Self:
        """`word` is its name in the log, metrics, hooks and `--json`."""
        reason = object.__new__(cls)
        reason._value_ = word
        reason.title, reason.remedy, reason.blocks, reason.ended_by = title, remedy, blocks, ended_by
        reason.says_remedy, reason.of_account = Trait.SAYS_REMEDY in traits, Trait.OF_ACCOUNT in traits
        return reason

    API_UNREACHABLE = (
        "api_unreachable",
        "the API cannot be reached",
        "It is tried again by itself; if it lasts, run `expandd check` on this machine.",
        Blocks.CALLS,
    )
    RATE_LIMITED = ("rate_limited", "the API asks for fewer calls", "It goes on by itself.", Blocks.CALLS)
    LOGIN_REFUSED = (
        "login_refused",
        "the login is refused",
        "Put a login that works where it was read from; where systemd hands it over, restart the service then.",
        Blocks.CALLS,
        EndedBy.REPAIR,
        Trait.SAYS_REMEDY,
    )
    ENDPOINT_NOT_FOUND = (
        "endpoint_not_found",
        "the API does not know the path of a call",
        "Correct api.generate_path or api.base_url in the configuration and restart expandd.",
        Blocks.CALLS,
        EndedBy.REPAIR,
        Trait.OF_ACCOUNT,
        Trait.SAYS_REMEDY,
    )
    NO_CREDITS = (
        "no_credits",
        "no credits are left",
        "Top up the account; expandd notices by itself.",
        Blocks.PAYING,
        EndedBy.REPAIR,
        Trait.OF_ACCOUNT,
        Trait.SAYS_REMEDY,
    )
    CREDITS_RESERVED = (
        "credits_reserved",
        "few credits are left",
        "Top up the account, or lower keep_credits in the configuration.",
        Blocks.PAYING,
        EndedBy.REPAIR,
        Trait.SAYS_REMEDY,
    )
    REQUEST_REFUSED = (
        "request_refused",
        "the API refuses what api.generate_extra adds",
        "Correct api.generate_extra in the configuration and restart expandd.",
        Blocks.PAYING,
        EndedBy.REPAIR,
        Trait.OF_ACCOUNT,
        Trait.SAYS_REMEDY,
    )
    INBOX_UNAVAILABLE = (
        "inbox_unavailable",
        "the folder is away",
        "Mount the folder or make it again; it goes on by itself.",
        Blocks.STORING,
        EndedBy.ITSELF,
        Trait.SAYS_REMEDY,
    )
    STORAGE_UNAVAILABLE = (
        "storage_unavailable",
        "results cannot be stored",
        "Make room or correct the permissions; it goes on by itself then. What is paid for is kept.",
        Blocks.STORING,
        EndedBy.ITSELF,
        Trait.OF_ACCOUNT,
        Trait.SAYS_REMEDY,
    )
    DECODER_UNAVAILABLE = (
        "decoder_unavailable",
        "the program that reads images cannot be started",
        "It goes on by itself once it starts; after an upgrade of Python, restart expandd.",
        Blocks.INSPECTING,
        EndedBy.REPAIR,
    )
    DATABASE_UNAVAILABLE = (
        "database_unavailable",
        "the job database cannot be used",
        "See to its disk or its server, and make room there; it goes on by itself.",
        Blocks.PAYING,
        EndedBy.ITSELF,
        Trait.SAYS_REMEDY,
    )
    PAUSED = (
        "paused",
        "paused by a person",
        "`expandd resume` lifts a pause by command; a file named PAUSE pauses as long as it lies there.",
        Blocks.PAYING,
        EndedBy.DECISION,
    )
    BURST = (
        "burst",
        "many files came at once and wait for `expandd release`",
        "`expandd release` lets them go on, `expandd cancel` sends them to the error folder.",
        Blocks.PAYING,
        EndedBy.DECISION,
        Trait.SAYS_REMEDY,
    )
    BUDGET_SPENT = (
        "budget_spent",
        "the budget is used up",
        "It goes on when the next day or month begins, or when the budget is raised.",
        Blocks.PAYING,
        EndedBy.DECISION,
        Trait.SAYS_REMEDY,
    )


TAKE_AWAY = "Take it away and it goes on."


def paused_by(name: str) -> str:
    """Why a folder is paused in whose inbox something of this name lies."""
    return f"{name} lies in the inbox and pauses this folder. {TAKE_AWAY}"
