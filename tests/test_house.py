"""The rules of the house that neither ruff nor import-linter has: what a floor asks for, state, and size."""

from __future__ import annotations

import ast
import functools
import gc
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DAEMON = ROOT / "daemon"
PACKAGE = DAEMON / "expandd"
PATHS = tuple(str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py")))

OF_OS = frozenset({"fsencode", "fsdecode"})
"""What the domain may use of `os`: how a name becomes bytes."""

FILE_CALLS = frozenset(
    [
        "absolute",
        "chmod",
        "cwd",
        "exists",
        "expanduser",
        "glob",
        "home",
        "is_dir",
        "is_file",
        "is_symlink",
        "iterdir",
        "lstat",
        "mkdir",
        "open",
        "read_bytes",
        "read_text",
        "readlink",
        "rename",
        "resolve",
        "rglob",
        "rmdir",
        "stat",
        "symlink_to",
        "touch",
        "unlink",
        "write_bytes",
        "write_text",
    ],
)
"""Methods of a Path that ask a file system."""

CLOCK_CALLS = frozenset({"sleep", "timeout", "wait_for", "to_thread"})
"""What the engine may not use of asyncio: its clock and its threads are passed in."""

ENGINE_NEVER_CALLS = frozenset({"lstat", "read_bytes", "write_bytes", "unlink", "mkdir", "iterdir", "exists"})

FOR_PEOPLE = frozenset({"jinja2", "PIL", "prometheus_client", "rich", "starlette", "uvicorn"})
"""What only a page, metrics, a drawing or a terminal needs: a daemon without one spares the time and the memory."""

FOR_WORK = frozenset({"httpx", "structlog", "watchdog"})

FOR_HOSTS = {"psycopg", "procrastinate"}
NEEDLESS = {
    "cli.cli": FOR_PEOPLE | FOR_WORK | FOR_HOSTS | {"pydantic", "yaml"},
    "reports.status": FOR_PEOPLE | FOR_WORK | FOR_HOSTS,
    "reports.why": FOR_PEOPLE | FOR_WORK | FOR_HOSTS,
    "control": FOR_PEOPLE | FOR_WORK | FOR_HOSTS,
    "runtime.entry": FOR_PEOPLE | FOR_HOSTS,
}
"""Modules of the service, and what whoever starts the program for them should not wait for."""

CHANGING = frozenset({"append", "add", "update", "pop", "clear", "extend", "setdefault", "remove", "discard", "insert"})
CONTAINERS = frozenset({"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter"})

MOST_LINES = 500
MEDIAN_FUNCTION = 10


def floor(name: str) -> list[str]:
    return [path for path in PATHS if path.startswith(f"{name}/")]


@functools.cache
def parsed(path: str) -> ast.Module:
    """Only once it is asked for: each process that runs tests collects all of them."""
    # CPython before 3.11.8 fails where garbage is collected meanwhile (gh-106905).
    gc.disable()
    try:
        return ast.parse((PACKAGE / path).read_text("utf-8"))
    finally:
        gc.enable()


def trees() -> dict[str, ast.Module]:
    return {path: parsed(path) for path in PATHS}


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each attribute in the tree with the name it is taken of; an empty name where that is an expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.value.id if isinstance(node.value, ast.Name) else "", node.attr


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


# --- what a floor asks for ---


def test_the_domain_does_no_io() -> None:
    for path in floor("domain"):
        found = set(attributes(parsed(path)))
        assert {name for of, name in found if of == "os"} <= OF_OS, path
        assert {name for _, name in found} & FILE_CALLS == set(), path
        assert set(calls(parsed(path))) & {"open", "print", "input"} == set(), path


def test_the_engine_asks_neither_the_clock_nor_the_disk() -> None:
    for path in floor("engine"):
        found = set(attributes(parsed(path)))
        assert {name for of, name in found if of == "asyncio"} & CLOCK_CALLS == set(), path
        assert {name for _, name in found} & ENGINE_NEVER_CALLS == set(), path


def test_imports_go_one_way() -> None:
    """The contracts are in pyproject.toml."""
    lint = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_source_root_is_no_package() -> None:
    """As a package it would shadow python-daemon's `import daemon`."""
    assert not (DAEMON / "__init__.py").exists()


@pytest.mark.parametrize("module", NEEDLESS)
def test_a_start_loads_nothing_needless(module: str) -> None:
    code = f"import sys, expandd.service.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DAEMON)

    assert NEEDLESS[module] & set(loaded.stdout.split()) == set()


def test_what_a_library_was_not_to_load_can_be_loaded_afterwards() -> None:
    code = "import expandd.service.runtime.entry, rich.progress, httpx._main"

    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=DAEMON)


def test_each_rule_that_is_put_aside_has_its_reason_beside_it() -> None:
    without = re.compile(r"#\s*(noqa(:\s*[A-Z]+\d+(\s*,\s*[A-Z]+\d+)*)?|type:\s*ignore(\[[\w, -]+\])?)\s*$")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("daemon", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if without.search(line)
    ]

    assert found == []


# --- size and state ---


def test_modules_and_functions_are_short() -> None:
    long = {path: tree.body[-1].end_lineno for path, tree in trees().items() if tree.body}
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert {path: lines for path, lines in long.items() if (lines or 0) > MOST_LINES} == {}
    assert statistics.median(functions) < MEDIAN_FUNCTION


def test_modules_keep_no_state() -> None:
    """Tables are fine, in capitals or private; nothing at module level is ever changed or made anew."""
    assert {path: found for path, tree in trees().items() if (found := list(_state(tree)))} == {}


def _state(tree: ast.Module) -> Iterator[str]:
    """Containers at module level that are empty, not named as constants, or changed by some function."""
    tables = {name for node in tree.body for name in _targets(node)}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_mutable(node):
            yield ast.unparse(node)
    for part in ast.walk(tree):
        if _changed_by(part) in tables:
            yield ast.unparse(part)


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_mutable(node: ast.Assign | ast.AnnAssign) -> bool:
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in CONTAINERS
    if not isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return False
    empty = not ast.unparse(value).strip("[]{}")
    return empty or not all(name.lstrip("_").isupper() or name == "__all__" for name in _targets(node))


def _changed_by(node: ast.AST) -> str | None:
    """The name that a call or an assignment to an item changes in place."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        return node.func.value.id if isinstance(node.func.value, ast.Name) else None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return node.value.id if isinstance(node.value, ast.Name) else None
    return None
