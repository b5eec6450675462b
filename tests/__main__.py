"""Owns the one command that runs all checks: `python -m tests`. What follows it is handed to pytest."""

from __future__ import annotations

import os
import subprocess
import sys

CHECKS = (
    ("lint", ("ruff", "check", ".")),
    ("format", ("ruff", "format", "--check", ".")),
    ("types", ("mypy",)),
)


def main() -> int:
    """Run every check, also after one has failed; the last is pytest, so that its count closes the output."""
    failed = [name for name, command in CHECKS if _run(name, command)]
    # Two for each core: much of what is tested waits for processes, disks and time-outs.
    workers = str(2 * min(4, os.cpu_count() or 1))
    if _run("tests", ("pytest", "-n", workers, *sys.argv[1:])):
        failed.append("tests")
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, command: tuple[str, ...]) -> int:
    print(f"== {name}: {' '.join(command)}", flush=True)
    return subprocess.call([sys.executable, "-m", *command])


if __name__ == "__main__":
    sys.exit(main())
