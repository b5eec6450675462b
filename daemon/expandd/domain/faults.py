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
