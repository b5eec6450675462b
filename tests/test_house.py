"""The rules of the house, read from the source itself: who may import whom, and how large things may be."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DAEMON = ROOT / "daemon"
PACKAGE = DAEMON / "expandd"

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in MODULES]

MAY_IMPORT = {
    "domain": {"domain"},
    "adapters": {"adapters", "domain"},
    "engine": {"engine", "domain"},
    "practice": {"practice"},
    "service": {"service", "engine", "adapters", "domain", "practice"},
}
"""Each floor and those below it. `expandd` itself is the version, which everybody may know."""

PURE = frozenset(
    {
        "__future__",
        "bisect",
        "collections",
        "dataclasses",
        "decimal",
        "enum",
        "fractions",
        "os",
        "pathlib",
        "re",
        "string",
        "types",
        "typing",
    },
)
"""All that the ground floor needs of the standard library."""

NAMES_ONLY = frozenset({"fsencode", "fsdecode"})
"""What the ground floor may use of `os`: how a name becomes bytes. It asks no file system."""

PATH_IO = frozenset(
    {
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
    },
)

HEAVY = ("httpx", "jinja2", "pydantic", "PIL", "starlette", "uvicorn", "watchdog", "rich", "structlog", "yaml")
"""What a person who asks for help, or makes a typing mistake, should not wait for."""

MOST_LINES = 300
MOST_FUNCTION = 60
MEDIAN_FUNCTION = 10

each_module = pytest.mark.parametrize("path", MODULES, ids=NAMES)


def floor(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def each_of(floor_name: str) -> pytest.MarkDecorator:
    paths = [path for path in MODULES if floor(path) == floor_name]
    return pytest.mark.parametrize("path", paths, ids=[path.name for path in paths])


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its direction"
            yield node.module or ""


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


# --- direction ---


@each_module
def test_imports_go_down_and_never_sideways(path: Path) -> None:
    # The package itself is its version; its entry point is the service floor's door.
    allowed = MAY_IMPORT.get(floor(path), {"service"})
    ours = [name.split(".") for name in imports(path) if name.split(".")[0] == "expandd"]
    wrong = [".".join(parts) for parts in ours if len(parts) > 1 and parts[1] not in allowed]

    assert wrong == []


@each_of("domain")
def test_the_ground_floor_is_pure(path: Path) -> None:
    foreign = {name for name in imports(path) if name.split(".")[0] not in PURE | {"expandd"}}
    attributes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)]
    of_os = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "os"}
    of_paths = {node.attr for node in attributes} & PATH_IO
    calls = {
        node.func.id for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert foreign == set()
    assert of_os <= NAMES_ONLY
    assert of_paths == set()
    assert calls.isdisjoint({"open", "print", "input"})


@each_of("engine")
def test_the_engine_asks_neither_the_clock_nor_the_disk_nor_chance(path: Path) -> None:
    names = {name.split(".")[0] for name in imports(path)}
    sleeps = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "asyncio"
        and node.attr in {"sleep", "timeout", "wait_for", "to_thread"}
    ]
    attributes = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}

    assert names.isdisjoint({"time", "datetime", "random", "os", "shutil", "secrets", "uuid", "logging", "sqlite3"})
    assert sleeps == []
    assert attributes.isdisjoint({"lstat", "read_bytes", "write_bytes", "unlink", "mkdir", "iterdir", "exists"})


def test_httpx_is_known_in_one_module() -> None:
    knowing = [
        str(path.relative_to(PACKAGE)) for path in MODULES if "httpx" in {name.split(".")[0] for name in imports(path)}
    ]

    assert len(knowing) == 1
    assert knowing[0].startswith("adapters/")


@pytest.mark.parametrize("library", ["watchdog", "PIL", "pydantic", "yaml", "sqlite3"])
def test_each_outside_thing_is_met_by_adapters_alone(library: str) -> None:
    floors = {floor(path) for path in MODULES if library in {name.split(".")[0] for name in imports(path)}}

    # The practice server draws real pictures, and the samples of the demo are drawn by the service floor.
    assert floors <= ({"adapters", "practice", "service"} if library == "PIL" else {"adapters"})


def test_the_source_root_is_no_package() -> None:
    """As a package it would shadow python-daemon's `import daemon`."""
    assert not (DAEMON / "__init__.py").exists()


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = f"import sys, expandd.service.command_line.cli; print(*sorted(set(sys.modules) & {set(HEAVY)}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DAEMON)

    assert loaded.stdout.split() == []


# --- size and shape ---


@each_module
def test_a_module_begins_with_one_line_that_says_what_it_owns(path: Path) -> None:
    docstring = ast.get_docstring(tree(path))

    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


@each_module
def test_a_module_is_one_idea_long(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES


@each_module
def test_no_function_is_longer_than_a_page(path: Path) -> None:
    assert [(name, lines) for name, lines in functions(path) if lines > MOST_FUNCTION] == []


def test_most_functions_are_short() -> None:
    lines = [lines for path in MODULES for _, lines in functions(path)]

    assert statistics.median(lines) < MEDIAN_FUNCTION


@each_module
def test_a_module_keeps_no_state(path: Path) -> None:
    """Tables are fine, in capitals or private; nothing at module level is ever changed or made anew."""
    module = tree(path)
    globals_ = [node for node in ast.walk(module) if isinstance(node, ast.Global)]
    made = [
        ast.unparse(node) for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign) and _is_mutable(node)
    ]
    tables = {name for node in module.body for name in _targets(node)}
    changed = [ast.unparse(node) for node in ast.walk(module) if _changes(node) in tables]

    assert globals_ == []
    assert made == []
    assert changed == []


def _targets(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def _is_mutable(node: ast.Assign | ast.AnnAssign) -> bool:
    """An empty container, or a container that is not named as a constant: something to be filled later."""
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in {"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter"}
    if not isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return False
    empty = not ast.unparse(value).strip("[]{}")
    return empty or not all(name.lstrip("_").isupper() or name == "__all__" for name in _targets(node))


def _changes(node: ast.AST) -> str | None:
    """The name that a statement or call changes in place."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        changing = {"append", "add", "update", "pop", "clear", "extend", "setdefault", "remove", "discard", "insert"}
        return node.func.value.id if node.func.attr in changing else None
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and isinstance(node.value, ast.Name)
    ):
        return node.value.id
    return None
