"""The entry point: `python -m expandd`, and the installed command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from expandd.service.cli.cli import cli  # noqa: PLC0415 - so that importing expandd.__main__ costs nothing

    cli(prog_name="expandd")


if __name__ == "__main__":
    main()
