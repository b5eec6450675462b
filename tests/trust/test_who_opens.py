"""Which modules may touch the file system, and what for: a new one that opens a path of its own fails here.

A path below a hot folder goes through `adapters/files` (`Roots.open_file`, `Roots.spot`, `Roots.listing`), or through
`Disk` and `Looking`, which do. A module that is added to a table below needs a path that is the administrator's or the
daemon's own.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "daemon" / "expandd"

WALKS = frozenset(
    {
        "adapters/files/scan.py",
        "adapters/files/durable_io.py",
        "adapters/files/folder_errors.py",
        "adapters/files/folders.py",
        "adapters/files/inbox_locks.py",
        "adapters/files/permissions.py",
        "adapters/files/roots.py",
    }
)
"""What reaches into hot folders: by descriptors alone."""

OWN = {
    "adapters/responsiveness.py": "asks whether a disk answers, at a root, and whether a name is there",
    "adapters/api/links.py": "resolves names of hosts",
    "adapters/api/magic_expand.py": "downloads, in state_dir",
    "adapters/api/transfer.py": "downloads, in state_dir; what is uploaded is opened by open_file",
    "adapters/api/tokens.py": "tokens, in state_dir",
    "adapters/bulkheads.py": "which mount a root is on",
    "adapters/config/folder_rules.py": "roots, before anything is done in them",
    "adapters/config/load.py": "state_dir; the configuration",
    "adapters/config/rules.py": "files that the configuration names",
    "adapters/config/values.py": "paths that the configuration names, made absolute",
    "adapters/credentials.py": "credentials",
    "adapters/files/permissions.py": "state_dir",
    "adapters/json_text.py": "state_dir",
    "adapters/images/decoder_process.py": "/proc",
    "adapters/images/decoder.py": "open files that were handed to it",
    "adapters/images/encoding.py": "memory",
    "adapters/images/prepare.py": "open files that were handed to it",
    "adapters/images/opening.py": "the default of open_file, and copies in the daemon's own directories",
    "adapters/starter_program.py": "the root directory",
    "adapters/store/database.py": "state_dir",
    "adapters/store/postgres/administration.py": "the job database of a host, which its administrator names",
    "adapters/store/postgres/connection.py": "this machine's time zone",
    "adapters/store/postgres/tasks.py": "opens a connection",
    "adapters/store/sqlite/job_store.py": "state_dir",
    "adapters/store/sqlite/schema.py": "state_dir",
    "adapters/files/watcher.py": "/proc; counts the directories that the kernel watches; hints prove nothing",
    "adapters/locks.py": "state_dir",
    "adapters/files/mount_guard.py": "/proc, and which mount a root is on",
    "adapters/files/spool.py": "state_dir",
    "adapters/hooks.py": "a secret that the configuration names",
    "engine/flow/account.py": "opens a pause",
    "engine/jobs.py": "opens a pause",
    "engine/flow/budgets.py": "opens a pause",
    "engine/inbox/watch.py": "opens a pause",
    "engine/control/holds.py": "opens a pause",
    "service/cli/verbs.py": "state_dir, and a file of its own, for a trace",
    "service/page/server.py": "the page's socket",
    "service/page/site.py": "the package's own files",
    "service/page/guard.py": "a file that the configuration names",
    "service/preview/preview.py": "an image that its own user names, and memory",
    "service/preview/contact_sheet.py": "memory",
    "service/demo/demo.py": "the package's own files, and a directory of its own",
    "service/runtime/app.py": "state_dir",
    "service/runtime/joining.py": "state_dir, and /proc",
    "service/runtime/cluster.py": "the job database of a host, which its administrator names",
    "service/runtime/daemon.py": "state_dir",
    "service/runtime/rebuild.py": "state_dir",
    "service/runtime/unit.py": "units",
    "service/runtime/install.py": "units, the login; as root whether a root is there, which its owner makes",
    "service/reports/topics.py": "the package's own files",
    "service/reports/job_history.py": "how a person names a file",
    "service/reports/plan.py": "state_dir",
    "service/reports/snapshot.py": "state_dir",
    "service/observability/logs.py": "the job database's socket",
    "service/observability/metering.py": "the metrics file that the configuration names",
}
"""What touches other paths, and which."""

OF_OS = frozenset(
    {
        "access",
        "chdir",
        "chmod",
        "chown",
        "fwalk",
        "lchown",
        "link",
        "listdir",
        "lstat",
        "makedirs",
        "mkdir",
        "mkfifo",
        "mknod",
        "open",
        "readlink",
        "remove",
        "removedirs",
        "rename",
        "renames",
        "replace",
        "rmdir",
        "scandir",
        "stat",
        "statvfs",
        "symlink",
        "truncate",
        "unlink",
        "utime",
        "walk",
    }
)
OF_PATHS = frozenset(
    {
        "chmod",
        "exists",
        "glob",
        "hardlink_to",
        "is_dir",
        "is_file",
        "is_mount",
        "is_symlink",
        "iterdir",
        "lchmod",
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
        "samefile",
        "stat",
        "symlink_to",
        "touch",
        "unlink",
        "write_bytes",
        "write_text",
    }
)
OF_OS_PATH = frozenset(
    {
        "exists",
        "getatime",
        "getctime",
        "getmtime",
        "getsize",
        "isdir",
        "isfile",
        "islink",
        "lexists",
        "realpath",
        "samefile",
    }
)
HAVE_A_STAT = frozenset({"self._folders", "Scanner(around.roots)", "ready", "inspected"})
"""The port of folders and what fulfils it, which walk to a file, and values that hold what was found so."""

MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@functools.cache
def parsed(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text("utf-8"))


def touches(name: str) -> Iterator[str]:
    """What a module does to paths."""
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield "open"
        elif isinstance(node, ast.ImportFrom) and node.module in {"os", "os.path", "shutil", "tempfile", "glob"}:
            yield f"from {node.module}"
        elif isinstance(node, ast.Attribute) and _is_of_paths(ast.unparse(node.value), node.attr):
            yield f"{ast.unparse(node.value)}.{node.attr}"


def _is_of_paths(of: str, what: str) -> bool:
    if of in {"shutil", "tempfile", "glob", "io.FileIO"}:
        return True
    if what == "stat" and of in HAVE_A_STAT:
        return False
    return what in {"os": OF_OS, "os.path": OF_OS_PATH}.get(of, OF_PATHS)


def test_a_path_is_touched_only_where_it_is_told_what_for() -> None:
    outside = [name for name in MODULES if not name.startswith("simulator/") and name not in WALKS | OWN.keys()]

    assert {name: found for name in outside if (found := list(touches(name)))} == {}, "see this module"


def test_those_who_reach_into_hot_folders_do_it_by_descriptors() -> None:
    """Each call of os that takes a path says which directory it is in, or is given a descriptor alone."""
    of_os = [
        (name, node)
        for name in sorted(WALKS - {"adapters/files/roots.py", "adapters/files/permissions.py"})
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "os"
        and node.func.attr in OF_OS
    ]

    assert [(name, ast.unparse(node)) for name, node in of_os if not _by_descriptor(node)] == []


def _by_descriptor(call: ast.Call) -> bool:
    given = {keyword.arg for keyword in call.keywords}
    by_number = isinstance(call.args[0], ast.Name) and call.args[0].id in {"copy", "directory", "descriptor"}
    return bool(given & {"dir_fd", "src_dir_fd", "dst_dir_fd"}) or by_number


def test_what_is_told_here_is_so() -> None:
    named = WALKS | frozenset(OWN)

    assert named <= frozenset(MODULES)
    assert sorted(name for name in OWN if not list(touches(name))) == []
