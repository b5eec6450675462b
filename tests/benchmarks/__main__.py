"""What is measured here, and the command for it."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    "makespan",
    "line",
    "cost",
    "pickup",
    "idle",
    "backlog",
    "stalls",
    "job_store",
    "side_by_side",
    "spool",
    "cluster",
)


def main() -> None:
    print("Each prints Markdown tables; --help names its switches. README.md beside them says which figure is whose.\n")
    for name in NAMES:
        told = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or ""
        print(f"python -m tests.benchmarks.{name:<14}{told.splitlines()[0]}")


if __name__ == "__main__":
    main()
