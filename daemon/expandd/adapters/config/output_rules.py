"""Owns the rules for hooks, the page and the metrics file, together with the files they name."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from expandd.adapters.config.config_errors import KeyPath, Mistake
from expandd.adapters.config.lookups import is_directory, is_there
from expandd.adapters.config.model import ConfigKeys
from expandd.adapters.config.output_keys import Absolute, HookKeys, HooksKeys, PageKeys, reaches_beyond, socket_of
from expandd.adapters.config.yaml_marks import Document
from expandd.domain.naming import printable

METRICS = ".prom"
"""What the name of a file must end in for a node exporter to read it."""

RUNTIME = re.compile(r"/run/expandd(-[^/]+)?")
"""The unit's RuntimeDirectory=, an instance's with its name: made at each start of the service, gone when it stops."""


def telling_mistakes(
    config: ConfigKeys, document: Document, bad: set[KeyPath], absolute: Absolute
) -> Iterator[Mistake]:
    """What is wrong with what expandd shall tell. Values at `bad` are reported already. Reads no file's content."""
    for name in HooksKeys.model_fields:
        hook = getattr(config.hooks, name)
        if hook is not None:
            yield from _hook(("hooks", name), hook, document, bad, absolute)
    if config.page is not None:
        yield from _page(("page",), config.page, bad, absolute)
    if config.metrics_file is not None:
        yield from _metrics(("metrics_file",), absolute(config.metrics_file))


def _hook(
    path: KeyPath, hook: HookKeys, document: Document, bad: set[KeyPath], absolute: Absolute
) -> Iterator[Mistake]:
    given = [key for key in ("command", "url") if document.given((*path, key))]
    misspelt = any(other[:-1] == path and other[-1] not in HookKeys.model_fields for other in bad if other)
    if len(given) != 1 and not misspelt and path not in bad:
        found = "both" if given else "neither"
        hint = "Keep one of them." if given else "Or write null: nothing is told then."
        yield Mistake(path=path, expected="either command or url", found=found, hint=hint)
    if hook.command:
        yield from _program((*path, "command"), Path(hook.command[0]))
    if hook.secret_file and given == ["command"]:
        hint = "It signs what is sent to a url; a command needs none."
        yield Mistake(path=(*path, "secret_file"), expected="no secret_file beside command", found="one", hint=hint)
    elif hook.secret_file:
        yield from _secret((*path, "secret_file"), absolute(hook.secret_file), "a secret")


def _program(path: KeyPath, program: Path) -> Iterator[Mistake]:
    flaw = _unusable(program, os.X_OK)
    if flaw:
        found, hint = flaw
        expected = "a program that exists and can be run"
        yield Mistake(path=path, expected=expected, found=f"{printable(program)}, {found}", hint=hint)


def _secret(path: KeyPath, file: Path, what: str) -> Iterator[Mistake]:
    flaw = _unusable(file, os.R_OK) or _open_to_all(file)
    if flaw:
        found, hint = flaw
        expected = f"a file with {what} in it that only expandd's user can read"
        yield Mistake(path=path, expected=expected, found=f"{printable(file)}, {found}", hint=hint)


def _unusable(file: Path, access: int) -> tuple[str, str] | None:
    """What is wrong with a file (continuing "FILE, …") and what to do; None when it can be read, or run."""
    quoted = shlex.quote(printable(file))
    try:
        status = file.stat()
    except FileNotFoundError:
        return "which does not exist", "Make it, or correct its path."
    except OSError as error:
        return f"which cannot be reached: {os.strerror(error.errno or 0)}", "Check the path and who may enter it."
    if not stat.S_ISREG(status.st_mode):
        return "which is not a file", "Name the file itself."
    if not os.access(file, access, effective_ids=True):
        doing, letter = ("run", "x") if access == os.X_OK else ("read", "r")
        return f"which may not be {doing}", f"Allow it: chmod u+{letter} {quoted}, or give it to the service's group."
    return None


def _open_to_all(file: Path) -> tuple[str, str] | None:
    status = file.stat()
    if status.st_mode & stat.S_IROTH:
        return "which every user of this machine can read", f"Close it: chmod o-rwx {shlex.quote(printable(file))}."
    if not status.st_size:
        return "which is empty", "Write one line into it."
    return None


def _page(path: KeyPath, page: PageKeys, bad: set[KeyPath], absolute: Absolute) -> Iterator[Mistake]:
    if page.password_file:
        yield from _secret((*path, "password_file"), absolute(page.password_file), "a password")
    elif reaches_beyond(page.listen) and (*path, "password_file") not in bad:
        expected = "a password_file beside an address that other machines can reach"
        hint = "Everybody there could see the pictures. Name a file with a password, or listen on 127.0.0.1."
        yield Mistake(path=(*path, "listen"), expected=expected, found=f"'{page.listen}' and none", hint=hint)
    socket = socket_of(page.listen)
    if socket:
        yield from _directory((*path, "listen"), socket.parent, "socket")


def _metrics(path: KeyPath, file: Path) -> Iterator[Mistake]:
    if file.suffix != METRICS:
        expected = f"a file whose name ends in {METRICS}"
        hint = "A node exporter reads no other."
        yield Mistake(path=path, expected=expected, found=printable(file.name), hint=hint)
    yield from _directory(path, file.parent, "metrics file")


def _directory(path: KeyPath, directory: Path, what: str) -> Iterator[Mistake]:
    expected = f"a directory for the {what} that exists and can be written"
    quoted = shlex.quote(printable(directory))
    if RUNTIME.fullmatch(str(directory)) and not is_there(directory):
        return
    if not is_directory(directory):
        hint = f"Make it: mkdir -p {quoted}."
        yield Mistake(path=path, expected=expected, found=f"{printable(directory)}, which is not there", hint=hint)
    elif not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        hint = (
            f"Allow expandd's user to write there; to a systemd service `expandd unit` opens it. See: ls -ld {quoted}."
        )
        yield Mistake(
            path=path, expected=expected, found=f"{printable(directory)}, which may not be written", hint=hint
        )
