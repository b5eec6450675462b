"""Checks the rules between keys of the configuration, and the files that they name."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from expandd.adapters.config.addresses import parse_address
from expandd.adapters.config.config_errors import ConfigError, KeyPath, did_you_mean, listed
from expandd.adapters.config.folder_rules import is_directory, is_there
from expandd.adapters.config.messages import WHERE_CREDENTIALS_BELONG, looks_secret
from expandd.adapters.config.model import ConfigKeys, FolderKeys, keys_of
from expandd.adapters.config.presets import preset_config_errors
from expandd.adapters.config.yaml_marks import Document
from expandd.domain.naming import printable
from expandd.domain.settings import ApiSettings, FolderDefaults, Hook, Hooks, Originals, PageSettings

DIRECTORIES = ("inbox", "outbox", "done", "error")

METRICS = ".prom"
"""The file name extension that a node exporter requires."""

RUNTIME = re.compile(r"/run/expandd(-[^/]+)?")
"""The unit's RuntimeDirectory=, with an instance's name; it exists while the service runs."""


def reporting_config_errors(config: ConfigKeys, document: Document, bad: set[KeyPath]) -> Iterator[ConfigError]:
    """The errors of hooks, metrics and page. Values at `bad` are reported already. Reads no file's content."""
    for name in keys_of(Hooks):
        hook = getattr(config.hooks, name)
        if hook is not None:
            yield from _hook(("hooks", name), hook, document, bad)
    if config.page is not None:
        yield from _page(("page",), config.page, bad)
    if config.metrics_file is not None:
        yield from _metrics(("metrics_file",), config.metrics_file)


def _hook(path: KeyPath, hook: Hook, document: Document, bad: set[KeyPath]) -> Iterator[ConfigError]:
    given = [key for key in ("command", "url") if document.given((*path, key))]
    misspelt = any(other[:-1] == path and other[-1] not in keys_of(Hook) for other in bad if other)
    if len(given) != 1 and not misspelt and path not in bad:
        found = "both" if given else "neither"
        hint = "Keep one of them." if given else "Or write null, and nobody is told."
        yield ConfigError(path=path, expected="either command or url", found=found, hint=hint)
    if hook.command:
        program = Path(hook.command[0])
        yield from _without_flaw(
            (*path, "command"), program, "a program that exists and can be run", _unusable(program, os.X_OK)
        )
    if hook.secret_file and given == ["command"]:
        hint = "It signs what is sent to a url; a command needs none."
        yield ConfigError(path=(*path, "secret_file"), expected="no secret_file beside command", found="one", hint=hint)
    elif hook.secret_file:
        yield from _secret((*path, "secret_file"), hook.secret_file, "a secret")


def _without_flaw(path: KeyPath, place: Path, expected: str, flaw: tuple[str, str] | None) -> Iterator[ConfigError]:
    if flaw:
        found, hint = flaw
        yield ConfigError(path=path, expected=expected, found=f"{printable(place)}, {found}", hint=hint)


def _secret(path: KeyPath, file: Path, what: str) -> Iterator[ConfigError]:
    expected = f"a file with {what} in it that only expandd's user can read"
    yield from _without_flaw(path, file, expected, _unusable(file, os.R_OK) or _open_to_all(file))


def _unusable(file: Path, access: int) -> tuple[str, str] | None:
    """The flaw of a file (continuing "FILE, …") and its remedy; None when it can be read, or run."""
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


def _page(path: KeyPath, page: PageSettings, bad: set[KeyPath]) -> Iterator[ConfigError]:
    if page.password_file:
        yield from _secret((*path, "password_file"), page.password_file, "a password")
    elif not parse_address(page.listen).local and (*path, "password_file") not in bad:
        expected = "a password_file beside an address that other machines can reach"
        hint = "Everybody there could see the images. Name a file with a password, or listen on 127.0.0.1."
        yield ConfigError(path=(*path, "listen"), expected=expected, found=f"'{page.listen}' and none", hint=hint)
    if socket := parse_address(page.listen).path:
        yield from _directory((*path, "listen"), socket.parent, "socket")


def _metrics(path: KeyPath, file: Path) -> Iterator[ConfigError]:
    if file.suffix != METRICS:
        expected = f"a file whose name ends in {METRICS}"
        hint = "A node exporter reads no other."
        yield ConfigError(path=path, expected=expected, found=printable(file.name), hint=hint)
    yield from _directory(path, file.parent, "metrics file")


def _directory(path: KeyPath, directory: Path, what: str) -> Iterator[ConfigError]:
    quoted, flaw = shlex.quote(printable(directory)), None
    if RUNTIME.fullmatch(str(directory)) and not is_there(directory):
        return
    if not is_directory(directory):
        flaw = "which is not there", f"Make it: mkdir -p {quoted}."
    elif not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        allow = "Allow expandd's user to write there; to a systemd service `expandd unit` opens it."
        flaw = "which may not be written", f"{allow} See: ls -ld {quoted}."
    yield from _without_flaw(path, directory, f"a directory for the {what} that exists and can be written", flaw)


REAL_SERVICE = "piktid.com"
FASTEST_POLL = 3.0
SHORTEST_LEASE, LONGEST_LEASE = 5.0, 300.0
GENERATE_FIELDS = ("id_image", "top", "bottom", "left", "right")


