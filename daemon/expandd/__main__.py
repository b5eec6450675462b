"""The entry point: `python -m expandd`, and the installed command."""

from __future__ import annotations

import sys
from contextlib import suppress
from io import TextIOWrapper


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its number, not a trace.
        with suppress(OSError):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    from expandd.service.cli.cli import cli  # noqa: PLC0415 - so that importing expandd.__main__ costs nothing

    cli(prog_name="expandd")


if __name__ == "__main__":
    main()
