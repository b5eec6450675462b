"""Owns the faults that a person's order makes: what the error folder says of them."""

from __future__ import annotations

from expandd.domain.errors import Fault, FaultCode

CANCELLED = Fault(
    FaultCode.CANCELLED,
    "A person has cancelled this picture before anything was paid for it.",
    "To expand it after all, move it back into the inbox.",
)

GIVEN_UP = Fault(
    FaultCode.GIVEN_UP_BY_PERSON,
    "A person has said that this picture was paid for; its result never came.",
    "Ask the service about it. Moving the file back into the inbox expands it anew, which costs again.",
)

READER_DIES = Fault(
    FaultCode.UNREADABLE,
    "The program that looks into the image ended, or hung, without an answer each time: this image takes more than "
    "there is, is damaged, or was made to do harm.",
    "Open it in an image editor, export it again as JPEG, PNG or WEBP, and drop that.",
)

MOST_DEATHS = 3
"""Times that it ends so before the image is to blame for it."""
