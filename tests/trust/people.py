"""Runs programs as users who have no rights of root: the daemon, and a person who may drop files.

What they run lies where root installed it, perhaps in root's own home. Each process has mounts of its own in which the
interpreter, its packages and this project can be reached, and nothing else of a directory that is closed to others.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.trust.conftest import DROPPER, GROUP

ROOT = Path(__file__).parents[2]

_BEHIND = """set -e
mount -t tmpfs none /mnt
{aside}
{closed}
{back}
umount /mnt
umask 007
exec "$@"
"""


def closed_above(path: Path) -> Path | None:
    """The outermost directory above `path` that others may not pass."""
    above = reversed(path.parents)
    return next((one for one in above if not one.stat().st_mode & 0o001), None)


def as_user(number: int) -> list[str]:
    """What stands before a command that is to be run by this user, with the umask of the unit."""
    wanted = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT}
    hidden = {path: closed for path in sorted(wanted) if (closed := closed_above(path))}
    places = {path: f"/mnt/{number}" for number, path in enumerate(hidden)}
    script = _BEHIND.format(
        aside="\n".join(f"mkdir {place}; mount --bind {_q(path)} {place}" for path, place in places.items()),
        closed="\n".join(f"mount -t tmpfs -o mode=755 none {_q(one)}" for one in sorted(set(hidden.values()))),
        back="\n".join(f"mkdir -p {_q(path)}; mount --move {place} {_q(path)}" for path, place in places.items()),
    )
    own_mounts = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    return [*own_mounts, *_without_root(number)]


def _without_root(number: int) -> list[str]:
    ids = [f"--reuid={number}", f"--regid={GROUP}", "--clear-groups"]
    return ["setpriv", *ids, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]


def _q(path: Path) -> str:
    return shlex.quote(str(path))


def person(script: str, content: bytes = b"", **places: Path) -> None:
    """What a person does: a shell script, `content` on its stdin and `places` in its environment."""
    environ = {name: str(path) for name, path in places.items()}
    done = subprocess.run(
        [*_without_root(DROPPER), "sh", "-ec", f"umask 002\n{script}"],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **environ},
        input=content,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
