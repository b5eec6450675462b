"""The one command that runs all checks: `python -m tests`. What follows it is handed to pytest."""

from __future__ import annotations

import os
import subprocess
import sys

CHECKS = (
    ("lint", ("ruff", "check", ".")),
    ("format", ("ruff", "format", "--check", ".")),
)


def main() -> int:
    """Run every check, also after one has failed.

    mypy keeps one core busy, and is run beside pytest. It says something only where it fails, so that the count of
    pytest closes the output.
    """
    failed = [name for name, command in CHECKS if _run(name, command)]
    types = subprocess.Popen(_line("types", ("mypy",)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # Two for each core: much of what is tested waits for processes, disks and time-outs.
    workers = str(2 * min(4, os.cpu_count() or 1))
    if _run("tests", ("pytest", "-n", workers, *sys.argv[1:])):
        failed.append("tests")
    said, _ = types.communicate()
    if types.returncode:
        failed.append("types")
        print(said, file=sys.stderr)
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, command: tuple[str, ...]) -> int:
    return subprocess.call(_line(name, command))


def _line(name: str, command: tuple[str, ...]) -> list[str]:
    print(f"== {name}: {' '.join(command)}", flush=True)
    return [sys.executable, "-m", *command]


if __name__ == "__main__":
    sys.exit(main())
