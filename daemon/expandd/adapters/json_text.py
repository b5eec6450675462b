"""Reads JSON that somebody else may have written: of bounded length and depth, with numbers that are some."""

from __future__ import annotations

import json
import math
from typing import IO, Any

MOST = 1 << 16
"""Bytes of a file of ours that lies among people's files; it has a few thousand."""


def read_json(file: IO[bytes], most: int = MOST) -> Any:
    """What a file holds. Raises ValueError for whatever is no JSON or longer than `most`, and OSError."""
    text = file.read(most + 1)
    if len(text) > most:
        raise ValueError(f"it has more than {most} bytes")
    return parsed_json(text)


def parsed_json(text: bytes | str) -> Any:
    """What a text says. Raises ValueError, and nothing else, for whatever is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is no number")
