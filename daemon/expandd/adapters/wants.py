"""Tells what the system has none of just now from what is so: whoever was refused a descriptor has learnt nothing."""

from __future__ import annotations

import errno

WANTS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""RequestRefusals that say nothing of what was asked for: no descriptor, or no memory, was left to ask with."""


def raise_want(error: OSError) -> None:
    """Raise it again if it is a want: what could not be asked for is neither there nor absent."""
    if error.errno in WANTS:
        raise error