def rule_config_errors(config: ConfigKeys, document: Document, bad: set[KeyPath]) -> Iterator[ConfigError]:
    """The errors between keys. `config` lacks the values at `bad`, which are reported already."""
    if not document.given(("folders",)):
        yield ConfigError(
            path=(), expected="folders:, a list of hot folders", found="none", hint="Nothing would be done."
        )
    yield from _api(config.api, document, bad)
    if "://" in str(document.value(("cluster", "database_file"))):
        hint = "The address, with its password, stands in that file and never in this one."
        file: KeyPath = ("cluster", "database_file")
        yield ConfigError(path=file, expected="the path of a file", found="an address", hint=hint)
    if ("cluster", "lease") not in bad and not SHORTEST_LEASE <= config.cluster.lease <= LONGEST_LEASE:
        hint = "With less, a busy network looks like a dead host; with more, the images of a dead host wait too long."
        lease: KeyPath = ("cluster", "lease")
        yield ConfigError(path=lease, expected="a time from 5s to 5m", found=document.shown(lease), hint=hint)
    for name, preset in config.presets.items():
        path: KeyPath = ("presets", name)
        yield from preset_config_errors(path, document.value(path), preset, bad)
    yield from _settle(("defaults",), config.defaults, document, bad)
    for number, folder in enumerate(config.folders):
        if ("folders", number) not in bad:
            yield from _folder(("folders", number), folder, document, bad)


def _folder(path: KeyPath, folder: FolderKeys, document: Document, bad: set[KeyPath]) -> Iterator[ConfigError]:
    yield from _directories(path, folder, document)
    yield from _one_preset(path, folder, document)
    if folder.offsets is not None:
        offsets = (*path, "offsets")
        yield from preset_config_errors(offsets, document.value(offsets), folder.offsets, bad)
    if any(document.given((*path, key)) for key in ("settle", "settle_max")):
        yield from _settle(path, folder, document, bad)


def _directories(path: KeyPath, folder: FolderKeys, document: Document) -> Iterator[ConfigError]:
    if document.given((*path, "root")):
        return
    needed = [key for key in DIRECTORIES if key != "done" or folder.originals is Originals.MOVE]
    lacking = [key for key in needed if not document.given((*path, key))]
    if lacking:
        found = listed(f"no {key}" for key in lacking)
        hint = f"root: DIR stands for {', '.join('DIR/' + key for key in DIRECTORIES)}."
        yield ConfigError(path=path, expected=f"root, or each of {listed(needed)}", found=found, hint=hint)


def _one_preset(path: KeyPath, folder: FolderKeys, document: Document) -> Iterator[ConfigError]:
    given = [key for key in ("preset", "offsets") if document.given((*path, key))]
    presets = document.value(("presets",))
    known = list(presets) if isinstance(presets, dict) else []
    if len(given) != 1:
        found = "both" if given else "neither"
        hint = "Keep one of them." if given else _known_presets(known)
        yield ConfigError(path=path, expected="either preset or offsets", found=found, hint=hint)
    if folder.preset is not None and folder.preset not in known:
        hint = did_you_mean(folder.preset, known) or _known_presets(known)
        found = document.shown((*path, "preset"))
        yield ConfigError(path=(*path, "preset"), expected="the name of a preset", found=found, hint=hint)


def _known_presets(known: list[str]) -> str:
    return f"Presets are {listed(known)}." if known else "There are none under presets: yet."


def _settle(path: KeyPath, defaults: FolderDefaults, document: Document, bad: set[KeyPath]) -> Iterator[ConfigError]:
    own = [(*path, key) for key in ("settle", "settle_max")]
    if defaults.settle <= defaults.settle_max or bad & {*own, ("defaults", "settle"), ("defaults", "settle_max")}:
        return
    where = next(key for key in own if document.given(key))
    found = f"settle {defaults.settle:g}s and settle_max {defaults.settle_max:g}s"
    hint = "A file would be given up before it is looked at."
    yield ConfigError(path=where, expected="settle no longer than settle_max", found=found, hint=hint)


def _api(api: ApiSettings, document: Document, bad: set[KeyPath]) -> Iterator[ConfigError]:
    for key in api.generate_extra:
        yield from _extra(("api", "generate_extra", key), key)
    address = urlsplit(api.base_url)
    host = (address.hostname or "").rstrip(".")
    if ("api", "base_url") in bad or not (host == REAL_SERVICE or host.endswith("." + REAL_SERVICE)):
        return
    if api.poll_interval < FASTEST_POLL:
        path: KeyPath = ("api", "poll_interval")
        hint = f"{host} asks for at most one question in 3 seconds."
        yield ConfigError(path=path, expected="3s or more", found=document.shown(path), hint=hint)
    if address.scheme != "https":
        hint = "With http, anybody on the way could read your token."
        yield ConfigError(path=("api", "base_url"), expected="https://", found="http://", hint=hint)


def _extra(path: KeyPath, key: str) -> Iterator[ConfigError]:
    if key in GENERATE_FIELDS:
        hint = "expandd sets it for each image; sides belong in a preset."
        yield ConfigError(
            path=path, expected=f"a field other than {listed(GENERATE_FIELDS)}", found=f"'{key}'", hint=hint
        )
    elif looks_secret(key):
        yield ConfigError(path=path, expected="no credentials", found=f"'{key}'", hint=WHERE_CREDENTIALS_BELONG)
