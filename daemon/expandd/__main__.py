"""The entry point: `python -m expandd`, and the installed command."""

from __future__ import annotations

import codecs
import sys
from contextlib import suppress
from io import TextIOWrapper

_PLAIN = {"×": "x", "…": "...", "“": '"', "”": '"', "·": "-"}


def main() -> None:
    """Run the command line."""
    codecs.register_error("expandd.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="expandd.plain")
    from expandd.service.cli.cli import cli  # noqa: PLC0415 - so that importing expandd.__main__ costs nothing

    cli(prog_name="expandd")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What a terminal shows in place of characters that it does not have: a plain one, or the number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one, one).encode("ascii", "backslashreplace").decode() for one in missing), error.end


if __name__ == "__main__":
    main()
